//! [pure] What a session's settings and statements mean beyond themselves: for how its texts are cut, for where its
//! transactions may run, and for what others know of the catalog.

use std::sync::Arc;

use super::settings::{self, Settings};
use super::{ServerState, Session};
use crate::sql::{Hidden, Lexical, Taints};

/// What passed to the server at hand that may change the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ddl {
    #[default]
    None,
    /// It was sent, and its transaction is open.
    Running,
    /// Its transaction has ended; the client was not told yet.
    Ended,
}

/// What a session's settings mean for where its transactions may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Customs {
    /// No standby runs such a transaction.
    pub serializable: bool,
    /// A transaction sees what its first statement saw, unless it says otherwise.
    pub keeps_snapshots: bool,
    /// Every transaction is READ ONLY unless it says otherwise.
    pub read_only: bool,
}

impl Customs {
    pub fn of(settings: &Settings) -> Customs {
        let is = |name, value: &str| settings.get(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value));
        let isolation = ["default_transaction_isolation", "transaction_isolation"];
        let read_only = settings.get("default_transaction_read_only").unwrap_or("off");
        Customs {
            keeps_snapshots: isolation.iter().any(|name| is(name, "repeatable read")),
            serializable: isolation.iter().any(|name| is(name, "serializable")),
            // As a server reports it, or as a startup packet may spell it.
            read_only: ["on", "true", "yes", "1", "t", "y"].iter().any(|on| read_only.eq_ignore_ascii_case(on)),
        }
    }
}

impl Session {
    /// The server has told of it.
    pub(super) fn settings_changed(&mut self, name: &str, value: &str, server: &mut ServerState) {
        let agreed = settings::agree(&mut self.wanted, &mut server.known);
        let mut changed = Settings::clone(&self.wanted);
        changed.set(name, value);
        self.wanted = Arc::new(changed);
        if agreed {
            server.known = Arc::clone(&self.wanted);
        } else {
            server.told(name, value);
        }
        self.note_settings();
    }

    pub(super) fn note_settings(&mut self) {
        self.lexical = lexical(&self.wanted);
        self.customs = Customs::of(&self.wanted);
    }

    /// What functions of this client's database leave behind, as far as that is known.
    pub fn set_hidden(&mut self, hidden: Option<&Arc<Hidden>>) {
        self.rare.set_hidden(hidden);
    }

    /// What makes two equal texts different statements: settings, and what is known of the functions that they call.
    pub(super) fn parse_scope(&self) -> Vec<u8> {
        let mut scope = self.wanted.parse_scope();
        if self.rare.hidden().is_some() {
            scope.extend(self.hidden_version().to_be_bytes());
        }
        scope
    }

    /// Of what is known of functions; 0: none leaves anything.
    pub(super) fn hidden_version(&self) -> u64 {
        self.rare.hidden().map_or(0, |hidden| hidden.version())
    }

    /// What the functions may leave that a text names.
    pub(super) fn hidden_in(&self, text: &[u8]) -> Taints {
        self.rare.hidden().map_or(Taints::NONE, |hidden| hidden.left_by(text, self.lexical))
    }

    /// Whether the catalog may be another one than a moment ago.
    pub fn ddl(&self) -> Ddl {
        self.ddl
    }

    /// Those whom an ended change of the catalog concerns were told of it.
    pub fn forget_ddl(&mut self) {
        if self.ddl == Ddl::Ended {
            self.ddl = Ddl::None;
        }
    }
}

pub(super) fn lexical(settings: &Settings) -> Lexical {
    let value = |name, default| settings.get(name).unwrap_or(default).as_bytes();
    Lexical::from_parameters(value("standard_conforming_strings", "on"), value("client_encoding", "UTF8"))
}
