//! A temporary directory with servers in it, and the promise that neither outlives us.
//!
//! Ways out: the room's drop (return, `?`, panic) stops every server and removes the directory; a signal is turned
//! into a return by the caller (`signals.rs`); what gives no warning is the watchdog's.

use super::account::Account;
use super::binaries::Binaries;
use super::cluster::{Cluster, Server, Stop};
use super::problem::{Problem, Result, Trying};
use super::watchdog::Watchdog;
use super::{process, seed};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

pub struct Room {
    ground: Arc<Ground>,
    servers: Mutex<Vec<Weak<Server>>>,
    _watchdog: Watchdog,
}

/// What a room and its servers share.
pub(super) struct Ground {
    pub(super) dir: PathBuf,
    pub(super) account: Account,
    pub(super) password: String,
}

impl Ground {
    pub(super) fn sockets(&self) -> PathBuf {
        self.dir.join("sockets")
    }

    pub(super) fn marks(&self) -> PathBuf {
        self.dir.join("pids")
    }
}

impl Room {
    /// A new directory `pgweir-NAME-PID` under TMPDIR, or under /tmp where the servers' account cannot enter TMPDIR.
    pub fn open(name: &str) -> Result<Room> {
        let account = Account::for_servers()?;
        let base = Some(std::env::temp_dir()).filter(|dir| account.reaches(dir)).unwrap_or_else(|| FALLBACK.into());
        let dir = new_dir(&base, name)?;
        // From here on the watchdog removes the directory, whatever fails.
        let watchdog = Watchdog::over(&dir)?;
        let ground = Ground { dir, account, password: password()? };
        for dir in [ground.marks(), ground.sockets()] {
            private_dir(&dir)?;
        }
        ground.account.give(&ground.sockets())?;
        ground.account.give(&ground.dir)?;
        Ok(Room { ground: Arc::new(ground), servers: Mutex::default(), _watchdog: watchdog })
    }

    /// A new primary with the roles and databases of `seed.rs`; `settings` stand last in its postgresql.conf.
    pub fn primary(&self, bin: &Binaries, port: u16, settings: &[(&str, &str)]) -> Result<Cluster> {
        let mut cluster = self.cluster(bin, port)?;
        seed::primary(&self.ground, bin, &cluster.data_dir(), settings)?;
        cluster.start()?;
        cluster.psql("postgres", &seed::roles_and_databases(&self.ground.password))?;
        Ok(cluster)
    }

    /// A standby that streams from `of` by the physical slot, which is made where there is none. With
    /// pg_basebackup the primary stays up; a set without it copies the primary cold: a stop of half a second.
    pub fn standby(&self, of: &Cluster, port: u16, slot: &str) -> Result<Cluster> {
        let mut cluster = self.cluster(of.binaries(), port)?;
        seed::standby(&self.ground, of, &cluster.data_dir(), slot)?;
        cluster.start()?;
        cluster.wait_for_streaming()?;
        Ok(cluster)
    }

    pub fn dir(&self) -> &Path {
        &self.ground.dir
    }

    /// The directory of the servers' unix sockets.
    pub fn sockets(&self) -> PathBuf {
        self.ground.sockets()
    }

    /// The password of every role, `trust_user` apart.
    pub fn password(&self) -> &str {
        &self.ground.password
    }

    pub fn account(&self) -> &Account {
        &self.ground.account
    }

    /// The set itself where the servers' account can run it, else a copy in the room (a checkout under /root).
    pub fn reachable(&self, bin: Binaries) -> Result<Binaries> {
        if self.ground.account.reaches(&bin.program("postgres")) {
            return Ok(bin);
        }
        let dir = bin.dir.canonicalize().trying(|| format!("finding {}", bin.dir.display()))?;
        let root = dir.parent().ok_or_else(|| Problem::new("copying PostgreSQL", "its bindir has no parent"))?;
        let copy = self.ground.dir.join(format!("postgresql-{}", bin.major));
        process::run(Command::new("cp").arg("-a").arg(root).arg(&copy), "")?;
        process::run(Command::new("chmod").args(["-R", "go+rX"]).arg(&copy), "")?;
        Ok(Binaries { dir: copy.join("bin"), ..bin })
    }

