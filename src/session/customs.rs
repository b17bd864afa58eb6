//! [pure] What a session's settings and statements mean beyond themselves: for how its texts are cut, for where its
//! transactions may run, and for what others know of the catalog.

use super::Session;
use super::settings::Settings;
use crate::sql::Lexical;

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
    pub(super) fn note_settings(&mut self) {
        self.lexical = lexical(&self.wanted);
        self.customs = Customs::of(&self.wanted);
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
