//! What a new data directory holds: settings, pg_hba.conf, roles and databases; and how a standby gets its copy.

use super::binaries::Binaries;
use super::cluster::{Cluster, Stop};
use super::problem::{Result, Trying};
use super::process::run;
use super::room::Ground;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// initdb and the two files; the server is not started.
pub(super) fn primary(ground: &Ground, bin: &Binaries, data: &Path, settings: &[(&str, &str)]) -> Result<()> {
    let password_file = ground.dir.join(format!("{}.pw", data.file_name().unwrap_or_default().display()));
    ground.account.write(&password_file, &ground.password)?;
    let mut initdb = ground.account.command(bin.program("initdb"));
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
    initdb.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(data).current_dir(&ground.dir);
    run(&mut initdb, "")?;
    ground.account.write(&data.join("postgresql.conf"), &conf(&ground.sockets(), settings))?;
    ground.account.write(&data.join("pg_hba.conf"), HBA)
}

/// A copy of the primary that will stream by the slot when it starts.
pub(super) fn standby(ground: &Ground, of: &Cluster, data: &Path, slot: &str) -> Result<()> {
    let slot_name = literal(slot);
    of.psql(
        "postgres",
        &format!(
            "SELECT pg_create_physical_replication_slot({slot_name}, true) \
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {slot_name})"
        ),
    )?;
    if of.binaries().has("pg_basebackup") {
        base_backup(ground, of, data, slot)?;
    } else {
        cold_copy(ground, of, data)?;
    }
    ground.account.write(&data.join("standby.signal"), "")?;
    ground.account.write(&data.join("postgresql.auto.conf"), &standby_conf(of.port(), slot, &ground.password))
}

fn base_backup(ground: &Ground, of: &Cluster, data: &Path, slot: &str) -> Result<()> {
    let mut backup = ground.account.command(of.binaries().program("pg_basebackup"));
    backup.args(["--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-password", "--host=127.0.0.1"]);
    backup.args(["--username", REPLICATOR, "--slot", slot, "--port"]).arg(of.port().to_string());
    backup.arg("--pgdata").arg(data).env("PGPASSWORD", &ground.password).current_dir(&ground.dir);
    run(&mut backup, "").map(drop)
}

/// The primary is stopped while it is copied, and started again whether the copy succeeded or not.
fn cold_copy(ground: &Ground, of: &Cluster, data: &Path) -> Result<()> {
    of.server().stop(Stop::Fast);
    let from = of.data_dir();
    let copied = run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&from).arg(data), "");
    of.server().start()?;
    copied?;
    // A slot belongs to the server that made it; a copy of it would hold WAL back for nobody.
    let slots = data.join("pg_replslot");
    std::fs::remove_dir_all(&slots).trying(|| format!("emptying {}", slots.display()))?;
    super::room::private_dir(&slots)?;
    ground.account.give(&slots)
}

fn conf(sockets: &Path, settings: &[(&str, &str)]) -> String {
    let sockets = sockets.to_string_lossy();
    let all = [("unix_socket_directories", &*sockets)].into_iter().chain(SETTINGS).chain(settings.iter().copied());
    all.fold(String::new(), |mut text, (name, value)| {
        let _infallible = writeln!(text, "{name} = {}", literal(value));
        text
    })
}

fn standby_conf(primary_port: u16, slot: &str, password: &str) -> String {
    let conninfo = format!(
        "host=127.0.0.1 port={primary_port} user={REPLICATOR} password={password} application_name={slot} sslmode=prefer"
    );
    format!("primary_conninfo = {}\nprimary_slot_name = {}\n", literal(&conninfo), literal(slot))
}

/// As SQL and postgresql.conf both write it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn roles_and_databases(password: &str) -> String {
    ROLES.replace("PASSWORD ''", &format!("PASSWORD {}", literal(password)))
}

/// Throw-away servers: nothing waits for a disk. What is asked for by the caller comes after these and wins.
const SETTINGS: [(&str, &str); 18] = [
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "200"),
    ("shared_buffers", "32MB"),
    ("password_encryption", "scram-sha-256"),
    ("ssl", "off"),
    ("fsync", "off"),
    ("wal_level", "logical"),
    ("wal_log_hints", "on"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("max_prepared_transactions", "16"),
    ("hot_standby", "on"),
    ("hot_standby_feedback", "off"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

const REPLICATOR: &str = "replicator";

const HBA: &str = "\
# TYPE  DATABASE     USER        ADDRESS  METHOD
local   all          trust_user           trust
host    all          trust_user  all      trust
local   all          app_md5              md5
host    all          app_md5     all      md5
local   all          app_plain            password
host    all          app_plain   all      password
local   all          all                  scram-sha-256
host    all          all         all      scram-sha-256
local   replication  all                  scram-sha-256
host    replication  all         all      scram-sha-256
";

const ROLES: &str = "\
CREATE ROLE app LOGIN PASSWORD '';
CREATE ROLE app_plain LOGIN PASSWORD '';
CREATE ROLE other LOGIN PASSWORD '';
CREATE ROLE pgweir_probe LOGIN PASSWORD '';
CREATE ROLE replicator LOGIN REPLICATION PASSWORD '';
CREATE ROLE trust_user LOGIN;
SET password_encryption = 'md5';
CREATE ROLE app_md5 LOGIN PASSWORD '';
CREATE DATABASE suggar_daddy OWNER app;
CREATE DATABASE test1 OWNER app;
CREATE DATABASE test2 OWNER app;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_settings_stand_last_and_are_quoted() {
        let text = conf(Path::new("/tmp/it's"), &[("fsync", "on"), ("search_path", "'a', b")]);
        assert!(text.starts_with("unix_socket_directories = '/tmp/it''s'\n"));
        assert!(text.ends_with("fsync = 'on'\nsearch_path = '''a'', b'\n"));
        assert!(text.find("fsync = 'off'") < text.find("fsync = 'on'"));
    }

    #[test]
    fn every_role_but_the_trusted_one_has_the_password() {
        let text = roles_and_databases("pa'ss");
        assert_eq!(text.matches("PASSWORD 'pa''ss'").count(), 6);
        assert!(!text.contains("PASSWORD ''"));
    }

    #[test]
    fn a_standby_names_its_slot_to_the_primary() {
        let text = standby_conf(5432, "replica_slot_1", "secret");
        assert!(text.contains("port=5432 user=replicator password=secret application_name=replica_slot_1"));
        assert!(text.ends_with("primary_slot_name = 'replica_slot_1'\n"));
    }
}
