//! pgweir itself in the demo: this same program as a child, `pgweir run pgweir.toml`, as the servers' account.

use super::ports::Ports;
use super::problem::{Problem, Result, Trying, log_tail};
use super::process::{Process, wait_until};
use super::room::{Room, private_dir};
use rustix::process::Signal;
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

pub(super) struct Proxy {
    process: Process,
    log: PathBuf,
}

impl Proxy {
    /// Starts it and waits until its port answers.
    pub(super) fn start(room: &Room, ports: &Ports) -> Result<Proxy> {
        let dir = room.dir().join("proxy");
        private_dir(&dir)?;
        room.account().give(&dir)?;
        let (config, log) = (dir.join("pgweir.toml"), room.dir().join("pgweir.log"));
        room.account().write(&config, &toml(ports, room.password()))?;
        room.account().write(&dir.join(USERLIST), &userlist(room.password()))?;

        let program = std::env::current_exe().trying(|| "finding our own program".into())?;
        let mut command = room.account().command(room.reachable_program(&program)?);
        let out = File::create(&log).trying(|| format!("making {}", log.display()))?;
        let err = out.try_clone().trying(|| format!("opening {}", log.display()))?;
        command.arg("run").arg(&config).current_dir(&dir).stdout(out).stderr(err);
        let mut proxy = Proxy { process: Process::spawn(&mut command, &room.marks())?, log };
        proxy.wait_for(ports.proxy).map(|()| proxy)
    }

    /// Fails with the reason when it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(status) = self.process.ended() else { return Ok(()) };
        Err(Problem::new("running pgweir", format!("it ended: {status}\n{}", log_tail(&self.log))))
    }

    fn wait_for(&mut self, port: u16) -> Result<()> {
        let mut answers = false;
        wait_until(START_LIMIT, || {
            answers = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            answers || self.process.ended().is_some()
        });
        self.check()?;
        let late = || Problem::new("starting pgweir", format!("port {port} does not answer\n{}", log_tail(&self.log)));
        answers.then_some(()).ok_or_else(late)
    }
}

impl Drop for Proxy {
    /// Its clients lose their connections: the servers behind it stop in the same moment.
    fn drop(&mut self) {
        self.process.stop(Signal::TERM, STOP_LIMIT);
    }
}

fn toml(ports: &Ports, password: &str) -> String {
    let Ports { primary, standby, proxy, http } = ports;
    format!(
        r#"[pgweir]
listen_addr = "127.0.0.1"
listen_port = {proxy}
unix_socket_dir = ""
http_listen = "127.0.0.1:{http}"
auth_type = "scram-sha-256"
auth_file = "{USERLIST}"
admin_users = "app"
probe_user = "pgweir_probe"
probe_password = "{password}"

[databases.suggar_daddy]
servers = ["127.0.0.1:{primary}", "127.0.0.1:{standby}"]
"#
    )
}

fn userlist(password: &str) -> String {
    format!("\"app\" \"{password}\"\n\"other\" \"{password}\"\n")
}

const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_millis(1500);
const USERLIST: &str = "userlist.txt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_toml_and_names_both_servers() {
        let text = toml(&Ports { primary: 5432, standby: 5433, proxy: 6432, http: 9632 }, "secret");
        let table: toml::Table = text.parse().expect("it is TOML");
        assert_eq!(table["pgweir"]["listen_port"].as_integer(), Some(6432));
        assert_eq!(table["databases"]["suggar_daddy"]["servers"][1].as_str(), Some("127.0.0.1:5433"));
    }
}
