//! [pure] Errors of a server that a client is told in other words: they answer what stood in the place of its own.

use super::Session;
use super::ledger::{Action, Owed};
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::wire::{back, backend, encode};

impl Session {
    /// The message that goes to the client instead. Called before what the batch did is undone.
    pub(super) fn reworded(&mut self, error: &[u8], head: &Owed) -> Option<Vec<u8>> {
        if let Some(refusal) = self.refused(error, head) {
            return Some(refusal);
        }
        if let Some(own) = self.in_own_names(error, head) {
            return Some(own);
        }
        let mut message = Vec::new();
        if self.is_of_changed_rows(error, head) {
            encode::stale_plan(&mut message);
            return Some(message);
        }
        if let Some(told) = self.in_own_words(error, head) {
            encode::raw(&mut message, back::ERROR, &told);
            return Some(message);
        }
        let renamed = self.rare.renamed().filter(|_| head.action == Action::Rename)?;
        if backend::sqlstate(error) != b"42P05" {
            return None;
        }
        let name = String::from_utf8_lossy(renamed);
        encode::error(&mut message, &Error::new(ErrorKind::DuplicateStatement, Side::Client).about(&name));
        Some(message)
    }
}
