//! An ini as a whole: PgBouncer's defaults and units, what warns and what is refused, each with its line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

struct Machine;

impl Outside for Machine {
    fn env(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/pooler".into())
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("conf.d/databases.ini") => Ok("[databases]\ninner = host=h colour=hush\n".into()),
            _ => Err("no such file".into()),
        }
    }
}

fn read(text: &str) -> Result<Parsed, Vec<Problem>> {
    parse(Path::new("/etc/p/p.ini"), text, &Machine)
}

fn sound(text: &str) -> Parsed {
    read(text).unwrap_or_else(|problems| panic!("{problems:?} in {text}"))
}

/// `[pgbouncer]` with these lines, from line 3, and one database.
fn global(lines: &str) -> String {
    format!("[pgbouncer]\nauth_file = users\n{lines}\n[databases]\napp = host=h\n")
}

fn printed(problems: &[Problem]) -> Vec<String> {
    let printed: Vec<_> = problems.iter().map(|problem| problem.to_string().replace("/etc/p/p.ini:", "")).collect();
    assert!(printed.iter().all(|line| !line.contains("hush")), "{printed:?}");
    printed
}

#[test]
fn defaults_are_all_pgbouncers() {
    let ours = sound(&global("")).config.global;
    assert_eq!((ours.pool_mode, ours.server_login_retry), (PoolMode::Session, Duration::from_secs(15)));
    assert_eq!((ours.tcp_user_timeout, ours.shutdown_timeout), (Duration::ZERO, None));
    assert_eq!((ours.http_listen, ours.listen_port), (None, 6432));
    assert_eq!(ours.auth_file, Some(PathBuf::from("users")));
}

