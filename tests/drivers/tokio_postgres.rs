//! tokio-postgres: it pipelines what is asked of it at once, and closes each statement that is dropped.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt, future, stream};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage, Statement};

use crate::ground::{Ground, SERVERS};
use crate::support::proxy::backend;
use crate::support::{DEADLINE, Servers, soon, sqlstate};

impl Ground {
    async fn client(&self) -> Client {
        self.proxy.connect("app", &self.database).await
    }

    async fn clients(&self, count: usize) -> Vec<Client> {
        future::join_all((0..count).map(|_| self.client())).await
    }
}

/// Calls `check` while exactly one server is free, for each server in turn.
async fn everywhere<F: Future<Output = ()>>(ground: &Ground, mut check: impl FnMut() -> F) {
    let holders = ground.clients(SERVERS).await;
    for holder in &holders {
        holder.batch_execute("BEGIN; SELECT 1").await.expect("a server is free");
    }
    for holder in &holders {
        holder.batch_execute("COMMIT").await.expect("the end");
        check().await;
        check().await;
        holder.batch_execute("BEGIN; SELECT 1").await.expect("its server is free");
    }
}

async fn number(client: &Client, statement: &Statement, n: i32) -> i32 {
    client.query_one(statement, &[&n]).await.expect("an answer").get(0)
}

async fn statements_follow_their_client(pg: Servers) {
    let ground = Ground::open(pg, "tokio_follow").await;
    let clients = ground.clients(SERVERS + 2).await;
    // Each client's first statement is called s0.
    let texts = (0..).map(|n| format!("SELECT $1::int * 10 + {n}"));
    let prepared = future::join_all(
        clients
            .iter()
            .zip(texts)
            .map(|(client, text)| async move { client.prepare(&text).await.expect("it is prepared") }),
    )
    .await;
    everywhere(&ground, || async {
        for (n, (client, statement)) in clients.iter().zip(&prepared).enumerate() {
            assert_eq!(number(client, statement, 7).await, 70 + n as i32);
        }
    })
    .await;
}

/// A dropped statement is closed behind the driver's back; its text may be prepared again at any time.
async fn dropped_statements(pg: Servers) {
    let ground = Ground::open(pg, "tokio_dropped").await;
    let clients = ground.clients(4).await;
    let work = clients.iter().map(|client| async move {
        for turn in 0..200 {
            let statement = client.prepare(&format!("SELECT $1::int + {}", turn % 50)).await.expect("it is prepared");
            let other = client.prepare(&format!("SELECT $1::int - {}", turn % 7)).await.expect("it is prepared");
            assert_eq!(number(client, &statement, 1).await, 1 + turn % 50);
            drop(statement);
            assert_eq!(number(client, &other, 1).await, 1 - turn % 7);
        }
    });
    future::join_all(work).await;
}

async fn pipelined_queries(pg: Servers) {
    let ground = Ground::open(pg, "tokio_pipeline").await;
    let client = ground.client().await;
    let statement = client.prepare("SELECT 100 / $1::int").await.expect("it is prepared");
    let pairs: Vec<i32> = (0..300).map(|n| if n % 10 == 3 { 0 } else { n % 90 + 1 }).collect();
    // All are sent before the first is answered; each has its own Sync.
    let answers = future::join_all(pairs.iter().map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[n]).await }
    }))
    .await;
    for (n, answer) in pairs.iter().zip(answers) {
        match n {
            0 => assert_eq!(sqlstate(answer), "22012"),
            n => assert_eq!(answer.expect("an answer").get::<_, i32>(0), 100 / n),
        }
    }
    let (a, b, c, d) = tokio::join!(
        client.batch_execute("BEGIN"),
        client.query_one("SELECT pg_backend_pid()", &[]),
        client.query_one("SELECT pg_backend_pid()", &[]),
        client.batch_execute("COMMIT"),
    );
    a.and(d).expect("the transaction ends");
    assert_eq!(b.expect("a row").get::<_, i32>(0), c.expect("a row").get::<_, i32>(0));
}

