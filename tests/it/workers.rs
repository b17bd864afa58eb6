//! A client that goes on to another worker between two transactions, and the one server that follows it.
//!
//! Two workers of the test's own run the proxy's code in this process, so that it is the test that calls the client away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};

use pgweir::client::login::{self, Arrival};
use pgweir::client::{Client, House};
use pgweir::control::Phase;
use pgweir::net::ends::Ends;
use pgweir::net::stream::Stream;
use pgweir::pool::home::{self, Calls, Home};
use pgweir::serve::load::{self, Outcome};
use tokio_postgres::{Config, NoTls};

use crate::support::proxy::backend;
use crate::support::*;

const MOVES: usize = 20;

async fn a_client_goes_from_worker_to_worker(pg: Servers) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let calls = [Calls::default(), Calls::default()];
    let ((to_first, first), (to_second, second)) = (channel(), channel());
    let (tell, told) = channel();
    let [of_first, of_second] = calls.clone();
    let tell_too = tell.clone();
    let welcome = move || {
        listener.set_nonblocking(true).expect("a listener");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let house = house(&pg);
        async move {
            let (socket, _) = listener.accept().await.expect("the client");
            let ends = Ends::Unix { uid: None, pid: None };
            let arrival = Arrival { ends, id: 1, in_time: true };
            let guest = login::login(&house, Stream::Tcp(socket), arrival).await;
            guest.and_then(login::Guest::client).expect("a login")
        }
    };
    let threads = [
        std::thread::spawn(move || {
            home::settle(Home(0), of_first);
            let runtime = runtime();
            let _guard = runtime.enter();
            let client = runtime.block_on(welcome());
            let left = runtime.block_on(client.run());
            pass_on(left, &to_second);
            work(&runtime, &first, &to_second, &tell);
        }),
        std::thread::spawn(move || {
            home::settle(Home(1), of_second);
            work(&runtime(), &second, &to_first, &tell_too);
        }),
    ];

    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("app").dbname("test1");
    let (client, connection) = config.connect(NoTls).await.expect("a login");
    let driven = tokio::spawn(connection);
    let statement = client.prepare("select $1::int4 + 1").await.expect("a statement");
    let server = backend(&client).await;
    for turn in 0..MOVES {
        calls[turn % 2].store(1, Ordering::Relaxed);
        // A query that comes before the end of the last one was seen belongs to the same stay; a later one does not.
        for asked in 0.. {
            assert!(asked < 100, "the call was not answered");
            let answer: i32 = client.query_one(&statement, &[&(turn as i32)]).await.expect("an answer").get(0);
            assert_eq!(answer, turn as i32 + 1);
            assert_eq!(backend(&client).await, server, "there is one server");
            if calls[turn % 2].load(Ordering::Relaxed) == 0 {
                break;
            }
        }
    }
    drop(client);
    let _ = driven.await;
    for thread in threads {
        thread.join().expect("a worker ends well");
    }
    assert_eq!(told.iter().count(), MOVES);
}

/// Whoever comes is run here until it goes on; ends when nobody can come any more.
fn work(
    runtime: &tokio::runtime::Runtime,
    come: &Receiver<Box<Client>>,
    next: &Sender<Box<Client>>,
    tell: &Sender<Home>,
) {
    while let Ok(mut client) = come.recv() {
        let _ = tell.send(home::here());
        let left = runtime.block_on(async {
            client.conversation.stream.watch_here().expect("a descriptor");
            client.run().await
        });
        if !pass_on(left, next) {
            return;
        }
    }
}

fn pass_on(left: Option<Box<Client>>, next: &Sender<Box<Client>>) -> bool {
    left.is_some_and(|client| next.send(client).is_ok())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Before one server connection.
fn house(pg: &Servers) -> Arc<House> {
    let dir = std::env::temp_dir().join(format!("pgweir-workers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory of the test's own");
    std::fs::write(dir.join("userlist.txt"), format!("\"app\" \"{}\"\n", pg.password)).expect("a user list");
    let file = dir.join("pgweir.toml");
    let text = format!(
        "[pgweir]\nauth_type = \"trust\"\nauth_file = \"userlist.txt\"\n\
         [databases.test1]\nhost = \"127.0.0.1\"\nport = {}\npool_size = 1\n",
        pg.primary
    );
    std::fs::write(&file, text).expect("a config");
    let loaded = load::load(&file);
    std::fs::remove_dir_all(&dir).expect("the directory goes");
    match loaded {
        Outcome::Loaded(loaded) => {
            let (ground, doors) = loaded.into_parts();
            let (phase, seen) = tokio::sync::watch::channel(Phase::Running);
            std::mem::forget(phase);
            House::new(ground, doors, seen, pgweir::control::bell().0)
        }
        Outcome::Refused(problems) => panic!("{problems:?}"),
    }
}

tests! {
    on both: [],
    on 15: [a_client_goes_from_worker_to_worker]
}
