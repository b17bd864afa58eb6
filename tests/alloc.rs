//! Invariant 9: a steady relayed transaction over plain sockets allocates nothing.
//!
//! The proxy's own code serves one client on a runtime of one thread, with no janitor and no probe beside it, before a
//! real server. Allocations are counted on that thread while another one drives transactions.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;

use pgweir::client::House;
use pgweir::client::login::{self, Arrival};
use pgweir::control::Phase;
use pgweir::net::ends::Ends;
use pgweir::net::stream::Stream;
use pgweir::serve::load::{self, Outcome};
use pgweir::wire::encode;
use support::Servers;
use tokio::sync::{oneshot, watch};

/// Transactions before the count, so that buffers and queues have their size, and those that are counted.
const WARM_UP: usize = 200;
const COUNTED: usize = 2_000;

#[test]
fn a_steady_simple_query_allocates_nothing() {
    let mut query = Vec::new();
    encode::query(&mut query, b"select 1, 'a steady query'");
    assert_eq!(allocations(&[], &query), 0);
}

#[test]
fn a_steady_unnamed_statement_allocates_nothing() {
    let mut batch = Vec::new();
    encode::parse(&mut batch, b"", b"select 1, 'an unnamed statement'\0\0\0");
    execute(&mut batch, b"");
    assert_eq!(allocations(&[], &batch), 0);
}

#[test]
fn a_steady_unnamed_statement_that_is_described_allocates_nothing() {
    let mut batch = Vec::new();
    encode::parse(&mut batch, b"", b"select 1, 'a described statement'\0\0\0");
    encode::raw(&mut batch, b'D', b"S\0");
    execute(&mut batch, b"");
    assert_eq!(allocations(&[], &batch), 0);
}

/// Several that take turns, of which one is none to be shared.
#[test]
fn steady_unnamed_statements_allocate_nothing() {
    let mut all = Vec::new();
    for text in [&b"select 1, 'one'"[..], b"select 1, 'two'", b"show work_mem"] {
        let mut batch = Vec::new();
        encode::parse(&mut batch, b"", &[text, b"\0\0\0"].concat());
        execute(&mut batch, b"");
        all.push(batch);
    }
    assert_eq!(allocations_of(&[], &all), 0);
}

#[test]
fn a_steady_prepared_statement_allocates_nothing() {
    let (mut first, mut batch) = (Vec::new(), Vec::new());
    encode::parse(&mut first, b"s", b"select 1, 'a prepared statement'\0\0\0");
    execute(&mut first, b"s");
    execute(&mut batch, b"s");
    assert_eq!(allocations(&first, &batch), 0);
}

/// The counter counts: a proxy that allocates once per transaction would be seen.
#[test]
fn an_allocation_is_seen() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(64))));
    assert_eq!(counted.count_total, 1);
}

/// Bind, Describe, Execute, Sync.
fn execute(out: &mut Vec<u8>, statement: &[u8]) {
    encode::bind_head(out, b"", statement, 6);
    out.extend([0; 6]);
    encode::raw(out, b'D', b"P\0");
    encode::raw(out, b'E', b"\0\0\0\0\0");
    encode::sync(out);
}

/// How many allocations the proxy's thread makes for `COUNTED` transactions of these bytes.
fn allocations(first: &[u8], batch: &[u8]) -> u64 {
    allocations_of(first, &[batch.to_vec()])
}

/// The same for several that take turns.
fn allocations_of(first: &[u8], batches: &[Vec<u8>]) -> u64 {
    let dir = std::env::temp_dir().join(format!("pgweir-alloc-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory of the test's own");
    let house_file = config(&dir, &Servers::pg15());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (warm, counted) = (Gate::new(), Gate::new());
    let (warm_up, count) = (warm.0, counted.0);
    let (go, wait) = mpsc::channel();
    let (first, batches) = (first.to_vec(), batches.to_vec());
    let driver = std::thread::spawn(move || {
        let mut client = log_in(address);
        if !first.is_empty() {
            transact(&mut client, &first);
        }
        let turns = |count| batches.iter().cycle().take(count);
        turns(WARM_UP).for_each(|batch| transact(&mut client, batch));
        warm_up.send(()).expect("the proxy waits");
        wait.recv().expect("the proxy counts");
        turns(COUNTED).for_each(|batch| transact(&mut client, batch));
        count.send(()).expect("the proxy waits");
    });

    runtime.block_on(async {
        let house = house(&house_file);
        let (socket, _) = listener.accept().await.expect("the client");
        let ends = Ends::Unix { uid: None, pid: None };
        let arrival = Arrival { ends, id: 1, in_time: true };
        let guest = login::login(&house, Stream::Tcp(socket), arrival).await;
        let client = guest.and_then(login::Guest::client).expect("a login");
        tokio::spawn(client.run());
        warm.1.await.expect("the driver warms up");
    });
    let mut done = counted.1;
    let found = allocation_counter::measure(|| {
        go.send(()).expect("the driver waits");
        runtime.block_on(&mut done).expect("the driver goes through");
    });
    driver.join().expect("the driver ends");
    std::fs::remove_dir_all(&dir).expect("the directory goes");
    // The one message to the driver is the test's own.
    found.count_total.saturating_sub(SENT)
}

/// Allocations of the test itself inside the count: the block of the channel to the driver.
const SENT: u64 = 1;

struct Gate(oneshot::Sender<()>, oneshot::Receiver<()>);

impl Gate {
    fn new() -> Gate {
        let (sender, receiver) = oneshot::channel();
        Gate(sender, receiver)
    }
}

fn config(dir: &Path, pg: &Servers) -> std::path::PathBuf {
    let file = dir.join("pgweir.toml");
    std::fs::write(dir.join("userlist.txt"), format!("\"app\" \"{}\"\n", pg.password)).expect("a user list");
    let text = format!(
        "[pgweir]\nlisten_addr = \"127.0.0.1\"\nauth_type = \"trust\"\nauth_file = \"userlist.txt\"\n\
         [databases.suggar_daddy]\nhost = \"127.0.0.1\"\nport = {}\n",
        pg.primary
    );
    std::fs::write(&file, text).expect("a config");
    file
}

fn house(file: &Path) -> std::sync::Arc<House> {
    match load::load(file) {
        Outcome::Loaded(loaded) => {
            let (ground, doors) = loaded.into_parts();
            let (phase, seen) = watch::channel(Phase::Running);
            std::mem::forget(phase);
            House::new(ground, doors, seen, pgweir::control::bell().0)
        }
        Outcome::Refused(problems) => panic!("{problems:?}"),
    }
}

fn log_in(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("a connection");
    let mut startup = Vec::new();
    encode::startup(&mut startup, 0x0003_0000, [("user", "app"), ("database", "suggar_daddy")].into_iter());
    transact(&mut client, &startup);
    client
}

/// Sends the bytes and reads up to a ReadyForQuery outside a transaction.
fn transact(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("a write");
    let mut answer = [0; 4096];
    let mut end = 0;
    while !answer[..end].ends_with(b"Z\0\0\0\x05I") {
        let read = client.read(&mut answer[end..]).expect("an answer");
        assert!(read > 0, "the connection closed after {:?}", String::from_utf8_lossy(&answer[..end]));
        end += read;
    }
}