async fn many_clients_pipeline(pg: Servers) {
    let ground = Ground::open(pg, "tokio_many").await;
    let clients = ground.clients(30).await;
    let work = clients.iter().enumerate().map(|(own, client)| async move {
        for turn in 0..10 {
            let text = format!("SELECT $1::int + {}", turn % 3);
            let sums = (0..10).map(|n| {
                let text = &text;
                async move { client.query_one(text, &[&(n + own as i32)]).await.expect("a row").get::<_, i32>(0) }
            });
            let expected: Vec<i32> = (0..10).map(|n| n + own as i32 + turn % 3).collect();
            assert_eq!(future::join_all(sums).await, expected);
        }
    });
    soon("all clients", future::join_all(work)).await;
}

async fn simple_queries(pg: Servers) {
    let ground = Ground::open(pg, "tokio_simple").await;
    let client = ground.client().await;
    let text =
        "SELECT 1 AS a; CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2); SELECT n, NULL FROM t ORDER BY n; ;";
    let said: Vec<String> = client.simple_query(text).await.expect("they run").iter().filter_map(shown).collect();
    assert_eq!(said, ["row 1", "done 1", "done 0", "done 2", "row 1,NULL", "row 2,NULL", "done 2"]);
    assert_eq!(sqlstate(client.simple_query("INSERT INTO t VALUES (3); SELECT 1/0; SELECT 2").await), "22012");
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.expect("a row").get::<_, i64>(0), 2);
    assert!(client.simple_query("").await.expect("nothing runs").iter().filter_map(shown).eq(["done 0"]));
}

fn shown(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
            Some(format!("row {}", values.join(",")))
        }
        SimpleQueryMessage::CommandComplete(count) => Some(format!("done {count}")),
        _ => None,
    }
}

async fn transactions(pg: Servers) {
    let ground = Ground::open(pg, "tokio_transaction").await;
    let mut client = ground.client().await;
    let other = ground.client().await;
    client.batch_execute("CREATE TABLE tx (n int PRIMARY KEY)").await.expect("it is made");
    let mut outer = client.transaction().await.expect("it begins");
    let pid: i32 = outer.query_one("SELECT pg_backend_pid()", &[]).await.expect("a row").get(0);
    outer.execute("INSERT INTO tx VALUES ($1)", &[&1]).await.expect("it is new");
    assert_ne!(backend(&other).await, pid);
    let inner = outer.savepoint("inner").await.expect("it begins");
    assert_eq!(sqlstate(inner.execute("INSERT INTO tx VALUES ($1)", &[&1]).await), "23505");
    assert_eq!(sqlstate(inner.query("SELECT 1", &[]).await), "25P02");
    inner.rollback().await.expect("back to the savepoint");
    let inner = outer.transaction().await.expect("it begins");
    inner.execute("INSERT INTO tx VALUES ($1)", &[&2]).await.expect("it is new");
    inner.commit().await.expect("released");
    assert_eq!(outer.query_one("SELECT pg_backend_pid()", &[]).await.expect("a row").get::<_, i32>(0), pid);
    outer.commit().await.expect("committed");
    // Dropped: the driver rolls back behind its back.
    let dropped = client.transaction().await.expect("it begins");
    dropped.execute("INSERT INTO tx VALUES ($1)", &[&3]).await.expect("it is new");
    drop(dropped);
    let rows = client.query("SELECT n FROM tx ORDER BY n", &[]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2]);
}

