//! The system's log: each line a datagram to /dev/log, as syslog(3) writes them but for the time, which whoever takes
//! them in knows as well.
//!
//! Nothing waits for it: what the socket does not take at once is lost there, and stands in the log of our own.

use std::fmt::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::config::{Global, SyslogFacility};

const SOCKET: &str = "/dev/log";

/// Handed on to the subscriber, and kept to be told of reloads.
#[derive(Clone)]
pub struct Syslog(Arc<Inner>);

struct Inner {
    /// Looked at before any lock is taken.
    is_on: AtomicBool,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    ident: String,
    facility: SyslogFacility,
    /// Made at the first line, and anew when whoever listens was started anew.
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub fn new(global: &Global) -> Syslog {
        Syslog::at(SOCKET.into(), global)
    }

    fn at(path: PathBuf, global: &Global) -> Syslog {
        let state = State { ident: String::new(), facility: SyslogFacility::Daemon, socket: None };
        let made = Syslog(Arc::new(Inner { is_on: AtomicBool::new(false), path, state: Mutex::new(state) }));
        made.follow(global);
        made
    }

    /// What a reload says.
    pub fn follow(&self, global: &Global) {
        let mut state = self.0.state.lock();
        state.ident = global.syslog_ident.clone().unwrap_or_default();
        state.facility = global.syslog_facility;
        self.0.is_on.store(global.syslog, Ordering::Relaxed);
    }

    fn send(&self, level: Level, text: &str) {
        let mut state = self.0.state.lock();
        let priority = number(state.facility) * 8 + severity(level);
        let line = format!("<{priority}>{}[{}]: {text}", state.ident, std::process::id());
        let open = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(&self.0.path)?;
            Ok::<_, std::io::Error>(socket)
        };
        let sent = state.socket.as_ref().is_some_and(|socket| socket.send(line.as_bytes()).is_ok());
        if !sent {
            state.socket = open().ok();
            let _ = state.socket.as_ref().map(|socket| socket.send(line.as_bytes()));
        }
    }
}

impl<S: Subscriber> Layer<S> for Syslog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.is_on.load(Ordering::Relaxed) {
            let mut line = Line::default();
            event.record(&mut line);
            let text = (line.message + &line.fields).replace(char::is_control, " ");
            self.send(*event.metadata().level(), &text);
        }
    }
}

/// The message, and what stands beside it as ` name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _infallible = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn number(facility: SyslogFacility) -> u8 {
    match facility {
        SyslogFacility::User => 1,
        SyslogFacility::Daemon => 3,
        SyslogFacility::Auth => 4,
        SyslogFacility::Authpriv => 10,
        SyslogFacility::Local0 => 16,
        SyslogFacility::Local1 => 17,
        SyslogFacility::Local2 => 18,
        SyslogFacility::Local3 => 19,
        SyslogFacility::Local4 => 20,
        SyslogFacility::Local5 => 21,
        SyslogFacility::Local6 => 22,
        SyslogFacility::Local7 => 23,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::config::Nowhere;

    fn global(lines: &str) -> Global {
        Nowhere::config(&format!("[pgweir]\nauth_type = 'trust'\n{lines}\n[databases.x]\nhost = 'h'\n"))
            .expect("a sound file")
            .global
    }

    #[test]
    fn a_line_is_a_datagram_with_its_priority() {
        let dir = std::env::temp_dir().join(format!("pgweir-syslog-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("the directory is new");
        let path = dir.join("log");
        let listen = || {
            let listener = UnixDatagram::bind(&path).expect("the path is free");
            listener.set_nonblocking(true).expect("a socket of ours");
            listener
        };
        let next = |listener: &UnixDatagram| {
            let mut line = [0; 1024];
            let len = listener.recv(&mut line).unwrap_or(0);
            String::from_utf8_lossy(&line[..len]).into_owned()
        };
        let syslog = Syslog::at(path.clone(), &global("syslog = true\nsyslog_ident = 'proxy'"));
        let registry = tracing_subscriber::registry().with(syslog.clone());
        let listener = listen();
        tracing::subscriber::with_default(registry, || {
            let pid = std::process::id();
            tracing::warn!(user = "ann\nx", count = 2, "it is {}", "late");
            assert_eq!(next(&listener), format!("<28>proxy[{pid}]: it is late user=\"ann\\nx\" count=2"));
            syslog.follow(&global("syslog = true\nsyslog_facility = 'local7'"));
            tracing::info!("so");
            assert_eq!(next(&listener), format!("<190>pgweir[{pid}]: so"));
            // Whoever listens is started anew.
            drop(listener);
            std::fs::remove_file(&path).expect("it is there");
            tracing::error!("to nobody");
            let listener = listen();
            tracing::error!("to somebody");
            assert_eq!(next(&listener), format!("<187>pgweir[{pid}]: to somebody"));
            syslog.follow(&global(""));
            tracing::error!("to nobody");
            assert_eq!(next(&listener), "");
        });
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
