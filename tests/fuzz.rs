//! Bytes of any kind into everything that reads a peer's bytes: nothing may panic. The targets are plain functions, so
//! that a fuzzer can call them too; here they get a seeded stream of mutated messages. `FUZZ_RUNS=n` gives more.

mod pure;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir::auth::{Userlist, scram};
use pgweir::config::PoolMode;
use pgweir::session::settings::Settings;
use pgweir::session::{ServerState, Session};
use pgweir::wire::{backend, frame, frontend, startup};
use pure::Dice;
use pure::talk::{Table, Talk, frames};

fn wire(bytes: &[u8]) {
    if let Ok(Some(header)) = frame::scan(bytes, 100_000) {
        assert!((5..=100_000).contains(&header.len));
    }
    if let Ok(Some(len)) = frame::scan_startup(bytes) {
        assert!((8..=10_000).contains(&len));
    }
    if let Ok(startup::Packet::Startup(packet)) = startup::parse(bytes) {
        packet.parameters().for_each(|(_, value)| _ = startup::options(value));
        packet.protocol_options().for_each(drop);
    }
    let body = bytes.get(5..).unwrap_or_default();
    _ = (frontend::query(body), frontend::parse(body), frontend::bind(body), frontend::named(body));
    _ = (backend::ready_for_query(body), backend::parameter_status(body), backend::backend_key_data(body));
    _ = (backend::command_tag(body), backend::fields(body).count(), backend::sqlstate(body));
    _ = backend::authentication(body);
}

fn auth(bytes: &[u8]) {
    _ = Userlist::parse(&String::from_utf8_lossy(bytes));
    let keys = scram::Keys::derive("pencil", b"0123456789abcdef", 1);
    let verifier = Arc::new(keys.verifier());
    let none = || scram::Binding::None;
    let client = || scram::client_start(&[scram::SCRAM_SHA_256], none(), false, "nonce").expect("a mechanism we know");
    if let Ok(challenged) = client().0.challenge(bytes) {
        _ = challenged.answer(&keys).map(|(answered, _)| answered.verify(bytes));
    }
    _ = scram::server_start(scram::SCRAM_SHA_256, bytes, Arc::clone(&verifier), false, none(), "server");
    let (last, _) = scram::server_start(scram::SCRAM_SHA_256, &client().2, verifier, false, none(), "server")
        .expect("our own first message");
    _ = last.finish(bytes);
}

/// Frames of both sides in the order of the dice; an error ends the conversation, as in the relay.
fn session(bytes: &[u8], dice: &mut Dice) {
    let settings = Arc::new(Settings::default());
    let table = Arc::new(Table::default());
    table.share_after.store(1, Ordering::Relaxed);
    let mut talk = Talk::new(PoolMode::Transaction, true, &settings, &table);
    let mut server = ServerState::new(settings, 2);
    talk.attach(&mut server);
    let mut rest = bytes;
    while let Ok(Some(header)) = frame::scan(rest, 100_000) {
        let (one, after) = rest.split_at(header.len.min(rest.len()));
        rest = after;
        let client = dice.one_in(2);
        let needs = if client { Session::client_needs(&header) } else { Session::server_needs(&header) };
        if one.len() < needs {
            return;
        }
        let out = if client { talk.client(one, after, &mut server) } else { talk.server(one, &mut server) };
        match out {
            Ok(out) if !out.terminated => _ = frames(&out.to_client),
            _ => return,
        }
        if talk.session.settled().is_some() {
            assert!(talk.session.quiet() && !talk.session.in_transaction() && talk.session.pin().is_none());
        }
    }
}

/// Real messages, one a line, as Rust byte-string escapes; `tests/fuzz/corpus/messages.txt`.
fn corpus() -> Vec<Vec<u8>> {
    let lines = include_str!("fuzz/corpus/messages.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(unescape).collect()
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().expect("a digit"), rest.next().expect("two digits")];
        let digits = std::str::from_utf8(&digits).expect("ASCII");
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 if !bytes.is_empty() => bytes[at] = dice.roll() as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, dice.pick(&[&0_u8, &255, &4, &128]).to_owned()),
            _ if !bytes.is_empty() => _ = bytes.remove(at),
            _ => {}
        }
    }
}

#[test]
fn no_bytes_make_anything_panic() {
    let runs = std::env::var("FUZZ_RUNS").map_or(20_000, |runs| runs.parse().expect("a number"));
    let corpus = corpus();
    for seed in 0..runs {
        let dice = &mut Dice(seed);
        let mut bytes = Vec::new();
        for _ in 0..1 + dice.below(12) {
            let mut one = corpus[dice.below(corpus.len())].clone();
            if dice.one_in(3) {
                mutate(&mut one, dice);
            }
            bytes.extend(one);
        }
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wire(&bytes);
            if seed % 20 == 0 {
                auth(&bytes);
            }
            session(&bytes, dice);
        }));
        assert!(run.is_ok(), "seed {seed}: {}", bytes.escape_ascii());
    }
}