async fn portals(pg: Servers) {
    let ground = Ground::open(pg, "tokio_portal").await;
    let (mut client, other) = (ground.client().await, ground.client().await);
    let transaction = client.transaction().await.expect("it begins");
    let statement = transaction.prepare("SELECT n FROM generate_series(1, $1::int) n").await.expect("it is prepared");
    let a = transaction.bind(&statement, &[&100]).await.expect("it is bound");
    let b = transaction.bind(&statement, &[&25]).await.expect("it is bound");
    let mut got = [0, 0];
    for turn in 0..4 {
        for (portal, got) in [&a, &b].into_iter().zip(&mut got) {
            let rows = transaction.query_portal(portal, 10).await.expect("rows");
            rows.iter().enumerate().for_each(|(at, row)| assert_eq!(row.get::<_, i32>(0), turn * 10 + at as i32 + 1));
            *got += rows.len();
        }
        backend(&other).await;
    }
    assert_eq!(got, [40, 25]);
    transaction.commit().await.expect("committed");
}

async fn copies(pg: Servers) {
    let ground = Ground::open(pg, "tokio_copy").await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE cp (n int PRIMARY KEY, t text)").await.expect("it is made");
    let lines: Vec<String> = (0..20_000).map(|n| format!("{n}\tlíne {n}\n")).collect();
    let mut sink = pin!(client.copy_in("COPY cp FROM STDIN").await.expect("it begins"));
    let mut all = stream::iter(lines.iter().map(|line| Ok(bytes::Bytes::copy_from_slice(line.as_bytes()))));
    sink.send_all(&mut all).await.expect("it is taken");
    assert_eq!(sink.finish().await.expect("it ends"), 20_000);
    let out = client.copy_out("COPY (SELECT * FROM cp ORDER BY n) TO STDOUT").await.expect("it begins");
    let out: Vec<bytes::Bytes> = out.try_collect().await.expect("it ends");
    assert_eq!(out.concat(), lines.concat().into_bytes());

    let mut sink = pin!(client.copy_in("COPY cp FROM STDIN").await.expect("it begins"));
    let bad = std::iter::once("x\ty\n".to_owned()).chain((0..20_000).map(|n| format!("{}\tz\n", n + 20_000)));
    let mut bad = stream::iter(bad.map(|line| Ok(bytes::Bytes::from(line))));
    // The server refuses the first line; how much of the rest the driver still sends is a matter of time.
    let sent = sink.send_all(&mut bad).await;
    let ended = match sent {
        Ok(()) => sink.finish().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(ended.is_err());
    let abandoned = Box::pin(client.copy_in::<_, bytes::Bytes>("COPY cp FROM STDIN").await.expect("it begins"));
    drop(abandoned);
    let mut cut = pin!(client.copy_out("COPY (SELECT generate_series(1, 200000)) TO STDOUT").await.expect("it begins"));
    assert!(cut.next().await.is_some());
    let count = client.query_one("SELECT count(*) FROM cp", &[]);
    let (count, rest) = tokio::join!(count, cut.map(|part| part.expect("data").len()).collect::<Vec<_>>());
    assert!(rest.len() > 1);
    assert_eq!(count.expect("a row").get::<_, i64>(0), 20_000);
}

async fn cancels(pg: Servers) {
    let ground = Ground::open(pg, "tokio_cancel").await;
    let clients = ground.clients(2).await;
    for _ in 0..3 {
        let (token, sleep) = (clients[0].cancel_token(), clients[0].batch_execute("SELECT pg_sleep(100)"));
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            token.cancel_query(NoTls).await
        };
        let (slept, cancelled) = soon("the cancel", future::join(sleep, cancel)).await;
        cancelled.expect("it is sent");
        assert_eq!(slept.expect_err("it is cancelled").code(), Some(&SqlState::QUERY_CANCELED));
        // An idle client's token is worth nothing.
        clients[0].cancel_token().cancel_query(NoTls).await.expect("it is sent");
        for client in &clients {
            backend(client).await;
        }
    }
}

