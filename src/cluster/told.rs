//! What new clients of a pool are told of its servers: what the last login to one of them reported. Until there was one
//! it is the word of the pool that a reload replaced, as far as that still holds.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::backends::{Ground, addresses};
use crate::config::Database;

/// Names and values that a server reported at login, in its order.
pub type Reported = Vec<(String, String)>;

/// How long a login waits for a server's word where a doubtful one is at hand. A server that cannot be had meanwhile may
/// be with somebody who waits for this very login.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How much of what servers told before a reload holds after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bequest {
    /// Another database, another user, or none of the servers that there were.
    Nothing,
    /// The same servers tell the same of themselves, but sessions there may begin with other settings. A client that is
    /// told the old ones has them: they follow it.
    Doubtful,
    Whole,
}

impl Bequest {
    /// Of a pool that logs in as this user.
    pub fn of(old: &Database, new: &Database, user: &str) -> Bequest {
        let (was, is) = (addresses(old), addresses(new));
        let same_user = new.user.as_deref().is_none_or(|forced| forced == user);
        if !same_user || old.dbname != new.dbname || !is.iter().any(|address| was.contains(address)) {
            return Bequest::Nothing;
        }
        let begins = |database: &Database| (database.server_parameters.clone(), database.connect_query.clone());
        match was == is && begins(old) == begins(new) {
            true => Bequest::Whole,
            false => Bequest::Doubtful,
        }
    }

    /// Of the pool of this name; Nothing where one of the two configs does not have it.
    pub fn between(old: &Ground, new: &Ground, name: &str, user: &str) -> Bequest {
        match (old.config.database(name), new.config.database(name)) {
            (Some(old), Some(new)) => Bequest::of(old, new, user),
            _ => Bequest::Nothing,
        }
    }
}

/// Behind one pool.
#[derive(Default)]
pub struct Told {
    known: watch::Sender<Option<Arc<Reported>>>,
    /// From before a reload, where it is doubtful.
    elder: OnceLock<Arc<Reported>>,
}

impl Told {
    /// A login to a server has ended well.
    pub fn hear(&self, reported: Reported) {
        self.known.send_replace(Some(Arc::new(reported)));
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Reported>>> {
        self.known.subscribe()
    }

    /// Before anybody is told anything by this pool.
    pub fn inherit(&self, from: &Told, bequest: Bequest) {
        let known = from.known.borrow().clone().or_else(|| from.elder.get().cloned());
        match (known, bequest) {
            (Some(known), Bequest::Whole) => drop(self.known.send_replace(Some(known))),
            (Some(known), Bequest::Doubtful) => drop(self.elder.set(known)),
            (None, _) | (_, Bequest::Nothing) => {}
        }
    }

    /// There is a doubtful word, for which nobody waits longer than `PATIENCE`.
    pub fn has_elder(&self) -> bool {
        self.elder.get().is_some()
    }

    /// No server has spoken in time: the doubtful word is what is told, until one does.
    pub fn settle(&self) -> Option<Arc<Reported>> {
        let elder = self.elder.get()?;
        self.known.send_if_modified(|known| {
            let unknown = known.is_none();
            known.get_or_insert_with(|| Arc::clone(elder));
            unknown
        });
        self.known.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Nowhere;

    fn database(lines: &str) -> Database {
        let text = format!("[pgweir]\nauth_type = 'trust'\n[databases.a]\n{lines}\n");
        Nowhere::config(&text).expect("a sound file").databases["a"].clone()
    }

    fn bequest(old: &str, new: &str) -> Bequest {
        Bequest::of(&database(old), &database(new), "ann")
    }

    #[test]
    fn what_a_reload_leaves_of_the_old_word() {
        let host = "host = 'h, i'";
        let with = |more: &str| bequest(host, &format!("{host}\n{more}"));
        assert_eq!(with(""), Bequest::Whole);
        assert_eq!(with("pool_size = 3\nload_balance_hosts = 'disable'"), Bequest::Whole);
        assert_eq!(with("connect_query = 'SET a.b TO 1'"), Bequest::Doubtful);
        assert_eq!(with("timezone = 'UTC'"), Bequest::Doubtful);
        assert_eq!(bequest(host, "host = 'i, j'"), Bequest::Doubtful);
        assert_eq!(bequest(host, "host = 'j, k'"), Bequest::Nothing);
        assert_eq!(bequest(host, "servers = 'h:5432, i:5432'"), Bequest::Whole);
        assert_eq!(with("dbname = 'b'"), Bequest::Nothing);
        assert_eq!(with("user = 'bob'"), Bequest::Nothing);
        assert_eq!(with("user = 'ann'"), Bequest::Whole);
    }

    #[test]
    fn a_doubtful_word_is_kept_apart_and_passed_on() {
        let reported = vec![("server_version".to_owned(), "15.20".to_owned())];
        let (first, second, third) = (Told::default(), Told::default(), Told::default());
        first.hear(reported.clone());
        second.inherit(&first, Bequest::Doubtful);
        assert_eq!(*second.subscribe().borrow(), None);
        third.inherit(&second, Bequest::Nothing);
        assert!(!third.has_elder() && third.settle().is_none());
        third.inherit(&second, Bequest::Doubtful);
        assert!(second.has_elder() && third.has_elder());
        assert_eq!(second.settle().as_deref(), Some(&reported));
        assert_eq!(second.subscribe().borrow().as_deref(), Some(&reported), "nobody else waits");
        second.hear(Vec::new());
        assert_eq!(second.settle().as_deref(), Some(&Vec::new()), "a server knows better");
    }
}
