//! [pure] Names that are a server's, which stays with its client.
//!
//! They come from texts that are passed on as they are: several statements with a PREPARE among them, ones that cannot be
//! read or are too long, DO and CALL. A name is either the client's here or that server's, and never both.

use std::sync::Arc;

use super::Session;
use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::pin::Pin;
use super::statements_in::DECOY_ID;
use crate::sql::{self, Taint, Token};
use crate::wire::encode;

impl Session {
    /// Whether the server at hand may have statements under names of the client's own.
    pub(super) fn is_rooted(&self) -> bool {
        self.pin.is_some() && self.rare.pins().is_some_and(|pins| pins.may_hold_names())
    }

    /// What is named here moves to the server at hand under its own name, in front of a text that goes out as it is. What
    /// fails there is not told: the text finds no such statement.
    #[cold]
    pub(super) fn move_there(&mut self, names: &[Token<'_>], to_server: &mut Outbox<'_>) {
        let before = self.ledger.len();
        for token in names {
            let name = sql::fold_identifier(token.text);
            let found = self.statements.find(&name).filter(|(_, statement)| statement.effect.is_none());
            let Some((slot, statement)) = found.map(|(slot, statement)| (slot, Arc::clone(statement))) else {
                continue;
            };
            self.statements.hide(&name);
            self.tainted(statement.taints, to_server);
            self.pin_for(Pin::Statement(Taint::Prepare));
            encode::close_statement(to_server.end(), &name);
            self.ledger.push(Owed::new(Kind::Close, Action::Move));
            if statement.is_by_sql() {
                let last = Owed::new(Kind::Execute, Action::Move).of(DECOY_ID, slot);
                self.prepare_there(&statement, &quoted(&name), to_server, last);
            } else {
                encode::parse(to_server.end(), &name, &statement.rest);
                self.ledger.push(Owed::new(Kind::Parse, Action::Move).of(DECOY_ID, slot));
            }
        }
        if self.ledger.len() > before {
            self.end_teaching(to_server);
        }
    }

    /// The same for what the beginning of a text names that is too long to be read.
    #[cold]
    pub(super) fn move_for_large(&mut self, body: &[u8], to_server: &mut Outbox<'_>) {
        if self.tracking && !self.statements.is_empty() {
            self.move_there(sql::mentions(body, self.lexical).names(), to_server);
        }
    }

    /// Before a Parse under a name that the server at hand may have: it says so if it has, unless it refuses the text, as in
    /// a failed transaction. `rest`: what stands behind the name.
    #[cold]
    pub(super) fn ask_for_name(&mut self, name: &[u8], rest: &[u8], to_server: &mut Outbox<'_>) {
        encode::parse(to_server.end(), name, rest);
        encode::close_statement(to_server.end(), name);
        for kind in [Kind::Parse, Kind::Close] {
            self.ledger.push(Owed::new(kind, Action::Skip).of(DECOY_ID, NO_SLOT));
        }
    }
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for &byte in name {
        text.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
    }
    text.push(b'"');
    text
}
