//! A signal as an error that every loop here asks for, so that the way out is a return and every drop runs.

use pgweir::demo::{Caught, Problem, Result, Signals};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

pub struct Stopper {
    signals: Signals,
    caught: Cell<Option<Caught>>,
}

impl Stopper {
    pub fn install() -> Result<Stopper> {
        Ok(Stopper { signals: Signals::install()?, caught: Cell::new(None) })
    }

    /// Fails from the first signal on.
    pub fn check(&self) -> Result<()> {
        self.within(Duration::ZERO)
    }

    /// Sleeps, but not through a signal.
    pub fn within(&self, time: Duration) -> Result<()> {
        if self.caught.get().is_none() {
            self.caught.set(self.signals.within(time));
        }
        self.caught.get().map_or(Ok(()), |caught| Err(Problem::new("comparing", format!("stopped by {caught:?}"))))
    }

    pub fn exit_code(&self) -> ExitCode {
        self.caught.get().map_or(ExitCode::FAILURE, Caught::exit_code)
    }
}
