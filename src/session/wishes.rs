//! [pure] `pgweir.*`: what a client asks of the proxy for itself, and only towards more caution.
//!
//! They take effect when the statement that sets them is answered, and are not undone by a ROLLBACK: they concern where
//! later work runs, and no data. No server ever hears of them.

use super::Session;
use super::prepared::Effect;
use crate::config::ReadConsistency;
use crate::sql::{Lexical, Wish, wish};

/// A client's wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `pgweir.route = 'primary'`: nothing of its runs on a standby.
    pub primary: bool,
    /// `pgweir.read_consistency`; one that is less strict than the operator's changes nothing.
    pub consistency: Option<ReadConsistency>,
    /// `pgweir.explain = on`: each decision is told in a NOTICE.
    pub explain: bool,
}

/// One of them, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Primary(bool),
    Consistency(Option<ReadConsistency>),
    Explain(bool),
}

const NAMES: &str = "no such setting of pgweir: route, read_consistency, explain";

impl Wishes {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Primary(primary) => self.primary = primary,
            Change::Consistency(level) => self.consistency = level,
            Change::Explain(explain) => self.explain = explain,
        }
    }

    /// What a SET leads to; Err: what was expected, or that there is no such setting.
    pub fn change(name: &str, value: &str) -> Result<Change, &'static str> {
        let value = value.to_ascii_lowercase();
        match (name.to_ascii_lowercase().as_str(), value.as_str()) {
            ("route", "primary") => Ok(Change::Primary(true)),
            ("route", "auto") => Ok(Change::Primary(false)),
            ("route", _) => Err("pgweir.route is auto or primary"),
            ("read_consistency", level) => match ReadConsistency::from_word(level) {
                Some(level) => Ok(Change::Consistency(Some(level))),
                None => Err("pgweir.read_consistency is pool, strict, session or bounded"),
            },
            ("explain", "on" | "true" | "yes" | "1") => Ok(Change::Explain(true)),
            ("explain", "off" | "false" | "no" | "0") => Ok(Change::Explain(false)),
            ("explain", _) => Err("pgweir.explain is on or off"),
            _ => Err(NAMES),
        }
    }

    /// What a RESET leads to: what the startup packet asked for, which is `self`.
    fn default_of(&self, name: &str) -> Result<Change, &'static str> {
        match name.to_ascii_lowercase().as_str() {
            "route" => Ok(Change::Primary(self.primary)),
            "read_consistency" => Ok(Change::Consistency(self.consistency)),
            "explain" => Ok(Change::Explain(self.explain)),
            _ => Err(NAMES),
        }
    }
}

/// What becomes of a statement about our settings.
pub(super) enum Wished {
    /// An empty query stands for it; this is its effect.
    Effect(Effect),
    /// A text that a server refuses in the same words.
    Refused(Vec<u8>),
}

impl Session {
    pub fn wishes(&self) -> Wishes {
        self.wishes
    }

    /// A text that sets one of our settings: what it leads to.
    pub(super) fn wished(&self, text: &[u8], lexical: Lexical) -> Option<Wished> {
        let utf8 = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let (outcome, tag) = match wish(text, lexical)? {
            Wish::Set(name, value) => (Wishes::change(utf8(name), utf8(value)), "SET"),
            Wish::Reset(name) => (self.startup_wishes.default_of(utf8(name)), "RESET"),
        };
        Some(match outcome {
            Ok(change) => Wished::Effect(Effect::Wish(change, tag)),
            // PostgreSQL knows no such name, and says so with this text in the place of the name (42704): inside a
            // transaction it fails as any wrong SET does.
            Err(expected) => Wished::Refused(format!("SET \"{}\" TO on", expected.replace('.', " ")).into_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_led_back() {
        let startup = Wishes { explain: true, ..Wishes::default() };
        let mut wishes = startup;
        for (name, value) in [("Route", "Primary"), ("explain", "off")] {
            wishes.apply(Wishes::change(name, value).expect("a value"));
        }
        assert!(Wishes::change("route", "standby").is_err() && Wishes::change("nothing", "on").is_err());
        assert_eq!((wishes.primary, wishes.explain), (true, false));
        for name in ["explain", "route"] {
            wishes.apply(startup.default_of(name).expect("a name"));
        }
        assert_eq!(wishes, startup);
    }
}