async fn notifications(pg: Servers) {
    let ground = Ground::open(pg, "tokio_notify").await;
    let (client, mut connection) = ground.proxy.config("app", &ground.database).connect(NoTls).await.expect("it is in");
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            let said = match message {
                AsyncMessage::Notification(note) => format!("{} {}", note.channel(), note.payload()),
                AsyncMessage::Notice(notice) => format!("{} {}", notice.severity(), notice.message()),
                _ => continue,
            };
            let _nobody_listens = heard.send(said);
        }
    });
    client.batch_execute("LISTEN weir").await.expect("it listens");
    client.batch_execute("DROP TABLE IF EXISTS nothing_there").await.expect("a notice");
    let sender = ground.client().await;
    for n in 0..5 {
        sender.execute("SELECT pg_notify('weir', $1)", &[&n.to_string()]).await.expect("it is sent");
    }
    let mut said = Vec::new();
    while said.len() < 6 {
        said.extend(tokio::time::timeout(DEADLINE, hears.recv()).await.expect("they come"));
    }
    let notes = (0..5).map(|n| format!("weir {n}"));
    let notice = "NOTICE table \"nothing_there\" does not exist, skipping".to_owned();
    assert_eq!(said, std::iter::once(notice).chain(notes).collect::<Vec<_>>());
}

async fn large_values(pg: Servers) {
    let ground = Ground::open(pg, "tokio_large").await;
    let client = ground.client().await;
    let text = "wéir ".repeat(2_000_000);
    let data: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let row = client.query_one("SELECT $1::text, $2::bytea, NULL::text", &[&text, &data]).await.expect("a row");
    assert!(row.get::<_, &str>(0) == text && row.get::<_, &[u8]>(1) == data);
    assert_eq!(row.get::<_, Option<&str>>(2), None);
    let rows =
        client.query("SELECT n, repeat('z', n % 50) FROM generate_series(1, 100000) n", &[]).await.expect("rows");
    assert!(
        rows.iter()
            .zip(1..)
            .all(|(row, n)| row.get::<_, i32>(0) == n && row.get::<_, &str>(1).len() == n as usize % 50)
    );
}

/// A driver that describes once, at Parse, must never get rows of another shape (PROTOCOL 10, 27).
async fn a_result_type_that_changes(pg: Servers) {
    let ground = Ground::open(pg, "tokio_ddl").await;
    let (client, ddl) = (ground.client().await, ground.client().await);
    ddl.batch_execute("CREATE TABLE ddl (a int); INSERT INTO ddl VALUES (1)").await.expect("it is made");
    let statement = client.prepare("SELECT * FROM ddl").await.expect("it is prepared");
    everywhere(&ground, || async {
        assert_eq!(client.query_one(&statement, &[]).await.expect("a row").get::<_, i32>(0), 1);
    })
    .await;
    ddl.batch_execute("ALTER TABLE ddl ALTER a TYPE text USING 'one'").await.expect("it is altered");
    assert_eq!(sqlstate(client.query_one(&statement, &[]).await), "0A000");
    let statement = client.prepare("SELECT * FROM ddl").await.expect("it is prepared");
    assert_eq!(client.query_one(&statement, &[]).await.expect("a row").get::<_, &str>(0), "one");
}

async fn clients_that_vanish(pg: Servers) {
    let ground = Arc::new(Ground::open(pg, "tokio_vanish").await);
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE gone (n int)").await.expect("it is made");
    for turn in 0..SERVERS + 2 {
        let (other, connection) = ground.proxy.config("app", &ground.database).connect(NoTls).await.expect("it is in");
        let driven = tokio::spawn(connection);
        other.batch_execute("BEGIN; LOCK TABLE gone").await.expect("it is locked");
        if turn % 2 == 0 {
            // In the middle of a query.
            tokio::select! {
                _ = other.batch_execute("SELECT pg_sleep(100)") => panic!("it sleeps on"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        driven.abort();
        soon("the lock falls", client.query("SELECT n FROM gone", &[])).await.expect("rows");
    }
}

tests! {
    on both: [
        statements_follow_their_client, dropped_statements, pipelined_queries, many_clients_pipeline, simple_queries,
        transactions, portals, copies, cancels, notifications, large_values, a_result_type_that_changes,
        clients_that_vanish,
    ],
    on 15: []
}
