//! The end of a login: what a client is told of its session, and the client that is made of it.

use std::sync::Arc;

use super::entry::Entry;
use super::house::{House, random};
use super::key::Key;
use super::login::{Admitted, Told};
use super::reader::Reader;
use super::relay::Conversation;
use super::shown::Who;
use super::wish::Wish;
use super::{Client, peers};
use crate::config::{Config, PoolMode};
use crate::net::pipe::Pipe;
use crate::net::talk::Talk;
use crate::server::login::followed;
use crate::session::settings;
use crate::session::{Origin, Session};
use crate::stats::{NOWHERE, Traffic};
use crate::wire::backend::TxStatus;
use crate::wire::{encode, frame, startup};

/// AuthenticationOk was written; what follows it to ReadyForQuery, and the client, whose first act is to send it all.
/// There is no wait here: an entry in the list is the client's to take out.
pub(super) fn welcome(house: &Arc<House>, mut talk: Talk, wish: &Wish, admitted: Admitted, told: &Told) -> Box<Client> {
    let Admitted { backed, reported, present } = admitted;
    let ground = house.backends.ground();
    let global = &ground.config.global;
    let replication = wish.replication.as_ref().map(|dedicated| dedicated.replication);
    let mode = mode(&ground.config, wish);
    let settings = house.share(followed(&reported).overlaid(&wish.settings));
    for (name, value) in reported.iter() {
        let value = match name.as_str() {
            // A client is connected to the database, not to one of its servers (PROTOCOL 14).
            "in_hot_standby" => "off",
            name => settings::followed(name).and_then(|name| settings.get(name)).unwrap_or(value),
        };
        encode::parameter_status(&mut talk.out, name.as_bytes(), value.as_bytes());
    }
    // 3.0 knows keys of exactly 4 bytes.
    let mut secret: [u8; 32] = random();
    let secret = if wish.version >= startup::V3_2 { &mut secret[..] } else { &mut secret[..4] };
    peers::sign_secret(house.peer_id, secret);
    let pid = || peers::sign_pid(house.peer_id, i32::from_be_bytes(random()));
    let timeouts = house.timeouts(&wish.database, &wish.user);
    let timeouts = if replication.is_some() { timeouts.of_replication() } else { timeouts };
    let tally = Arc::clone(&backed.backend.tally);
    tally.logged_in();
    let who = Who { id: told.id, ends: Box::new(told.ends), user: present.user(), tls: talk.stream.tls_name().into() };
    let make = |pid| Entry::new(Key { pid, secret }, house.epoch, timeouts, who, Arc::clone(&tally)).of_mode(mode);
    let entry = house.entries.add(secret, pid, make);
    encode::backend_key_data(&mut talk.out, entry.pid, secret);
    if let Some(text) = &global.login_notify_message {
        encode::notice(&mut talk.out, text);
    }
    encode::ready_for_query(&mut talk.out, TxStatus::Idle);
    // A change of phase goes to those in the list; one from just before is taken over.
    entry.enter_phase(*house.phase.borrow());

    let mut session = Session::new(Origin {
        mode,
        settings,
        intern: house.interner.clone(),
        wishes: wish.wishes,
        forgiving: house.forgives(&backed),
        clustered: backed.backend.cluster.is_some(),
        prepared: global.max_prepared_statements > 0,
        pinning: house.pinning(&backed),
    });
    if let Some(replication) = replication {
        session.keep_for_replication(replication);
    }
    let mut to_client = Pipe::default();
    to_client.author().append(&mut talk.out);
    let (stream, ahead) = talk.into_parts();
    let mut to_server = Pipe::default();
    // What a client sent behind its password without waiting.
    to_server.put_back(&ahead);
    let limit = global.max_packet_size.min(frame::MESSAGE_LIMIT);
    let (reader, witness) = (Reader::of(&backed), Arc::clone(&backed.witness));
    let (asked_to_flush, traffic) = (false, Traffic::default());
    let mut conversation = Conversation {
        stream,
        session,
        to_server,
        to_client,
        entry,
        limit,
        refuses_query: global.disable_pqexec,
        asked_to_flush,
        reader,
        witness,
        tally,
        traffic,
    };
    if global.log_connections {
        let Told { id, user, database, ends, .. } = told;
        let tls = conversation.stream.is_tls();
        tracing::info!(client = id, database, user, address = %ends, tls, "login attempt: accepted");
    }
    conversation.settle_books(NOWHERE);
    Box::new(Client::new(conversation, Arc::clone(house), backed, present))
}

/// A replication connection is its client's whole, whatever its pool does otherwise.
fn mode(config: &Config, wish: &Wish) -> PoolMode {
    match config.database(&wish.database) {
        _ if wish.replication.is_some() => PoolMode::Session,
        None => PoolMode::Transaction,
        Some(database) => config.pool_mode(database, config.user(&wish.user)),
    }
}
