//! What a client was told of a statement's rows holds on every server, or PostgreSQL's own error says that it does not.

use crate::support::wire::say;
use crate::support::*;

/// What is done to the table between the description and its use, and whether PostgreSQL calls it a change.
const CHANGES: &[(&str, bool)] = &[
    ("ALTER TABLE {t} ADD c int", true),
    ("ALTER TABLE {t} DROP b", true),
    ("ALTER TABLE {t} RENAME b TO c", true),
    ("ALTER TABLE {t} ALTER b TYPE text", true),
    ("ALTER TABLE {t} ALTER b TYPE varchar(30)", true),
    ("ALTER TABLE {t} ALTER b SET NOT NULL", false),
    ("CREATE INDEX ON {t} (a)", false),
    ("DROP TABLE {t}; CREATE TABLE {t} (a int, b varchar(20)); INSERT INTO {t} VALUES (1, 'x')", false),
];

/// Nobody but the server that ran it would know: two servers, one of which learns the statement after the change.
struct Ground {
    proxy: Proxy,
    through: Wire,
    straight: Wire,
    ddl: tokio_postgres::Client,
    table: String,
}

impl Ground {
    async fn new(pg: &Servers, what: &str) -> Ground {
        let proxy = Proxy::of_size(pg, 2).await;
        let ddl = pg.direct("test1").await;
        let table = format!("described_{what}_{}_{}", pg.major, std::process::id());
        let mut straight = Wire::open(pg.primary).await;
        straight.send(&say::startup(say::V3_0, &[("user", "trust_user"), ("database", "test1")])).await;
        straight.greet().await;
        let through = Wire::login(&proxy).await;
        Ground { proxy, through, straight, ddl, table }
    }

    async fn make(&self) {
        let sql = "DROP TABLE IF EXISTS {t}; CREATE TABLE {t} (a int, b varchar(20)); INSERT INTO {t} VALUES (1, 'x'); \
                   GRANT ALL ON {t} TO app, trust_user";
        self.run(sql).await;
    }

    async fn run(&self, sql: &str) {
        self.ddl.batch_execute(&sql.replace("{t}", &self.table)).await.expect("DDL");
        self.ddl.batch_execute(&format!("GRANT ALL ON {} TO app, trust_user", self.table)).await.expect("a grant");
    }

    /// The client describes on one server, and `sql` is run; then that server is taken away, as the guard lasts.
    async fn describe(&mut self, text: &str, sql: &str) -> tokio_postgres::Client {
        let messages = [say::parse("s", &text.replace("{t}", &self.table)), say::describe(b'S', "s"), say::sync()];
        assert_eq!(self.through.ask(&messages).await, "1 t T Z(I)");
        assert_eq!(self.straight.ask(&messages).await, "1 t T Z(I)");
        let holder = self.proxy.app().await;
        holder.batch_execute("BEGIN").await.expect("the server that was used last");
        self.run(sql).await;
        holder
    }

    /// Both clients forget it.
    async fn close(&mut self) {
        for wire in [&mut self.through, &mut self.straight] {
            assert_eq!(wire.ask(&[say::close(b'S', "s"), say::sync()]).await, "3 Z(I)");
        }
    }

    async fn rows(&self) -> i64 {
        let count = format!("SELECT count(*) FROM {}", self.table);
        self.ddl.query_one(&count, &[]).await.expect("a count").get(0)
    }
}

/// An error as drivers know it; without BindComplete, which may stand in front of it.
async fn use_of(wire: &mut Wire, parameters: &[&str]) -> String {
    wire.send(&[say::bind("", "s", parameters), say::execute("", 0), say::sync()].concat()).await;
    let frames = wire.answers().await;
    match frames.iter().find(|frame| frame.tag == b'E') {
        Some(error) => format!(
            "{} {} {} {} {}",
            error.field(b'S'),
            error.field(b'C'),
            error.field(b'M'),
            error.field(b'R'),
            frames.last().expect("an end")
        ),
        None => wire::line(&frames),
    }
}