#[test]
fn values_are_bare_and_in_pgbouncers_units() {
    let text = "[databases]\n\
        one = host=10.0.0.1,10.0.0.2 port=5433 dbname='my db' user=u password='it''s ${hush}' pool_size=5 reserve_pool=2\n\
        * = auth_user=asker pool_mode=transaction server_lifetime=60 connect_query='SET a = ''b'''\n\
        three = servers=a:1,b:2 probe_user=p\n\
        [pgbouncer]\nlisten_addr = 127.0.0.1, ::1\nauth_file = ~/users.txt\nquery_wait_timeout = 1.5\n\
        tcp_user_timeout = 1500\nunix_socket_mode = 0770\nlog_connections = 0\nmax_packet_size = 65536\n\
        ignore_startup_parameters = extra_float_digits, options\nadmin_users = a,b\npeer_id = 2\n\
        [users]\n'a b' = pool_mode=session query_timeout=3 max_user_connections=7\n\
        [peers]\n2 = host=/run/two\n3 = host=h port=7000 pool_size=9\n";
    let config = sound(text).config;
    let ours = &config.global;
    assert_eq!(ours.listen_addr, ["127.0.0.1", "::1"]);
    assert_eq!(ours.auth_file, Some(PathBuf::from("/home/pooler/users.txt")));
    assert_eq!(ours.query_wait_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(ours.tcp_user_timeout, Duration::from_millis(1500));
    assert_eq!((ours.unix_socket_mode, ours.log_connections, ours.max_packet_size), (0o770, false, 65536));
    assert_eq!(ours.ignore_startup_parameters, ["extra_float_digits", "options"]);
    assert_eq!((ours.admin_users.len(), ours.peer_id), (2, 2));
    let one = &config.databases["one"];
    let Target::Hosts { servers, load_balance: true } = &one.target else { panic!("hosts") };
    assert_eq!(servers.iter().map(Address::to_string).collect::<Vec<_>>(), ["10.0.0.1:5433", "10.0.0.2:5433"]);
    assert_eq!((one.dbname.as_deref(), one.pool_size, one.reserve_pool_size), (Some("my db"), Some(5), Some(2)));
    assert_eq!(one.password, Some(Redacted("it's ${hush}".into())));
    let star = &config.databases["*"];
    assert_eq!((star.auth_user.as_deref(), star.connect_query.as_deref()), (Some("asker"), Some("SET a = 'b'")));
    assert_eq!((star.pool_mode, star.server_lifetime), (Some(PoolMode::Transaction), Some(Duration::from_secs(60))));
    assert!(matches!(&config.databases["three"].target, Target::Servers(list) if list.len() == 2));
    let user = &config.users["a b"];
    assert_eq!((user.query_timeout, user.max_user_connections), (Some(Duration::from_secs(3)), Some(7)));
    let peers: Vec<_> =
        config.peers.iter().map(|(n, peer)| format!("{n} {} {:?}", peer.address, peer.pool_size)).collect();
    assert_eq!(peers, ["2 /run/two:6432 None", "3 h:7000 Some(9)"]);
}

#[test]
fn what_pgbouncer_has_and_we_cannot_honour_warns_by_line() {
    let lines =
        "pkt_buf = 8192\nsbuf_loopcnt = 5\nclient_tls_ciphers = HIGH\nmin_pool_size = 30\nverbose = 0\nverbose = 1";
    let warnings = sound(&global(lines)).warnings;
    assert_eq!(
        printed(&warnings),
        [
            "3: pgbouncer.pkt_buf: accepted without effect: buffers have sizes of their own",
            "5: pgbouncer.client_tls_ciphers: accepted without effect: ciphers and curves are rustls's choice",
            "6: pgbouncer.min_pool_size: expected at most default_pool_size, 20; found 30",
            "7: pgbouncer.verbose: has no effect: it stands again at /etc/p/p.ini:8",
        ]
        .map(|line| line.replace("/etc/p/p.ini:", ""))
    );
}

#[test]
fn what_nobody_knows_is_refused_with_its_file_and_line() {
    let text = "[pgbouncer]\nauth_file = users\ncolour = hush\nlisten_port = many\npool_size = 5\nlogfile = ~other/x\n\
        max_client_conn = 010\n%include conf.d/databases.ini\n%include nowhere.ini\nb = host=h:1\n[users]\nu = poolmode=x\n\
        [peers]\n0 = host=h\n4 = port=1\n";
    let problems = read(text).expect_err("nothing but mistakes");
    assert_eq!(
        printed(&problems),
        [
            "3: pgbouncer.colour: expected a known key",
            "4: pgbouncer.listen_port: expected an integer from 1 to 65535; found \"many\"",
            "5: pgbouncer.pool_size: expected a known key; it belongs to [databases.NAME]",
            "6: pgbouncer.logfile: expected a path without a user behind the ~",
            "7: pgbouncer.max_client_conn: expected an integer from 0 to 2147483647; found \"010\"",
            "9: %include: expected a readable file; nowhere.ini: no such file",
            "10: databases.b.host: expected a host without a port; the port belongs to `port`",
            "12: users.u.poolmode: expected a known key; did you mean `pool_mode`?",
            "14: peers.0: expected a peer's number from 1 to 16383",
            "15: peers.4.host: expected the peer's host",
            "conf.d/databases.ini:2: databases.inner.colour: expected a known key",
        ]
    );
}

#[test]
fn no_database_is_a_doubt_and_no_section_a_problem() {
    let warnings = sound("[pgbouncer]\nauth_type = trust\n[databases]\n").warnings;
    assert_eq!(printed(&warnings), ["1: databases: there is none: clients reach the console only"]);
    let problems = read("; nothing\n").expect_err("no section");
    assert_eq!(
        printed(&problems),
        [
            "1: pgbouncer: expected a section [pgbouncer]",
            "1: pgbouncer.auth_file: expected a file of users: auth_type is md5",
        ]
    );
}

#[test]
fn somebody_may_be_asked_for_secrets_in_place_of_a_file() {
    let text = "[pgbouncer]\nauth_type = md5\n[databases]\na = host=h auth_user=asker\n";
    assert_eq!(sound(text).warnings, []);
    assert_eq!(sound("[pgbouncer]\nauth_user = asker\n[databases]\na = host=h\n").warnings, []);
}
