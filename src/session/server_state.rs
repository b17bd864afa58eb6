//! [pure] What a server connection has of sessions: it travels with the server from client to client.

use std::sync::Arc;

use super::parsed::Parsed;
use super::settings::Settings;
use crate::sql::Reported;

/// A server's side of whatever conversation it is in.
#[derive(Debug)]
pub struct ServerState {
    pub parsed: Parsed,
    /// What its session has now.
    pub known: Arc<Settings>,
    /// What it had after login: where RESET and DISCARD ALL lead.
    pub base: Arc<Settings>,
    /// Which settings its major reports beyond those that all do, as its login showed.
    pub(super) reported: Reported,
}

impl ServerState {
    pub fn new(base: Arc<Settings>, max_prepared_statements: usize) -> ServerState {
        let has = |name| base.get(name).is_some();
        let reported = Reported { search_path: has("search_path"), scram_iterations: has("scram_iterations") };
        ServerState { parsed: Parsed::new(max_prepared_statements), known: Arc::clone(&base), base, reported }
    }

    /// It has this now, whatever its client wants.
    pub(super) fn told(&mut self, name: &str, value: &str) {
        let mut known = Settings::clone(&self.known);
        known.set(name, value);
        self.known = Arc::new(known);
    }
}
