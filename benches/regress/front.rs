//! pgweir before both servers, with its own defaults but for how it lends connections.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir::demo::{Problem, Process, Result, Trying, free_ports, log_tail, wait_until};
use rustix::process::Signal;

use crate::stage::{DATABASE, Stage, USER};

/// Which connection a client is lent for its next transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lending {
    /// The one that was given back last: a single client meets the same one again.
    Same,
    /// The one that has rested longest, of several.
    Another,
}

impl Lending {
    pub const ALL: [Lending; 2] = [Lending::Same, Lending::Another];

    pub fn name(self) -> &'static str {
        match self {
            Lending::Same => "same",
            Lending::Another => "another",
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Lending::Same => "with the default pool",
            Lending::Another => "with another server connection for each transaction",
        }
    }

    fn keys(self) -> &'static str {
        match self {
            Lending::Same => "",
            Lending::Another => "min_pool_size = 4\nserver_round_robin = true\n",
        }
    }
}

/// One that runs.
pub struct Front {
    process: Process,
    log: PathBuf,
    pub port: u16,
}

impl Front {
    pub fn start(stage: &Stage, lending: Lending) -> Result<Front> {
        let port = free_ports(FIRST_PORT, 1)?[0];
        let log = stage.dir().join(format!("pgweir-{}.log", lending.name()));
        stage.write("userlist.txt", &format!("\"{USER}\" \"{}\"\n", stage.password()))?;
        let config = stage.write("pgweir.toml", &config(stage, port, lending))?;
        let mut command = stage.command(stage.reachable(Path::new(env!("CARGO_BIN_EXE_pgweir")))?);
        let out = File::create(&log).trying(|| format!("making {}", log.display()))?;
        let err = out.try_clone().trying(|| format!("opening {}", log.display()))?;
        command.arg("run").arg(config).stdout(out).stderr(err);
        let mut front = Front { process: stage.spawn(&mut command)?, log, port };
        let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        match wait_until(START_LIMIT, || up() || front.process.ended().is_some()) && front.process.ended().is_none() {
            true => Ok(front),
            false => Err(Problem::new("starting pgweir", log_tail(&front.log))),
        }
    }

    /// Stops it and keeps its log. How often it told of a fault of its own: 1 if it ended before its time, and its errors.
    pub fn stop(mut self, out: &Path) -> Result<usize> {
        let ended = self.process.ended();
        self.process.stop(Signal::TERM, STOP_LIMIT);
        let text = std::fs::read_to_string(&self.log).trying(|| format!("reading {}", self.log.display()))?;
        let kept = out.join(self.log.file_name().unwrap_or_default());
        std::fs::write(&kept, &text).trying(|| format!("writing {}", kept.display()))?;
        let errors: Vec<&str> = text.lines().filter(|line| is_fault(line)).collect();
        errors.iter().for_each(|line| println!("pgweir said: {line}"));
        if let Some(status) = ended {
            println!("pgweir ended: {status}");
        }
        Ok(errors.len() + usize::from(ended.is_some()))
    }
}

/// A line of the log that tells of a fault.
fn is_fault(line: &str) -> bool {
    [" ERROR ", "panicked", "desync"].iter().any(|sign| line.contains(sign))
}

fn config(stage: &Stage, port: u16, lending: Lending) -> String {
    let password = stage.password();
    let [primary, standby] = stage.ports();
    format!(
        "[pgweir]\nlisten_addr = \"127.0.0.1\"\nlisten_port = {port}\nunix_socket_dir = \"\"\nhttp_listen = \"\"\n\
         auth_type = \"scram-sha-256\"\nauth_file = \"userlist.txt\"\n\
         probe_user = \"pgweir_probe\"\nprobe_password = \"{password}\"\n{}\n\
         [databases.{DATABASE}]\nservers = [\"127.0.0.1:{primary}\", \"127.0.0.1:{standby}\"]\n",
        lending.keys()
    )
}

const FIRST_PORT: u16 = 28_000;
const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(5);
