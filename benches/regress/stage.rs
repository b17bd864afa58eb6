//! A primary and a standby, and the suite run before them as PostgreSQL's pg_regress runs it, one test after the other.
//!
//! Each run finds the servers as the first one did: what a run leaves behind (databases, roles, tablespaces) goes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pgweir::demo::{Binaries, Cluster, Problem, Process, Result, Room, Signals, Trying, free_ports, run, wait_until};

use crate::compare::Outputs;
use crate::suite::Suite;

pub const DATABASE: &str = "regression";
/// The suite is a superuser's.
pub const USER: &str = "postgres";

pub struct Stage {
    // The servers go before the room that they lie in.
    primary: Cluster,
    standby: Cluster,
    room: Room,
    out: PathBuf,
    /// What the servers have beside the suite.
    own: Shared,
}

/// What all databases share, by name.
#[derive(PartialEq, Eq)]
struct Shared {
    databases: BTreeSet<String>,
    tablespaces: BTreeSet<String>,
    roles: BTreeSet<String>,
}

impl Stage {
    pub fn set(suite: &Suite, out: &Path) -> Result<Stage> {
        let bin = Binaries::find()?;
        let room = Room::open("regress")?;
        let ports = free_ports(FIRST_PORT, 2)?;
        let primary = room.primary(&bin, ports[0], &SETTINGS)?;
        let standby = room.standby(&primary, ports[1], "regress")?;
        let own = Shared::of(&primary)?;
        let stage = Stage { primary, standby, room, out: out.to_owned(), own };
        stage.copy(suite)?;
        Ok(stage)
    }

    /// The suite where the servers' account can read it and write beside it.
    fn copy(&self, suite: &Suite) -> Result<()> {
        run(Command::new("cp").args(["-rL", "--no-preserve=ownership"]).arg(&suite.dir).arg(self.suite()), "")?;
        let results = self.suite().join("results");
        std::fs::create_dir_all(&results).trying(|| format!("making {}", results.display()))?;
        let owner = self.room.account().name().to_owned();
        match rustix::process::geteuid().is_root() {
            true => run(Command::new("chown").args(["-R", &owner]).arg(self.suite()), "").map(drop),
            false => Ok(()),
        }
    }

    /// A new database, and nothing of an earlier run.
    pub fn clear(&self) -> Result<()> {
        self.clean()?;
        DATABASE_SETUP.iter().try_for_each(|statement| self.primary.psql(USER, statement).map(drop))
    }

    /// Runs all tests by this port.
    pub fn perform(&self, suite: &Suite, run: &str, port: u16, signals: &Signals) -> Result<Outputs> {
        let kept = self.out.join(run);
        std::fs::create_dir_all(&kept).trying(|| format!("making {}", kept.display()))?;
        let mut outputs = Outputs::new();
        for test in &suite.tests {
            eprintln!("{run}: {test}");
            signals.none_yet()?;
            let output = kept.join(format!("{test}.out"));
            self.psql(test, port, &output)?;
            outputs.insert(test.clone(), output);
        }
        Ok(outputs)
    }

    /// One test, with psql's words in the file.
    fn psql(&self, test: &str, port: u16, output: &Path) -> Result<()> {
        let script = self.suite().join("sql").join(format!("{test}.sql"));
        let script = File::open(&script).trying(|| format!("opening {}", script.display()))?;
        let out = File::create(output).trying(|| format!("making {}", output.display()))?;
        let err = out.try_clone().trying(|| format!("opening {}", output.display()))?;
        let mut command = self.command(self.primary.binaries().program("psql"));
        command.args(["-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on", "-d", DATABASE]);
        command.envs(ENVIRONMENT).env_remove("LC_ALL").env_remove("LANGUAGE");
        command.env("PGAPPNAME", format!("pg_regress/{test}"));
        command.env("PGPORT", port.to_string()).env("PGPASSWORD", self.password());
        command.env("PG_ABS_SRCDIR", self.suite()).env("PG_ABS_BUILDDIR", self.suite());
        command.env("PG_LIBDIR", self.suite().join("lib")).env("HOME", self.suite());
        let mut psql = self.spawn(command.stdin(script).stdout(out).stderr(err))?;
        match wait_until(TEST_LIMIT, || psql.ended().is_some()) {
            true => Ok(()),
            false => Err(Problem::new(format!("running {test}"), format!("it hangs, see {}", output.display()))),
        }
    }