    /// The program itself where the servers' account can run it, else a copy in the room.
    pub fn reachable_program(&self, program: &Path) -> Result<PathBuf> {
        if self.ground.account.reaches(program) {
            return Ok(program.to_owned());
        }
        let copy = self.ground.dir.join("pgweir");
        std::fs::copy(program, &copy).trying(|| format!("copying {} to {}", program.display(), copy.display()))?;
        self.ground.account.give(&copy)?;
        Ok(copy)
    }

    /// Where a process that must not outlive the room leaves its mark; it has to work in the room's directory too.
    pub fn marks(&self) -> PathBuf {
        self.ground.marks()
    }

    fn cluster(&self, bin: &Binaries, port: u16) -> Result<Cluster> {
        let server = Arc::new(Server::new(self.ground.clone(), bin.clone(), port)?);
        let mut servers = self.servers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        servers.push(Arc::downgrade(&server));
        Ok(Cluster::of(server))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let servers = self.servers.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        servers.iter().filter_map(Weak::upgrade).for_each(|server| server.stop(Stop::Immediate));
        if let Err(error) = std::fs::remove_dir_all(&self.ground.dir) {
            eprintln!("pgweir: removing {}: {error}", self.ground.dir.display());
        }
    }
}

fn new_dir(base: &Path, name: &str) -> Result<PathBuf> {
    let pid = std::process::id();
    let names = (0..).map(|n| if n == 0 { format!("pgweir-{name}-{pid}") } else { format!("pgweir-{name}-{pid}-{n}") });
    for dir in names.take(MOST_ROOMS).map(|name| base.join(name)) {
        // Only ever a directory that did not exist: /tmp is everybody's.
        match DirBuilder::new().mode(PRIVATE).create(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            made => return made.map(|()| dir.clone()).trying(|| format!("making {}", dir.display())),
        }
    }
    Err(Problem::new(format!("making a directory in {}", base.display()), "all its names are taken"))
}

pub(super) fn private_dir(dir: &Path) -> Result<()> {
    DirBuilder::new().mode(PRIVATE).create(dir).trying(|| format!("making {}", dir.display()))
}

fn password() -> Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).trying(|| "making a password".into())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

const FALLBACK: &str = "/tmp";
const MOST_ROOMS: usize = 1000;
const PRIVATE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use super::super::ports::free_ports;
    use super::*;

    #[test]
    fn a_room_that_is_dropped_leaves_nothing() {
        let room = Room::open("empty").expect("a room opens");
        let dir = room.dir().to_owned();
        assert!(room.sockets().is_dir());
        drop(room);
        assert!(!dir.exists());
    }

    #[test]
    fn a_standby_takes_over_from_a_killed_primary() -> Result<()> {
        let room = Room::open("takeover")?;
        let ports = free_ports(16_432, 2)?;
        let mut primary = room.primary(&Binaries::find()?, ports[0], &[("work_mem", "5MB")])?;
        assert_eq!(primary.psql("test1", "SHOW work_mem")?, "5MB");
        let mut standby = room.standby(&primary, ports[1], "slot")?;
        assert_eq!(standby.psql("test2", "SELECT pg_is_in_recovery()")?, "t");
        primary.stop(Stop::Kill);
        assert!(primary.psql("test1", "SELECT 1").is_err());
        standby.promote()?;
        assert_eq!(standby.psql_as("app", "suggar_daddy", "CREATE TABLE t (); SELECT pg_is_in_recovery()")?, "f");
        primary.start()?;
        assert_eq!(primary.psql("test1", "SELECT 1")?, "1");

        // The room may go first: its servers stop, and their handles have nothing left to do.
        drop(room);
        assert!(primary.psql("test1", "SELECT 1").is_err());
        Ok(())
    }
}
