//! Where PgBouncer ran: its ini and its flags, as they stand.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::proxy::{connect, value};
use crate::support::tool::pgweir;
use crate::support::*;

/// A file as an operator has it. Its paths are relative to the working directory, `{dir}` here.
const INI: &str = ";; ours\n[databases]\ntest1 = host=127.0.0.1 port={primary} user=trust_user connect_query='SET work_mem = ''7MB'''\n\
    %include more.ini\n[users]\n'app' = pool_mode=session max_user_client_connections=2\n\
    [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
    auth_file = userlist.txt\npool_mode = transaction\npkt_buf = 8192\n";

fn ini(pg: &Servers) -> Setup {
    Setup::new(pg)
        .ini(&INI.replace("{primary}", &pg.primary.to_string()))
        .file("more.ini", &format!("* = host=127.0.0.1 port={} dbname=test2 user=trust_user\n", pg.primary))
}

async fn an_ini_runs_as_it_is(pg: Servers) {
    let mut proxy = ini(&pg).start().await;
    let (app, other) = (proxy.app().await, proxy.connect("other", "elsewhere").await);
    assert_eq!(value(&app, "SHOW work_mem").await, "7MB");
    assert_eq!(value(&other, "SELECT current_database()").await, "test2");
    let second = proxy.app().await;
    assert_eq!(
        refusal(proxy.try_connect("app", "test1").await),
        "FATAL 53300 client connections exceeded (max_user_client_connections)"
    );
    assert_eq!(value(&second, "SELECT 1").await, "1");
    let warnings = proxy.log();
    assert!(warnings.contains(":14: pgbouncer.pkt_buf: accepted without effect"), "{warnings}");
    // SIGHUP reads the same grammar again, and what it includes.
    proxy.reload(ini(&pg).file("more.ini", "")).await;
    assert_eq!(refusal(proxy.try_connect("other", "elsewhere").await), "FATAL 3D000 no such database: elsewhere");
    assert!(proxy.log().contains("config: databases.*: removed"), "{}", proxy.log());
}

async fn an_ini_with_a_mistake_is_refused_with_its_line(pg: Servers) {
    let proxy = ini(&pg).start().await;
    let file = proxy.config_file();
    let text = std::fs::read_to_string(&file).expect("it is there");
    let table = [
        ("pool_mode = transaction", "pool_mode = transactional", ":13: pgbouncer.pool_mode: expected one of session"),
        ("listen_addr", "listen_adr", ":8: pgbouncer.listen_adr: expected a known key; did you mean `listen_addr`?"),
        ("pool_mode=session", "pool_mode", ":6: users.app: expected key=value"),
        ("%include more.ini", "%include less.ini", ":4: %include: expected a readable file; less.ini"),
        ("[users]", "[user]", ":5: user: expected a section"),
        ("auth_file = userlist.txt", "auth_file = nowhere.txt", "nowhere.txt:0: file: a readable file"),
    ];
    for (sound, broken, expected) in table {
        std::fs::write(&file, text.replace(sound, broken)).expect("it is written");
        let said = pgweir_in(&proxy.dir, &["check", &file.display().to_string()]).await;
        assert!(!said.success && said.err.contains(expected), "{broken}: {said:?}");
    }
}

/// What `import` prints is accepted, and means the same where it can be seen from outside.
async fn an_imported_ini_is_accepted(pg: Servers) {
    let proxy = ini(&pg).start().await;
    let file = proxy.config_file().display().to_string();
    let said = pgweir_in(&proxy.dir, &["import", &file]).await;
    assert!(said.success && said.err.is_empty(), "{said:?}");
    assert!(said.out.contains("# pkt_buf = 8192: without effect here"), "{said:?}");
    let toml = proxy.dir.join("imported.toml");
    std::fs::write(&toml, &said.out).expect("it is written");
    let said = pgweir(&["check", &toml.display().to_string()]).await;
    assert!(said.success && said.err.is_empty(), "{said:?}");
}

/// Of a primary and of its standby: what is printed is accepted once the user list is there, and holds no secret.
async fn init_prints_a_config_that_fits(pg: Servers) {
    let proxy = Setup::new(&pg).start().await;
    for port in [pg.primary, pg.standby] {
        let said = pgweir(&["init", &format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", pg.password)]).await;
        assert!(said.success && said.err.is_empty() && !said.out.contains(&pg.password), "{said:?}");
        assert!(said.out.contains("\n[databases.test1]\n"), "{said:?}");
        let file = proxy.dir.join("init.toml");
        std::fs::write(&file, &said.out).expect("it is written");
        let said = pgweir(&["check", &file.display().to_string()]).await;
        assert!(said.success && said.err.is_empty(), "{said:?}");
    }
    let said = pgweir(&["init", &format!("postgres://postgres:wrong@127.0.0.1:{}/none", pg.primary)]).await;
    assert!(!said.success && said.err.starts_with("pgweir: ") && !said.err.contains("wrong"), "{said:?}");
}

/// `pgbouncer -d FILE` with one word changed.
async fn a_daemon_goes_to_the_background(pg: Servers) {
    let proxy = Setup::new(&pg).start().await;
    let port = pgweir::demo::free_ports(21_000, 1).expect("a port")[0];
    let more = "logfile = daemon.log\npidfile = daemon.pid\n";
    let text = INI.replace("{primary}", &pg.primary.to_string()).replace("{port}", &port.to_string());
    let text = text.replace("%include more.ini\n", "") + more;
    std::fs::write(proxy.dir.join("daemon.ini"), text.replace(more, "")).expect("it is written");
    let said = pgweir_in(&proxy.dir, &["-d", "daemon.ini"]).await;
    assert!(!said.success && said.err.contains("a daemon needs `logfile`"), "{said:?}");
    std::fs::write(proxy.dir.join("daemon.ini"), text).expect("it is written");
    let said = pgweir_in(&proxy.dir, &["-d", "-v", "daemon.ini"]).await;
    assert!(said.success, "{said:?}");
    let pid_file = proxy.dir.join("daemon.pid");
    eventually("it writes its pid", || async {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    let daemon = Daemon(std::fs::read_to_string(&pid_file).expect("it is there").trim().parse().expect("a number"));
    let log = || std::fs::read_to_string(proxy.dir.join("daemon.log")).unwrap_or_default();
    eventually("it serves", || async { log().contains("process up") }).await;
    let mut own = tokio_postgres::Config::new();
    own.host("127.0.0.1").port(port).user("app").dbname("test1").password(&pg.password);
    let client = connect(&own).await.expect("the daemon answers");
    assert_eq!(value(&client, "SELECT 1").await, "1");
    drop(client);
    daemon.signal(Signal::TERM);
    eventually("it ends and takes its pid file along", || async { !daemon.runs() && !pid_file.exists() }).await;
}

/// Ended with the test.
struct Daemon(i32);

impl Daemon {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0).expect("a pid is above 0")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is ours");
    }

    fn runs(&self) -> bool {
        test_kill_process(self.pid()).is_ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone_already = kill_process(self.pid(), Signal::KILL);
    }
}

async fn pgweir_in(dir: &Path, arguments: &[&str]) -> tool::Said {
    let mut command = std::process::Command::new(proxy::program());
    command.args(arguments).current_dir(dir);
    tool::run(command).await
}

tests! {
    on both: [],
    on 15: [
        a_daemon_goes_to_the_background, an_imported_ini_is_accepted, an_ini_runs_as_it_is,
        an_ini_with_a_mistake_is_refused_with_its_line, init_prints_a_config_that_fits,
    ]
}
