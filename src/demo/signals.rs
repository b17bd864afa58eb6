//! SIGHUP, SIGINT and SIGTERM as values, so that they end the demo by a return and every drop runs.
//!
//! Once installed they kill no longer, not even the second Ctrl-C: the stop is short and always comes to its end.

use super::problem::{Problem, Result, Trying};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    Hangup,
    Interrupt,
    Terminate,
}

impl Caught {
    /// What a shell reports for a program that the signal ended.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Caught::Hangup => 129,
            Caught::Interrupt => 130,
            Caught::Terminate => 143,
        })
    }
}

pub struct Signals {
    caught: Receiver<Caught>,
}

impl Signals {
    pub fn install() -> Result<Signals> {
        let (ready, readiness) = channel();
        let (sender, caught) = channel();
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || listen(&sender, &ready)).trying(|| "starting the signal thread".into())?;
        readiness.recv().trying(|| "installing signal handlers".into())??;
        Ok(Signals { caught })
    }

    /// The next signal, if one comes within the time.
    pub fn within(&self, time: Duration) -> Option<Caught> {
        self.caught.recv_timeout(time).ok()
    }

    /// Fails when a signal came in the meantime: asked between the steps of a start.
    pub fn none_yet(&self) -> Result<()> {
        self.caught.try_recv().map_or(Ok(()), |caught| Err(Problem::new("starting", format!("stopped by {caught:?}"))))
    }
}

fn listen(caught: &Sender<Caught>, ready: &Sender<Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let installed = runtime.trying(|| "building a runtime for signals".into()).and_then(|runtime| {
        let _inside = runtime.enter();
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [hangup, interrupt, terminate] = kinds.map(|kind| kind.trying(|| "installing signal handlers".into()));
        Ok((hangup?, interrupt?, terminate?)).map(|streams| (streams, runtime))
    });
    let ((mut hangup, mut interrupt, mut terminate), runtime) = match installed {
        Ok(installed) => installed,
        Err(problem) => return drop(ready.send(Err(problem))),
    };
    let _waited_for = ready.send(Ok(()));
    runtime.block_on(async {
        loop {
            let next = tokio::select! {
                _ = hangup.recv() => Caught::Hangup,
                _ = interrupt.recv() => Caught::Interrupt,
                _ = terminate.recv() => Caught::Terminate,
            };
            if caught.send(next).is_err() {
                return;
            }
        }
    });
}