    /// How many tests said what one of their expected outputs says.
    pub fn expected(&self, suite: &Suite, outputs: &Outputs) -> usize {
        let expected = suite.dir.join("expected");
        let alternatives = |test: &str| {
            let numbered = (1..10).map(|n| format!("{test}_{n}.out"));
            std::iter::once(format!("{test}.out")).chain(numbered).map(|name| expected.join(name)).collect::<Vec<_>>()
        };
        let agrees = |test: &str, output: &Path| {
            let said = std::fs::read(output).unwrap_or_default();
            alternatives(test).iter().any(|file| std::fs::read(file).is_ok_and(|text| text == said))
        };
        outputs.iter().filter(|(test, output)| agrees(test, output)).count()
    }

    /// Takes away what a run has left.
    fn clean(&self) -> Result<()> {
        let now = Shared::of(&self.primary)?;
        let drops = [
            dropped("DROP DATABASE", " WITH (FORCE)", &now.databases, &self.own.databases),
            dropped("DROP TABLESPACE", "", &now.tablespaces, &self.own.tablespaces),
            dropped("DROP OWNED BY", " CASCADE", &now.roles, &self.own.roles),
            dropped("DROP ROLE", "", &now.roles, &self.own.roles),
        ];
        for statement in drops.iter().flatten() {
            self.primary.psql(USER, statement)?;
        }
        Ok(())
    }

    fn suite(&self) -> PathBuf {
        self.room.dir().join("suite")
    }

    pub fn dir(&self) -> &Path {
        self.room.dir()
    }

    pub fn password(&self) -> &str {
        self.room.password()
    }

    pub fn primary_port(&self) -> u16 {
        self.primary.port()
    }

    pub fn ports(&self) -> [u16; 2] {
        [self.primary.port(), self.standby.port()]
    }

    /// As the servers' account, in the room, where its watchdog looks.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.room.account().command(program);
        command.current_dir(self.room.dir());
        command
    }

    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        Process::spawn(command, &self.room.marks())
    }

    pub fn reachable(&self, program: &Path) -> Result<PathBuf> {
        self.room.reachable_program(program)
    }

    /// A file of the servers' account.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.room.dir().join(name);
        std::fs::write(&path, text).trying(|| format!("writing {}", path.display()))?;
        self.room.account().give(&path).map(|()| path)
    }
}

impl Shared {
    fn of(primary: &Cluster) -> Result<Shared> {
        let names = |sql: &str| Ok(primary.psql(USER, sql)?.lines().map(str::to_owned).collect());
        Ok(Shared {
            databases: names("SELECT datname FROM pg_database")?,
            tablespaces: names("SELECT spcname FROM pg_tablespace")?,
            roles: names("SELECT rolname FROM pg_roles")?,
        })
    }
}

/// A statement for each name that was not there.
fn dropped(verb: &str, how: &str, now: &BTreeSet<String>, own: &BTreeSet<String>) -> Vec<String> {
    now.difference(own).map(|name| format!("{verb} \"{}\"{how}", name.replace('"', "\"\""))).collect()
}

/// As pg_regress has it, and what its temporary server is started with.
const SETTINGS: [(&str, &str); 2] = [("max_prepared_transactions", "2"), ("log_temp_files", "128kB")];

const DATABASE_SETUP: [&str; 7] = [
    "CREATE DATABASE regression TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    "ALTER DATABASE regression SET lc_messages TO 'C'",
    "ALTER DATABASE regression SET lc_monetary TO 'C'",
    "ALTER DATABASE regression SET lc_numeric TO 'C'",
    "ALTER DATABASE regression SET lc_time TO 'C'",
    "ALTER DATABASE regression SET bytea_output TO 'hex'",
    "ALTER DATABASE regression SET timezone_abbreviations TO 'Default'",
];

const ENVIRONMENT: [(&str, &str); 10] = [
    ("LANG", "C.UTF-8"),
    ("LC_MESSAGES", "C"),
    ("PGTZ", "America/Los_Angeles"),
    ("PGDATESTYLE", "Postgres, MDY"),
    ("PGOPTIONS", "-c intervalstyle=postgres_verbose"),
    ("PGHOST", "127.0.0.1"),
    ("PGUSER", USER),
    ("PGSSLMODE", "disable"),
    ("PGGSSENCMODE", "disable"),
    ("PG_DLSUFFIX", ".so"),
];

const FIRST_PORT: u16 = 28_100;
/// Far beyond the longest test, on a slow machine.
const TEST_LIMIT: Duration = Duration::from_secs(600);
