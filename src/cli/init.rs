//! `init`: a config that fits a server which runs. It asks for names and limits only, and prints no secret.

use std::fmt::Write;
use std::process::ExitCode;

use super::fetch::{self, Session};
use crate::config::literal;

/// What a server says of itself.
#[derive(Debug, Default)]
struct Seen {
    /// Where it was asked, as `host:port`.
    address: String,
    version: String,
    /// Connections that are left for those who are no superusers.
    free: usize,
    scram: bool,
    databases: Vec<String>,
    /// Who may log in, superusers left out.
    roles: Vec<String>,
    /// Each with its name, and its address where another host says it.
    standbys: Vec<(String, Option<String>)>,
    /// Of a standby: whom it follows.
    primary: Option<String>,
}

pub(super) fn init(url: &str) -> ExitCode {
    match fetch::with(url, async |session| look(session).await) {
        Ok(seen) => {
            print!("{}", render(&seen));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("pgweir: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn look(session: &mut Session) -> Result<Seen, String> {
    let mut seen = Seen { address: session.address.clone(), ..Seen::default() };
    let limits = "SELECT current_setting('server_version'), current_setting('max_connections')::int - \
        current_setting('superuser_reserved_connections')::int, current_setting('password_encryption')";
    if let [version, free, encryption] = &session.rows(limits).await?.concat()[..] {
        seen.version = version.clone();
        seen.free = free.parse().unwrap_or(0);
        seen.scram = encryption == "scram-sha-256";
    }
    let databases = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";
    seen.databases = session.rows(databases).await?.concat();
    let roles = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolcanlogin AND NOT rolsuper ORDER BY 1";
    seen.roles = session.rows(roles).await?.concat();
    let standbys = "SELECT application_name, coalesce(client_hostname, pg_catalog.host(client_addr)) \
        FROM pg_catalog.pg_stat_replication WHERE state = 'streaming' ORDER BY 1, 2";
    let (host, port) = seen.address.rsplit_once(':').unwrap_or((seen.address.as_str(), "5432"));
    for row in session.rows(standbys).await? {
        let [name, address] = &row[..] else { continue };
        // A walsender knows its client's address, not the port that it serves on: the same is the likely one.
        let elsewhere = !address.is_empty() && address != host && !(is_here(address) && is_here(host));
        seen.standbys.push((name.clone(), elsewhere.then(|| with_port(address, port))));
    }
    let primary = "SELECT sender_host, sender_port::text FROM pg_catalog.pg_stat_wal_receiver WHERE sender_host <> ''";
    if let [host, port] = &session.rows(primary).await?.concat()[..] {
        seen.primary = Some(with_port(host, port));
    }
    Ok(seen)
}

fn is_here(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}

fn with_port(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with(['[', '/']) {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn render(seen: &Seen) -> String {
    let mut out = format!(
        "# pgweir before {}, PostgreSQL {}, as it was found. Every key: docs/configuration.md.\n#\n\
         # 1. Make userlist.txt beside this file; for each role: pgweir hash ROLE --from postgres://SUPERUSER@…\n",
        seen.address, seen.version
    );
    for role in &seen.roles {
        let _infallible = writeln!(out, "#      {role:?}");
    }
    out.push_str("# 2. pgweir check THIS FILE, then pgweir run THIS FILE.\n\n[pgweir]\n");
    out.push_str("listen_addr = \"127.0.0.1\"         # \"*\" to be reached from elsewhere\n");
    let auth_type = if seen.scram { "scram-sha-256" } else { "md5" };
    let _infallible = writeln!(out, "auth_type = \"{auth_type}\"       # as the server's password_encryption");
    out.push_str("auth_file = \"userlist.txt\"\nmax_client_conn = 1000\n\n");
    let (share, size) = sizes(seen);
    let _infallible = writeln!(
        out,
        "# The server takes {} connections besides superusers'. A tenth is left to others; the rest is shared by its databases.\n\
         default_pool_size = {size}          # for each pair of database and user\n\
         max_db_connections = {share}         # of one database, all users together",
        seen.free
    );
    let servers = servers(seen);
    if servers.len() > 1 {
        out.push_str(
            "\n# Who asks the servers for their role. On the primary: CREATE ROLE pgweir_probe LOGIN PASSWORD '…';\n\
             # GRANT pg_read_all_stats TO pgweir_probe; and its line in userlist.txt.\nprobe_user = \"pgweir_probe\"\n",
        );
    }
    out.push_str(&unsure(seen));
    for name in seen.databases.iter().filter(|name| !matches!(name.as_str(), "pgbouncer" | "pgweir")) {
        let _infallible = writeln!(out, "\n[databases.{}]", literal::name(name));
        out.push_str(&target(&servers));
    }
    out
}

/// For each database, and for each pool of it.
fn sizes(seen: &Seen) -> (usize, usize) {
    let share = (seen.free * 9 / 10 / seen.databases.len().max(1)).max(1);
    (share, share.min(20))
}

fn servers(seen: &Seen) -> Vec<String> {
    let mut servers: Vec<String> = seen.primary.clone().into_iter().chain([seen.address.clone()]).collect();
    servers.extend(seen.standbys.iter().filter_map(|(_, address)| address.clone()));
    let mut known = std::collections::BTreeSet::new();
    servers.retain(|server| known.insert(server.clone()));
    servers
}

/// Standbys that cannot be named: they run on the server's own host, on a port that it does not know.
fn unsure(seen: &Seen) -> String {
    let hidden = seen.standbys.iter().filter(|(_, address)| address.is_none());
    let lines = hidden.map(|(name, _)| {
        format!("\n# The standby {name:?} follows from the server's own host: add it to `servers` as \"host:port\".\n")
    });
    lines.collect()
}

fn target(servers: &[String]) -> String {
    match servers {
        [server] => {
            let (host, port) = server.rsplit_once(':').unwrap_or((server.as_str(), "5432"));
            let host = literal::name_always_quoted(host.trim_matches(['[', ']']));
            format!("host = {host}\nport = {port}\n")
        }
        several => {
            let list: Vec<_> = several.iter().map(|server| literal::name_always_quoted(server)).collect();
            format!("servers = [{}]    # roles are found out\n", list.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Nowhere, Target};

    fn parsed(seen: &Seen) -> config::Config {
        let text = render(seen);
        let parsed = Nowhere::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        assert_eq!(parsed.warnings, [], "{text}");
        parsed.config
    }

    fn seen() -> Seen {
        Seen {
            address: "db1:5433".into(),
            version: "18.1".into(),
            free: 97,
            scram: true,
            databases: ["app", "my \"db\"", "pgweir"].map(str::to_owned).into(),
            roles: vec!["app\nx".into()],
            ..Seen::default()
        }
    }

    #[test]
    fn one_server_is_a_host() {
        let config = parsed(&seen());
        assert_eq!(config.databases.keys().collect::<Vec<_>>(), ["app", "my \"db\""]);
        assert_eq!((config.global.default_pool_size, config.global.max_db_connections), (20, 29));
        assert!(matches!(&config.databases["app"].target, Target::Hosts { servers, .. }
            if servers[0].to_string() == "db1:5433"));
    }

    #[test]
    fn several_are_servers_once_each() {
        let standbys = vec![
            ("a".into(), Some("10.0.0.2:5433".into())),
            ("b".into(), Some("10.0.0.2:5433".into())),
            ("c".into(), Some("[fd00::2]:5433".into())),
            ("d".into(), None),
        ];
        let seen = Seen { standbys, ..seen() };
        let config = parsed(&seen);
        let Target::Servers(list) = &config.databases["app"].target else { panic!("servers") };
        let list: Vec<_> = list.iter().map(|listed| listed.address.to_string()).collect();
        assert_eq!(list, ["db1:5433", "10.0.0.2:5433", "[fd00::2]:5433"]);
        assert!(render(&seen).contains("# The standby \"d\" follows from the server's own host"));
        let config =
            parsed(&Seen { primary: Some("db0:5432".into()), scram: false, ..Seen { standbys: Vec::new(), ..seen } });
        assert!(matches!(&config.databases["app"].target, Target::Servers(list) if list.len() == 2));
    }
}
