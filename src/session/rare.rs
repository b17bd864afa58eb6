//! [pure] What few clients ever have, behind one pointer: an idle client stays small.

use std::collections::VecDeque;
use std::sync::Arc;

use super::effects::Begun;
use super::pins::Pins;
use super::prepared::Effect;
use super::sets::Sets;
use super::splice::Splice;
use crate::sql::{Hidden, Taints};

/// Empty for nearly all clients, nearly always.
#[derive(Debug, Default)]
pub struct Rare(Option<Box<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    begun: VecDeque<Begun>,
    renames: VecDeque<Box<[u8]>>,
    splices: VecDeque<Arc<Splice>>,
    refusal: Option<Box<[u8]>>,
    portals: Vec<Bound>,
    unnamed: Option<Effect>,
    unnamed_taints: Taints,
    sets: Sets,
    pins: Pins,
    hidden: Option<Arc<Hidden>>,
}

/// A portal whose execution does more than the server tells.
#[derive(Debug)]
struct Bound {
    portal: Box<[u8]>,
    batch: u32,
    effect: Effect,
}

impl Rare {
    /// What the `Action::Tag` and `Action::Discard` entries in the ledger began, in order.
    pub fn begin(&mut self, begun: Begun) {
        self.0.get_or_insert_default().begun.push_back(begun);
    }

    /// The oldest that was begun.
    pub fn next_begun(&mut self) -> Option<Begun> {
        self.0.as_mut()?.begun.pop_front()
    }

    /// A client's name for an `Action::Rename` entry in the ledger.
    pub fn rename(&mut self, name: &[u8]) {
        self.0.get_or_insert_default().renames.push_back(name.into());
    }

    pub fn next_rename(&mut self) -> Option<Box<[u8]>> {
        self.0.as_mut()?.renames.pop_front()
    }

    pub fn renamed(&self) -> Option<&[u8]> {
        self.0.as_ref()?.renames.front().map(|name| &**name)
    }

    /// The names in the text of an `Action::Spliced` entry in the ledger.
    pub fn begin_splice(&mut self, splice: Arc<Splice>) {
        self.0.get_or_insert_default().splices.push_back(splice);
    }

    pub fn next_splice(&mut self) -> Option<Arc<Splice>> {
        self.0.as_mut()?.splices.pop_front()
    }

    pub fn splice(&self) -> Option<&Arc<Splice>> {
        self.0.as_ref()?.splices.front()
    }

    /// What was to be taught for the next Query failed: the body of the error.
    pub fn keep_refusal(&mut self, error: &[u8]) {
        self.0.get_or_insert_default().refusal = Some(error.into());
    }

    pub fn take_refusal(&mut self) -> Option<Box<[u8]>> {
        self.0.as_mut()?.refusal.take()
    }

    /// The ledger is empty: a server was lost.
    pub fn forget_names(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.renames.clear();
            parts.splices.clear();
            parts.refusal = None;
        }
    }

    /// What executing this portal does, which is bound in this batch.
    pub fn set_portal(&mut self, portal: &[u8], batch: u32, effect: Option<Effect>) {
        if let Some(parts) = &mut self.0 {
            parts.portals.retain(|bound| *bound.portal != *portal);
        }
        if let Some(effect) = effect {
            let bound = Bound { portal: portal.into(), batch, effect };
            self.0.get_or_insert_default().portals.push(bound);
        }
    }

    pub fn has_portals(&self) -> bool {
        self.0.as_ref().is_some_and(|parts| !parts.portals.is_empty())
    }

    pub fn portal(&self, portal: &[u8]) -> Option<&Effect> {
        self.0.as_ref()?.portals.iter().find(|bound| *bound.portal == *portal).map(|bound| &bound.effect)
    }

    /// Those of this batch and of earlier ones are gone with the transaction: what executes one is refused by the server.
    pub fn end_portals(&mut self, batch: u32) {
        if let Some(parts) = &mut self.0 {
            parts.portals.retain(|bound| (bound.batch.wrapping_sub(batch) as i32) > 0);
        }
    }

    pub fn forget_portals(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.portals.clear();
        }
    }

    /// What executing the unnamed statement does. What it leaves is nothing, unless that is said next.
    pub fn set_unnamed(&mut self, effect: Option<Effect>) {
        match (&mut self.0, effect) {
            (Some(parts), effect) => (parts.unnamed, parts.unnamed_taints) = (effect, Taints::NONE),
            (None, Some(effect)) => self.0.get_or_insert_default().unnamed = Some(effect),
            (None, None) => {}
        }
    }

    /// What executing the unnamed statement may leave.
    pub fn set_unnamed_taints(&mut self, taints: Taints) {
        if !taints.is_empty() {
            self.0.get_or_insert_default().unnamed_taints = taints;
        }
    }

    pub fn unnamed_taints(&self) -> Taints {
        self.0.as_ref().map_or(Taints::NONE, |parts| parts.unnamed_taints)
    }

    /// None: there was none yet.
    pub fn sets(&mut self) -> Option<&mut Sets> {
        self.0.as_mut().map(|parts| &mut parts.sets)
    }

    /// What functions of this client's database leave in a session without saying so.
    pub fn hidden(&self) -> Option<&Arc<Hidden>> {
        self.0.as_ref()?.hidden.as_ref()
    }

    pub fn set_hidden(&mut self, hidden: Option<&Arc<Hidden>>) {
        if self.hidden().map(Arc::as_ptr) != hidden.map(Arc::as_ptr) {
            self.0.get_or_insert_default().hidden = hidden.map(Arc::clone);
        }
    }

    /// None: nothing pinned yet.
    pub fn pins(&self) -> Option<&Pins> {
        self.0.as_ref().map(|parts| &parts.pins)
    }

    pub fn pins_mut(&mut self) -> &mut Pins {
        &mut self.0.get_or_insert_default().pins
    }

    pub fn sets_mut(&mut self) -> &mut Sets {
        &mut self.0.get_or_insert_default().sets
    }

    pub fn unnamed(&self) -> Option<&Effect> {
        self.0.as_ref()?.unnamed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_costs_a_pointer() {
        let mut rare = Rare::default();
        assert_eq!(size_of::<Rare>(), size_of::<usize>());
        rare.set_unnamed(None);
        rare.set_portal(b"", 0, None);
        rare.forget_portals();
        assert!(rare.0.is_none());
    }

    #[test]
    fn the_last_word_on_a_portal_holds() {
        let mut rare = Rare::default();
        rare.set_portal(b"p", 1, Some(Effect::DeallocateAll));
        rare.set_portal(b"q", 2, Some(Effect::DiscardAll));
        rare.set_portal(b"p", 1, Some(Effect::DiscardAll));
        assert_eq!(rare.portal(b"p"), Some(&Effect::DiscardAll));
        rare.set_portal(b"p", 2, None);
        assert_eq!((rare.portal(b"p"), rare.has_portals()), (None, true));
        rare.end_portals(1);
        assert!(rare.has_portals());
        rare.end_portals(2);
        assert!(!rare.has_portals());
    }
}
