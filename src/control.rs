//! How a low room learns what the process as a whole is doing, and asks it to do something else.

use tokio::sync::{mpsc, oneshot};

/// The process's phase. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// No new clients; the present ones may stay (SHUTDOWN WAIT_FOR_CLIENTS).
    Closing,
    /// Each client is ended when its transaction ends (SHUTDOWN WAIT_FOR_SERVERS).
    Draining,
    /// Now.
    Stopping,
}

/// What is asked of the process as a whole.
#[derive(Debug)]
pub enum Command {
    /// To `Phase::Closing`.
    Close,
    /// To `Phase::Draining`.
    Drain,
    Reload(Reply),
    /// A key of `[pgweir]`, as if the file said so, until it is read again.
    Set {
        key: String,
        value: String,
        reply: Reply,
    },
    /// To `Phase::Stopping`.
    Stop,
}

/// Told once it is done, or why it was not.
pub type Reply = oneshot::Sender<Result<(), String>>;

/// Where commands are given.
#[derive(Clone, Debug)]
pub struct Bell(mpsc::UnboundedSender<Command>);

/// A bell, and what rings when it is used.
pub fn bell() -> (Bell, mpsc::UnboundedReceiver<Command>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Bell(sender), receiver)
}

impl Bell {
    /// A process that has stopped hears nothing.
    pub fn ring(&self, command: Command) {
        let _ = self.0.send(command);
    }

    /// Gives a command that is answered. Err also if the process ends before. Cancel-safe: the command is carried out all
    /// the same.
    pub async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.ring(command(reply));
        answer.await.unwrap_or_else(|_| Err("pooler is shutting down".to_owned()))
    }
}