const STALE: &str = "ERROR 0A000 cached plan must not change result type RevalidateCachedQuery";

async fn a_change_is_what_postgresql_calls_one(pg: Servers) {
    let mut ground = Ground::new(&pg, "changes").await;
    for (change, is_one) in CHANGES {
        ground.make().await;
        let holder = ground.describe("SELECT * FROM {t}", change).await;
        let straight = use_of(&mut ground.straight, &[]).await;
        assert_eq!(straight.starts_with(STALE), *is_one, "PostgreSQL: {change}: {straight}");
        assert_eq!(use_of(&mut ground.through, &[]).await, straight, "{change}");
        assert_eq!(use_of(&mut ground.through, &[]).await, straight, "{change}: a second time");
        holder.batch_execute("COMMIT").await.expect("the end");
        ground.close().await;
        let again = ground.describe("SELECT * FROM {t}", "SELECT 1").await;
        assert!(use_of(&mut ground.through, &[]).await.starts_with("2 D("), "{change}: prepared anew");
        again.batch_execute("COMMIT").await.expect("the end");
        ground.close().await;
    }
    ground.run("DROP TABLE {t}; CREATE TABLE {t} ()").await;
    ground.ddl.batch_execute(&format!("DROP TABLE {}", ground.table)).await.expect("it goes");
}

async fn nothing_is_written_by_what_is_refused(pg: Servers) {
    let mut ground = Ground::new(&pg, "writes").await;
    ground.make().await;
    let text = "INSERT INTO {t} (a) VALUES (7) RETURNING *";
    let holder = ground.describe(text, "ALTER TABLE {t} ADD c int").await;
    assert_eq!(use_of(&mut ground.through, &[]).await, format!("{STALE} Z(I)"));
    assert_eq!(ground.rows().await, 1);
    // In a transaction it fails the transaction.
    assert_eq!(ground.through.query("BEGIN").await, "C(BEGIN) Z(T)");
    assert_eq!(use_of(&mut ground.through, &[]).await, format!("{STALE} Z(E)"));
    assert_eq!(ground.through.query("SELECT 1").await, "E(25P02) Z(E)");
    assert_eq!(ground.through.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
    // Who asks in the same batch is told.
    let asking = [say::bind("", "s", &[]), say::describe(b'P', ""), say::execute("", 0), say::sync()];
    assert_eq!(ground.through.ask(&asking).await, "2 T D(7,NULL,NULL) C(INSERT 0 1) Z(I)");
    assert_eq!(use_of(&mut ground.through, &[]).await, "2 D(7,NULL,NULL) C(INSERT 0 1) Z(I)");
    assert_eq!(ground.rows().await, 3);
    holder.batch_execute("COMMIT").await.expect("the end");
    ground.ddl.batch_execute(&format!("DROP TABLE {}", ground.table)).await.expect("it goes");
}

/// PostgreSQL keeps a parameter's type; a server that infers another would read the client's value by it.
async fn another_type_of_a_parameter_is_a_change(pg: Servers) {
    let mut ground = Ground::new(&pg, "parameters").await;
    ground.make().await;
    let holder = ground.describe("SELECT a FROM {t} WHERE b = $1", "ALTER TABLE {t} ALTER b TYPE bytea USING b::bytea");
    let holder = holder.await;
    assert_eq!(use_of(&mut ground.through, &["x"]).await, format!("{STALE} Z(I)"));
    holder.batch_execute("COMMIT").await.expect("the end");
    ground.ddl.batch_execute(&format!("DROP TABLE {}", ground.table)).await.expect("it goes");
}

tests! {
    on both: [
        a_change_is_what_postgresql_calls_one, another_type_of_a_parameter_is_a_change,
        nothing_is_written_by_what_is_refused,
    ],
    on 15: []
}
