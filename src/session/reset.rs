//! [pure] RESET and DISCARD ALL: back to what the client's startup packet said, which servers do not know.
//!
//! A server leads back to its own login; the client is told the startup packet's values, and given them by its next server, or
//! by this one in front of its next message (PROTOCOL 23). All settings are followed where nothing stands around the RESET
//! that could be rolled back, one where its server says what a rollback makes of it.

use std::sync::Arc;

use super::outbox::Outbox;
use super::settings::{self, Settings};
use super::{Batch, ServerState, Session};
use crate::config::PoolMode;
use crate::sql::{Kind, Lexer, Lexical, Special, Statement, Taint, Token};
use crate::wire::backend::TxStatus;
use crate::wire::encode;

/// What leads back while its answer is awaited: what the server reports until ReadyForQuery is its own default.
/// One byte, a place in `settings::FOLLOWED` or one beyond it: every idle client has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resetting(u8);

impl Resetting {
    pub const ALL: Resetting = Resetting(u8::MAX);
    pub const NOTHING: Resetting = Resetting(u8::MAX - 1);

    fn one(&self) -> Option<&'static str> {
        settings::FOLLOWED.get(usize::from(self.0)).copied()
    }

    /// Whether it leads this setting back.
    pub fn concerns(&self, name: &str) -> bool {
        *self == Resetting::ALL || self.one() == Some(name)
    }
}

impl Session {
    /// A Query that resets settings and nothing else, alone; Nothing if it is none that can be followed.
    pub(super) fn resets(&self, statement: &Statement<'_>, text: &[u8], server: &ServerState) -> Resetting {
        let alone = self.ledger.owes_client_nothing() && self.batch == Batch::Closed && self.status != TxStatus::Failed;
        match (statement.special, statement.taint) {
            _ if !alone => Resetting::NOTHING,
            (Special::ResetAll, None) if self.status == TxStatus::Idle => Resetting::ALL,
            (Special::None, Some(Taint::Reset)) if statement.statements == 1 => {
                let known = |name: &&&str| self.reports(name) && server.base.get(name).is_some();
                let name = single(text, self.lexical).and_then(settings::followed);
                let at = name.as_ref().filter(known).and_then(|name| place(name));
                at.map_or(Resetting::NOTHING, Resetting)
            }
            _ => Resetting::NOTHING,
        }
    }

    /// It went through.
    pub(super) fn finish_reset(&mut self, server: &mut ServerState, to_client: &mut Outbox<'_>) {
        let resetting = std::mem::replace(&mut self.resetting, Resetting::NOTHING);
        match resetting.one() {
            Some(name) => self.reset_one(name, server, to_client),
            None if resetting == Resetting::ALL => self.reset(server, to_client, false),
            None => {}
        }
    }

    /// RESET ALL or DISCARD ALL went through: the server is as after login, the client as after its startup packet.
    /// A server reports only what changes for itself: the client is told of the rest. `all`: DISCARD ALL.
    pub(super) fn reset(&mut self, server: &mut ServerState, to_client: &mut Outbox<'_>, all: bool) {
        // RESET ALL leaves the role as it is (GUC_NO_RESET_ALL).
        let kept =
            |default: &Arc<Settings>, now: &Settings| if all { Arc::clone(default) } else { default.in_role_of(now) };
        server.known = kept(&server.base, &server.known);
        let wanted = kept(&self.startup, &self.wanted);
        self.pins_discarded(all);
        if self.mode != PoolMode::Session {
            for (name, value) in self.startup.iter() {
                if self.wanted.get(name) != Some(value) && self.reports(name) {
                    encode::parameter_status(to_client.end(), name.as_bytes(), value.as_bytes());
                }
            }
        }
        self.wanted = wanted;
        self.wishes = self.startup_wishes;
        self.note_settings();
    }

    fn reset_one(&mut self, name: &str, server: &mut ServerState, to_client: &mut Outbox<'_>) {
        let base = Arc::clone(&server.base);
        let Some(default) = base.get(name) else { return };
        server.told(name, default);
        let value = self.startup.get(name).unwrap_or(default);
        if self.wanted.get(name) == Some(value) {
            return;
        }
        encode::parameter_status(to_client.end(), name.as_bytes(), value.as_bytes());
        let mut wanted = Settings::clone(&self.wanted);
        wanted.set(name, value);
        self.wanted = Arc::new(wanted);
        self.note_settings();
    }

    /// Whether servers report this setting.
    pub(super) fn reports(&self, name: &str) -> bool {
        match settings::followed(name) {
            Some("scram_iterations") => self.reported.scram_iterations,
            Some("search_path") => self.reported.search_path,
            followed => followed.is_some(),
        }
    }
}

fn place(name: &str) -> Option<u8> {
    settings::FOLLOWED.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

/// The name in `RESET name` or `SET name TO DEFAULT`, of a text that is one statement.
fn single(text: &[u8], lexical: Lexical) -> Option<&str> {
    let mut tokens = Lexer::new(text, lexical).filter(|token| !token.is_punct(b";"));
    let [verb, name] = [tokens.next()?, tokens.next()?];
    let rest = [tokens.next(), tokens.next(), tokens.next()];
    if name.is_word(b"TIME") && rest[0].is_some_and(|zone| zone.is_word(b"ZONE")) {
        return resets_zone(verb, [rest[1], rest[2]]).then_some("TimeZone");
    }
    match rest {
        [None, None, None] if verb.is_word(b"RESET") => plain(name),
        [Some(to), Some(default), None] if verb.is_word(b"SET") => {
            let default = (to.is_word(b"TO") || to.text == b"=") && default.is_word(b"DEFAULT");
            plain(name).filter(|_| default)
        }
        _ => None,
    }
}

/// `RESET TIME ZONE`, `SET TIME ZONE DEFAULT` or `… LOCAL`: what stands behind ZONE.
fn resets_zone(verb: Token<'_>, behind: [Option<Token<'_>>; 2]) -> bool {
    match behind {
        [None, None] => verb.is_word(b"RESET"),
        [Some(zone), None] => verb.is_word(b"SET") && (zone.is_word(b"DEFAULT") || zone.is_word(b"LOCAL")),
        _ => false,
    }
}

fn plain(name: Token<'_>) -> Option<&str> {
    let text = std::str::from_utf8(name.text).ok()?;
    match name.kind {
        Kind::Word => Some(text),
        Kind::Quoted => text.strip_prefix('"')?.strip_suffix('"'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_alone() {
        let name = |text: &'static str| single(text.as_bytes(), Lexical::STANDARD);
        for text in ["RESET TimeZone", "reset \"TimeZone\";", "SET TimeZone TO DEFAULT", "set TimeZone = default ;;"] {
            assert_eq!(name(text), Some("TimeZone"), "{text}");
        }
        for text in ["RESET TIME ZONE", "set time zone default", "SET TIME ZONE LOCAL;"] {
            assert_eq!(name(text), Some("TimeZone"), "{text}");
        }
        for text in ["RESET a.b", "SET LOCAL TimeZone TO DEFAULT", "SET TimeZone TO 'x'", "RESET", "RESET U&\"x\""] {
            assert_eq!(name(text), None, "{text}");
        }
        for text in ["SET TIME ZONE 'x'", "RESET TIME ZONE LOCAL", "SET TIME ZONE", "RESET TIME"] {
            assert_ne!(name(text), Some("TimeZone"), "{text}");
        }
    }
}
