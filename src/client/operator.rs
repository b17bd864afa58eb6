//! Somebody at the console's database: who may be there, and how they are let in.
//!
//! The console answers to two names, `pgbouncer` and `pgweir`. What is done there is `admin`'s.

use std::sync::Arc;

use super::authenticate::{Claim, authenticate};
use super::entry::Entry;
use super::house::{House, Present, random};
use super::key::Key;
use super::login::Told;
use super::peers;
use super::shown::Who;
use super::timeouts::Timeouts;
use super::wish::Wish;
use crate::cluster::holds::Mode;
use crate::config::{AuthType, Global};
use crate::error::{Error, Kind, Side};
use crate::net::ends::Ends;
use crate::net::talk::Talk;
use crate::wire::backend::TxStatus;
use crate::wire::{encode, startup};

/// The console's databases.
const NAMES: [&str; 2] = ["pgbouncer", "pgweir"];

/// PgBouncer's version that we stand for: tools decide by it which tables and columns they ask for.
pub const VERSION: &str = "1.25.2";

/// What servers are for others, with what drivers want to know of one.
const REPORTED: [(&str, &str); 9] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("is_superuser", "on"),
    ("server_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "GMT"),
];

/// Whether a database's name is the console's.
pub fn is_console(database: &str) -> bool {
    NAMES.contains(&database)
}

/// What somebody may do at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// All: `admin_users`.
    Admin,
    /// To look: `stats_users`.
    Stats,
}

/// A logged-in user of the console. Dropping it closes the connection.
pub struct Operator {
    pub talk: Talk,
    pub house: Arc<House>,
    pub entry: Arc<Entry>,
    pub rights: Rights,
    pub id: u64,
    pub user: String,
    pub address: String,
    /// Counted among the clients.
    pub present: Present,
    /// It said SUSPEND, which ends with it.
    pub suspends: bool,
}

impl Drop for Operator {
    fn drop(&mut self) {
        if self.suspends && self.house.backends.mode() == Mode::Suspended {
            tracing::info!(client = self.id, "the console that suspended is gone: RESUME");
            self.house.backends.release_all();
        }
        self.house.entries.remove(&self.entry);
    }
}

/// Finds out who it is: a process of our own user, by the unix socket, without a password; others as any client, if
/// the config names them.
pub(super) async fn authorize(house: &House, talk: &mut Talk, claim: &Claim<'_>) -> Result<Rights, Error> {
    let ground = house.backends.ground();
    let global = &ground.config.global;
    let own = rustix::process::geteuid().as_raw();
    if is_console(claim.user) && matches!(claim.ends, Ends::Unix { uid, .. } if *uid == Some(own)) {
        return Ok(Rights::Admin);
    }
    authenticate(house, talk, claim).await?;
    match named(global, claim.user) {
        None if global.auth_type == AuthType::Any => Ok(Rights::Stats),
        rights => rights.ok_or_else(|| Error::new(Kind::NotAllowed, Side::Client)),
    }
}

fn named(global: &Global, user: &str) -> Option<Rights> {
    let is_in = |list: &[String]| list.iter().any(|name| name == user || name == "*");
    match (is_in(&global.admin_users), is_in(&global.stats_users)) {
        (true, _) => Some(Rights::Admin),
        (false, true) => Some(Rights::Stats),
        (false, false) => None,
    }
}

/// What the console says of itself, to ReadyForQuery, and the operator, whose first act is to send it.
pub(super) fn welcome(
    house: &Arc<House>,
    mut talk: Talk,
    wish: Wish,
    rights: Rights,
    told: &Told,
    present: Present,
) -> Box<Operator> {
    encode::authentication(&mut talk.out, 0, &[]);
    let version = format!("{VERSION}/bouncer");
    let mut reported: Vec<_> = REPORTED.into_iter().chain([("server_version", version.as_str())]).collect();
    reported.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    for (name, value) in reported {
        encode::parameter_status(&mut talk.out, name.as_bytes(), value.as_bytes());
    }
    let mut secret: [u8; 32] = random();
    let secret = if wish.version >= startup::V3_2 { &mut secret[..] } else { &mut secret[..4] };
    peers::sign_secret(house.peer_id, secret);
    let who = Who {
        id: told.id,
        ends: Box::new(told.ends),
        user: wish.user.as_str().into(),
        tls: talk.stream.tls_name().into(),
    };
    // PgBouncer's one pool of all consoles.
    let tally = house.backends.stats.tally(NAMES[0], NAMES[0], &[]);
    let make = |pid| Entry::new(Key { pid, secret }, house.epoch, Timeouts::default(), who, Arc::clone(&tally));
    let pid = || peers::sign_pid(house.peer_id, i32::from_be_bytes(random()));
    let entry = house.entries.add(secret, pid, make);
    entry.shown.note_settings(&house.share(wish.settings));
    encode::backend_key_data(&mut talk.out, entry.pid, secret);
    encode::ready_for_query(&mut talk.out, TxStatus::Idle);
    // A stop goes to those in the list; one from just before is taken over.
    entry.enter_phase(*house.phase.borrow());
    let (id, user, address) = (told.id, wish.user, told.ends.to_string());
    let house = Arc::clone(house);
    Box::new(Operator { talk, house, entry, rights, id, user, address, present, suspends: false })
}
