//! `pgweir demo`: a primary, a standby and the proxy before them, a short proof that it works, and the URL to paste.

use super::SLOT;
use super::binaries::Binaries;
use super::cluster::Cluster;
use super::ports::Ports;
use super::problem::{Problem, Result, Trying};
use super::process::wait_until;
use super::proxy::Proxy;
use super::psql::Psql;
use super::room::Room;
use super::signals::Signals;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Runs until a signal comes or the proxy ends.
pub(super) fn show(base: u16, signals: &Signals) -> Result<()> {
    let bin = Binaries::find()?;
    let ports = Ports::free(base)?;
    if ports.primary != base {
        say(format_args!("The ports from {base} on are not all free: taking {ports}."))?;
    }
    let room = Room::open("demo")?;
    let (dir, user) = (room.dir().display(), room.account().name());
    say(format_args!("PostgreSQL {} from {}, run by {user} in {dir}\n", bin.major, bin.dir.display()))?;

    let primary = step("primary ", ports.primary, || room.primary(&bin, ports.primary, &[]))?;
    signals.none_yet()?;
    let standby = step("standby ", ports.standby, || room.standby(&primary, ports.standby, SLOT))?;
    signals.none_yet()?;
    let mut proxy = step("pgweir  ", ports.proxy, || Proxy::start(&room, &ports))?;
    signals.none_yet()?;

    let client = Psql {
        account: room.account(),
        program: bin.psql(),
        host: "127.0.0.1".into(),
        port: ports.proxy,
        user: "app",
        password: room.password(),
    };
    prove(&client, &primary, &standby)?;
    say(format_args!("\n  DATABASE_URL=postgres://app:{}@127.0.0.1:{}/{DATABASE}\n", room.password(), ports.proxy))?;
    say(format_args!("  Status page: http://127.0.0.1:{}/\n", ports.http))?;
    say(format_args!("Ctrl-C stops all three and removes {dir}."))?;

    while signals.within(CHECK_EVERY).is_none() {
        proxy.check()?;
    }
    say(format_args!("\nStopping."))?;
    Ok(())
}

/// A line on the screen; a reader that has gone ends the demo like any other failure.
fn say(line: fmt::Arguments<'_>) -> Result<()> {
    writeln!(io::stdout(), "{line}").trying(|| "writing to standard output".into())
}

fn step<T>(name: &str, port: u16, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let started = start()?;
    say(format_args!("  {name} 127.0.0.1:{port}  up after {:.1} s", began.elapsed().as_secs_f64()))?;
    Ok(started)
}

/// A write and a read through the proxy, then each server asked by itself.
fn prove(client: &Psql<'_>, primary: &Cluster, standby: &Cluster) -> Result<()> {
    let written = client.run(DATABASE, WRITE)?;
    say(format_args!("\n  a write through the proxy      {written}"))?;
    say(format_args!("  the same row read through it   {}", client.run(DATABASE, READ)?))?;
    say(format_args!("  on the primary by itself       {}", primary.psql(DATABASE, PRIMARY_STANDS)?))?;
    let target = primary.psql(DATABASE, "SELECT pg_current_wal_lsn()")?;
    let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{target}'");
    if !wait_until(CATCH_UP, || standby.psql(DATABASE, &caught_up).as_deref() == Ok("t")) {
        return Err(Problem::new("waiting for the standby", format!("it has not replayed {target}")));
    }
    say(format_args!("  on the standby by itself       {}", standby.psql(DATABASE, STANDBY_STANDS)?))?;
    say(format_args!("  and where a read runs now      {}", read_on_standby(client)?))
}

/// The CREATE TABLE made the proxy read the catalog anew: until it has, the primary serves.
fn read_on_standby(client: &Psql<'_>) -> Result<String> {
    let mut told = String::new();
    let split = wait_until(CATCH_UP, || {
        let heard = client.run_heard(DATABASE, &format!("SET pgweir.explain = on; {READ};"));
        told = heard.map_or_else(|problem| problem.to_string(), |(_, notices)| notices);
        told.contains("pgweir: standby")
    });
    if !split {
        return Err(Problem::new("waiting for a read on the standby", told));
    }
    let mut decision = told.lines().filter_map(|line| line.split_once("pgweir: ")).map(|(_, decision)| decision);
    Ok(decision.next_back().unwrap_or_default().to_owned())
}

const DATABASE: &str = "suggar_daddy";
const CHECK_EVERY: Duration = Duration::from_millis(200);
const CATCH_UP: Duration = Duration::from_secs(10);

const WRITE: &str = "\
CREATE TABLE weir (id int PRIMARY KEY, note text NOT NULL);
INSERT INTO weir VALUES (1, 'first water')
RETURNING format('row %s, %L, by the server on port %s', id, note, current_setting('port'));";
const READ: &str = "SELECT format('row %s, %L', id, note) FROM weir";
const PRIMARY_STANDS: &str = "\
SELECT format('%s row, written up to %s', count(*), pg_current_wal_lsn()) FROM weir";
const STANDBY_STANDS: &str = "\
SELECT format('%s row, replayed up to %s, in recovery: %s', count(*), pg_last_wal_replay_lsn(), pg_is_in_recovery())
FROM weir";
