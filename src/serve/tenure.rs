//! What is this process's as long as no other took its place: the pid file, and the service in systemd's eyes.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::config::Global;

/// The hold on it. The pid file is removed at the end, if it is still ours.
pub struct Tenure {
    pid_file: Option<PathBuf>,
    over: watch::Sender<bool>,
}

impl Tenure {
    /// Writes the pid file.
    pub fn begin(global: &Global) -> std::io::Result<Tenure> {
        if let Some(path) = &global.pidfile {
            std::fs::write(path, format!("{}\n", std::process::id()))?;
        }
        Ok(Tenure { pid_file: global.pidfile.clone(), over: watch::Sender::new(false) })
    }

    /// Another process took our place, and wrote its own pid.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Returns once it is over. Cancel-safe.
    pub async fn ended(&self) {
        let mut over = self.over.subscribe();
        let _ = over.wait_for(|over| *over).await;
    }

    /// Tells systemd, if it listens and this process is still the service.
    pub fn tell(&self, states: &[sd_notify::NotifyState<'_>]) {
        if !self.is_over() {
            let _ = sd_notify::notify(false, states);
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if let Some(path) = self.pid_file.as_ref().filter(|_| !self.is_over()) {
            let _ = std::fs::remove_file(path);
        }
    }
}
