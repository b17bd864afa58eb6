//! What the process is told: by signals, and by its consoles.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::control::{Command, Reply};

/// One thing to do.
#[derive(Debug)]
pub enum Told {
    Close,
    Drain,
    Pause,
    Reload(Option<Reply>),
    Resume,
    Set { key: String, value: String, reply: Reply },
    Stop,
}

/// Both ways in which it is told.
pub struct Ears {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
    rung: UnboundedReceiver<Command>,
}

impl Ears {
    pub fn new(rung: UnboundedReceiver<Command>) -> std::io::Result<Ears> {
        Ok(Ears {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            rung,
        })
    }

    /// Cancel-safe.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => {
                tracing::info!("got SIGHUP");
                Told::Reload(None)
            }
            _ = self.interrupt.recv() => {
                tracing::info!("got SIGINT");
                Told::Drain
            }
            _ = self.quit.recv() => Told::Stop,
            _ = self.terminate.recv() => {
                tracing::info!("got SIGTERM");
                Told::Close
            }
            _ = self.user1.recv() => Told::Pause,
            _ = self.user2.recv() => Told::Resume,
            // The house has a bell, and lives as long as the process.
            Some(command) = self.rung.recv() => match command {
                Command::Close => Told::Close,
                Command::Drain => Told::Drain,
                Command::Reload(reply) => Told::Reload(Some(reply)),
                Command::Set { key, value, reply } => Told::Set { key, value, reply },
                Command::Stop => Told::Stop,
            },
        }
    }

    /// A second word that ends the process. Cancel-safe.
    pub async fn again(&mut self) {
        loop {
            match self.next().await {
                Told::Close | Told::Drain | Told::Stop => return,
                Told::Reload(Some(reply)) | Told::Set { reply, .. } => {
                    let _ = reply.send(Err("pooler is shutting down".to_owned()));
                }
                Told::Pause | Told::Reload(None) | Told::Resume => tracing::info!("shutting down: signal ignored"),
            }
        }
    }
}
