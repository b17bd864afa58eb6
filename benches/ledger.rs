//! What it costs to judge a transaction from end to end, without sockets: `cargo bench --bench ledger`.
//!
//! Each iteration lends the server, judges what the client sends and what the server answers, and ends settled.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir::client::interner::Interner;
use pgweir::config::PoolMode;
use pgweir::session::outbox::Outbox;
use pgweir::session::settings::Settings;
use pgweir::session::{Frame, FromClient, Origin, ServerState, Session};
use pgweir::wire::backend::TxStatus;
use pgweir::wire::{back, encode, frame};

struct Talk {
    session: Session,
    server: ServerState,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Talk {
    fn new() -> Talk {
        let mut settings = Settings::default();
        [("client_encoding", "UTF8"), ("TimeZone", "UTC")].iter().for_each(|(name, value)| settings.set(name, value));
        let settings = Arc::new(settings);
        let intern = Arc::new(Interner::default());
        let origin = Origin {
            mode: PoolMode::Transaction,
            settings: Arc::clone(&settings),
            intern,
            wishes: Default::default(),
            forgiving: false,
            clustered: false,
            pinning: pgweir::config::Pinning::Allow,
            prepared: true,
        };
        let (to_server, to_client) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
        Talk { session: Session::new(origin), server: ServerState::new(settings, 200), to_server, to_client }
    }

    fn transact(&mut self, asked: &[u8], answered: &[u8]) {
        self.to_server.clear();
        self.to_client.clear();
        self.session.attach(&mut self.server, &mut Outbox::new(&mut self.to_server, &[]));
        each(asked, |frame| {
            let (to_server, to_client) = (&mut self.to_server, &mut self.to_client);
            let (mut to_server, mut to_client) = (Outbox::new(to_server, &[]), Outbox::new(to_client, &[]));
            let verdict = self.session.client(frame, &mut self.server, &mut to_server, &mut to_client);
            assert!(matches!(verdict, Ok(FromClient::Forward | FromClient::Replaced { .. })), "{verdict:?}");
        });
        each(answered, |frame| {
            if self.session.passes(frame.header.tag) {
                return;
            }
            let mut to_client = Outbox::new(&mut self.to_client, &[]);
            let verdict = self.session.server(frame, &mut self.server, &mut to_client);
            assert!(verdict.is_ok(), "{verdict:?}");
        });
        assert!(self.session.settled().is_some(), "the server goes back");
        self.session.detach();
        black_box((&self.to_server, &self.to_client));
    }
}

fn each(bytes: &[u8], mut judge: impl FnMut(Frame<'_>)) {
    let mut rest = bytes;
    while let Ok(Some(header)) = frame::scan(rest, frame::MESSAGE_LIMIT) {
        let (one, after) = rest.split_at(header.len);
        judge(Frame { header, body: &one[frame::HEADER..] });
        rest = after;
    }
}

const LOOKUP: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 1234567;";

fn query() -> Vec<u8> {
    let mut out = Vec::new();
    encode::query(&mut out, LOOKUP);
    out
}

/// Bind, Describe, Execute, Sync; with the Parse of an unnamed statement in front, or of a named one of before.
fn batch(statement: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if statement.is_empty() {
        encode::parse(&mut out, b"", &parse_rest());
    }
    encode::bind_head(&mut out, b"", statement, 6);
    out.extend([0; 6]);
    encode::raw(&mut out, b'D', b"P\0");
    encode::raw(&mut out, b'E', b"\0\0\0\0\0");
    encode::sync(&mut out);
    out
}

/// A text without parameters, as a Parse has it behind its name.
fn parse_rest() -> Vec<u8> {
    [LOOKUP, b"\0\0\0"].concat()
}

/// One row of one column, with what stands before it.
fn answer(before: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    before.iter().for_each(|tag| encode::raw(&mut out, *tag, &[]));
    let column = b"\0\x01abalance\0\0\0\x40\x03\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    encode::raw(&mut out, back::ROW_DESCRIPTION, column);
    encode::raw(&mut out, back::DATA_ROW, b"\0\x01\0\0\0\x010");
    encode::command_complete(&mut out, "SELECT 1");
    encode::ready_for_query(&mut out, TxStatus::Idle);
    out
}

fn transactions(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("ledger");
    let (asked, answered) = (query(), answer(b""));
    let mut talk = Talk::new();
    group.bench_function("simple", |bencher| bencher.iter(|| talk.transact(black_box(&asked), &answered)));
    let (asked, answered) = (batch(b""), answer(b"12"));
    let mut talk = Talk::new();
    group.bench_function("unnamed", |bencher| bencher.iter(|| talk.transact(black_box(&asked), &answered)));
    let (asked, answered) = (batch(b"s"), answer(b"2"));
    let mut talk = Talk::new();
    let mut first = Vec::new();
    encode::parse(&mut first, b"s", &parse_rest());
    encode::sync(&mut first);
    let mut learnt = Vec::new();
    encode::parse_complete(&mut learnt);
    encode::ready_for_query(&mut learnt, TxStatus::Idle);
    talk.transact(&first, &learnt);
    group.bench_function("prepared", |bencher| bencher.iter(|| talk.transact(black_box(&asked), &answered)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = transactions
}
criterion_main!(benches);
