//! From a fresh socket to a client: encryption, startup packet, authentication, welcome.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::authenticate::{Claim, Lesson, authenticate};
use super::house::{House, Present};
use super::operator::{self, Operator};
use super::welcome::welcome;
use super::wish::Wish;
use super::{Client, announced, cancel};
use crate::cluster::backends::Backed;
use crate::cluster::told::{PATIENCE, Reported};
use crate::config::SslMode;
use crate::control::Phase;
use crate::error::{Error, Kind, Side};
use crate::net::ends::Ends;
use crate::net::stream::Stream;
use crate::net::talk::{Fault, Talk};
use crate::pool::Checkout;
use crate::wire::encode;
use crate::wire::startup::{self, Packet};

/// A connection that was just taken.
pub struct Arrival {
    pub ends: Ends,
    /// For logs.
    pub id: u64,
    /// It was taken before the process began to close: its client is let in all the same.
    pub in_time: bool,
}

/// How a connection's first packets end.
enum Opened {
    /// A cancel request, or a client that went away before it said anything.
    Done,
    Startup(Talk, Wish),
}

/// Who was let in.
pub enum Guest {
    Client(Box<Client>),
    /// At the console.
    Operator(Box<Operator>),
}

impl Guest {
    /// None: somebody at the console.
    pub fn client(self) -> Option<Box<Client>> {
        match self {
            Guest::Client(client) => Some(client),
            Guest::Operator(_) => None,
        }
    }
}

/// Lets one connection in. None if it was none to be served, or was refused and told so. Dropping it closes the socket.
pub async fn login(house: &Arc<House>, stream: Stream, arrival: Arrival) -> Option<Guest> {
    let present = house.count_in();
    let limit = house.backends.ground().config.global.client_login_timeout;
    let Arrival { ends, id, in_time } = arrival;
    let mut told = Told { ends, id, in_time, user: String::new(), database: String::new(), counted: false };
    let work = async {
        let work = let_in(house, stream, &mut told, present);
        match limit {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                // The socket is dropped with the work: PgBouncer's text goes to the log only.
                Err(Error::new(Kind::ClientLogin, Side::Client))
            }),
            None => work.await,
        }
    };
    let mut phase = house.phase.clone();
    let outcome = tokio::select! {
        biased;
        outcome = work => outcome,
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => Err(Error::new(Kind::ShuttingDown, Side::Proxy)),
    };
    match outcome {
        Ok(guest) => guest,
        Err(error) => {
            told.count(house, &error);
            let Told { id, user, database, ends, .. } = told;
            if house.backends.ground().config.global.log_pooler_errors {
                tracing::warn!(client = id, database, user, address = %ends, "login refused: {error}");
            }
            None
        }
    }
}

/// What is known of a client so far, for the log.
pub(super) struct Told {
    pub(super) ends: Ends,
    pub(super) id: u64,
    in_time: bool,
    pub(super) user: String,
    pub(super) database: String,
    counted: bool,
}

impl Told {
    /// Counts a failed login once, whoever learns of it first.
    fn count(&mut self, house: &House, error: &Error) {
        if !std::mem::replace(&mut self.counted, true) {
            house.backends.stats.process().logins_failed.add(error.kind.label());
        }
    }
}

async fn let_in(house: &Arc<House>, stream: Stream, told: &mut Told, present: Present) -> Result<Option<Guest>, Error> {
    let mut stream = stream;
    let Some(ends) = announced::ends(house, &mut stream, told.ends).await? else { return Ok(None) };
    told.ends = ends;
    let Opened::Startup(mut talk, mut wish) = open(house, stream, told).await? else { return Ok(None) };
    wish.add_host(house, &told.ends);
    told.user.clone_from(&wish.user);
    told.database.clone_from(&wish.database);
    if operator::is_console(&wish.database) {
        let claim = Claim { database: &wish.database, user: &wish.user, ends: &told.ends, replication: None };
        return match operator::authorize(house, &mut talk, &claim).await {
            Ok(rights) => Ok(Some(Guest::Operator(operator::welcome(house, talk, wish, rights, told, present)))),
            Err(error) => Err(refuse(house, &mut talk, told, error).await),
        };
    }
    match admit(house, &mut talk, &wish, told, present).await {
        Ok(admitted) => Ok(Some(Guest::Client(welcome(house, talk, &wish, admitted, told)))),
        Err(error) => Err(refuse(house, &mut talk, told, error).await),
    }
}

/// Tells the client, as far as it listens. Counted before: who has been told finds it in the metrics.
async fn refuse(house: &House, talk: &mut Talk, told: &mut Told, error: Error) -> Error {
    told.count(house, &error);
    if !matches!(error.kind, Kind::ClientGone | Kind::ClientQuit) {
        house.backends.stats.process().own_errors.add(error.sqlstate().as_bytes());
        let mut fatal = Vec::new();
        encode::error_fields(&mut fatal, b"FATAL", error.sqlstate().as_bytes(), error.text().as_bytes());
        talk.out.extend(fatal);
        let _ = talk.flush().await;
        let _ = poll_fn(|cx| talk.stream.poll_shutdown(cx)).await;
    }
    error
}

/// Encryption requests, a cancel request, the startup packet.
async fn open(house: &Arc<House>, stream: Stream, told: &mut Told) -> Result<Opened, Error> {
    let doors = house.doors();
    let mut talk = match stream {
        Stream::Tcp(tcp) if doors.acceptor.is_some() && speaks_tls(&tcp).await => {
            Talk::new(encrypt(house, tcp, true).await?)
        }
        stream => Talk::new(stream),
    };
    // Each of the two requests may come once, in either order.
    for _ in 0..3 {
        let packet = match talk.startup_packet().await {
            Ok(packet) => packet,
            Err(Fault::Io(_)) => return Ok(Opened::Done),
            Err(Fault::Malformed(what)) => return Err(refuse(house, &mut talk, told, Error::protocol(what.0)).await),
        };
        let parsed = startup::parse(&packet).map_err(|what| Error::protocol(what.0));
        match parsed {
            Err(error) => return Err(refuse(house, &mut talk, told, error).await),
            Ok(Packet::Cancel { pid, secret }) => {
                cancel::request(house, pid, secret).await;
                return Ok(Opened::Done);
            }
            Ok(Packet::GssEncRequest) => decline(house, &mut talk, told).await?,
            Ok(Packet::SslRequest) => talk = answer_ssl(house, talk, told).await?,
            Ok(Packet::Unsupported) => {
                let error = Error::new(Kind::OldProtocol, Side::Client);
                return Err(refuse(house, &mut talk, told, error).await);
            }
            Ok(Packet::Startup(packet)) => {
                negotiate(&mut talk, &packet);
                return match Wish::parse(house, &packet).and_then(|wish| check_tls(house, &talk).map(|()| wish)) {
                    Ok(wish) => Ok(Opened::Startup(talk, wish)),
                    Err(error) => Err(refuse(house, &mut talk, told, error).await),
                };
            }
        }
    }
    Err(refuse(house, &mut talk, told, Error::protocol("too many encryption requests")).await)
}

/// A first byte of 0x16 is a TLS handshake without an SSLRequest. Cancel-safe.
async fn speaks_tls(tcp: &tokio::net::TcpStream) -> bool {
    let mut first = [0];
    matches!(tcp.peek(&mut first).await, Ok(1)) && first == [startup::TLS_HANDSHAKE]
}

/// `N`. Bytes that were sent without waiting for it are not believed (CVE-2021-23222).
async fn decline(house: &House, talk: &mut Talk, told: &mut Told) -> Result<(), Error> {
    if talk.has_more() {
        return Err(refuse(house, talk, told, Error::new(Kind::UnencryptedData, Side::Client)).await);
    }
    talk.out.push(b'N');
    talk.flush().await.map_err(gone)
}

async fn answer_ssl(house: &Arc<House>, mut talk: Talk, told: &mut Told) -> Result<Talk, Error> {
    let can = house.doors().acceptor.is_some() && matches!(talk.stream, Stream::Tcp(_));
    if !can {
        decline(house, &mut talk, told).await?;
        return Ok(talk);
    }
    if talk.has_more() {
        return Err(refuse(house, &mut talk, told, Error::new(Kind::UnencryptedData, Side::Client)).await);
    }
    talk.out.push(b'S');
    talk.flush().await.map_err(gone)?;
    match talk.into_parts() {
        (Stream::Tcp(tcp), _) => encrypt(house, tcp, false).await.map(Talk::new),
        (other, _) => Ok(Talk::new(other)),
    }
}

async fn encrypt(house: &Arc<House>, tcp: tokio::net::TcpStream, direct: bool) -> Result<Stream, Error> {
    let doors = house.doors();
    let Some(acceptor) = &doors.acceptor else { return Err(Error::new(Kind::TlsRequired, Side::Client)) };
    let tls = acceptor
        .accept(tcp, direct)
        .await
        .map_err(|error| Error::new(Kind::ClientGone, Side::Client).because(format_args!("TLS handshake: {error}")))?;
    Ok(Stream::TlsFromClient(Box::new(tls)))
}

fn check_tls(house: &House, talk: &Talk) -> Result<(), Error> {
    let mode = house.backends.ground().config.global.client_tls.sslmode;
    match (mode, &talk.stream) {
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, Stream::Tcp(_)) => {
            Err(Error::new(Kind::TlsRequired, Side::Client))
        }
        _ => Ok(()),
    }
}

fn negotiate(talk: &mut Talk, packet: &startup::Startup<'_>) {
    if packet.negotiates() {
        let unknown: Vec<&[u8]> = packet.protocol_options().collect();
        encode::negotiate_protocol(&mut talk.out, packet.spoken(), unknown.into_iter());
    }
}

/// A client that proved who it is, with its pool and what servers report there.
pub(super) struct Admitted {
    pub(super) backed: Arc<Backed>,
    pub(super) reported: Arc<Reported>,
    pub(super) present: Present,
}

async fn admit(
    house: &Arc<House>,
    talk: &mut Talk,
    wish: &Wish,
    told: &Told,
    mut present: Present,
) -> Result<Admitted, Error> {
    let limit = if told.in_time { Phase::Closing } else { Phase::Running };
    if *house.phase.borrow() > limit {
        return Err(Error::new(Kind::Closing, Side::Proxy));
    }
    let limit = house.backends.ground().config.global.max_client_conn;
    if limit != 0 && house.clients() > limit {
        return Err(Error::new(Kind::MaxClients, Side::Client));
    }
    let replication = wish.replication.as_ref().map(|dedicated| dedicated.replication);
    let claim = Claim { database: &wish.database, user: &wish.user, ends: &told.ends, replication };
    let Lesson { keys, secret } = authenticate(house, talk, &claim).await?;
    encode::authentication(&mut talk.out, 0, &[]);
    let mut entered = false;
    loop {
        // Only now may a client learn which databases there are.
        let found = house.backends.pool(&wish.database, &wish.user);
        let backed = found.ok_or_else(|| Error::new(Kind::NoDatabase, Side::Client).about(&wish.database))?;
        if house.backends.is_disabled(&wish.database) {
            return Err(Error::new(Kind::DatabaseDisabled, Side::Client).about(&wish.database));
        }
        if !std::mem::replace(&mut entered, true) {
            present.enter(&wish.database, &wish.user)?;
        }
        let credentials = &backed.backend.credentials;
        if credentials.user == wish.user {
            secret.iter().for_each(|secret| credentials.hear(secret.clone()));
            keys.iter().for_each(|keys| credentials.learn(keys.clone()));
        }
        let dedicated = match &wish.replication {
            None => Some(Arc::clone(&backed)),
            Some(own) => house.backends.dedicated(&backed, own.replication, &own.parameters),
        };
        let Some(backed) = dedicated else { continue };
        match reported(&backed).await {
            Ok(reported) => return Ok(Admitted { backed, reported, present }),
            // A reload came in between: there may be another pool.
            Err(_) if backed.is_retired() => {}
            Err(error) => return Err(error),
        }
    }
}

/// What servers of this pool report. The first client of a cold pool waits for a login to a server; later ones are told
/// what is known, whether or not a server is up; what was known before a reload, if there is no better word in time.
async fn reported(backed: &Arc<Backed>) -> Result<Arc<Reported>, Error> {
    let told = &backed.backend.told;
    let mut news = told.subscribe();
    if let Some(known) = news.borrow_and_update().clone() {
        return Ok(known);
    }
    let mut seat = None;
    // A place in the queue makes the pool dial; what it brings goes back untouched when the place is dropped.
    let mut waiting = match backed.pool.checkout(&mut seat) {
        Checkout::Wait(waiting) => waiting,
        Checkout::Ready(lease) => {
            drop(lease);
            return news.borrow().clone().ok_or_else(|| Error::new(Kind::Internal, Side::Proxy));
        }
    };
    let late = tokio::time::sleep(PATIENCE);
    tokio::pin!(late);
    loop {
        let refusal = poll_fn(|cx| match waiting.poll_refusal(cx) {
            Poll::Ready(error) => Poll::Ready(Some(error)),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            biased;
            changed = news.changed() => {
                if let Some(known) = news.borrow_and_update().clone() {
                    return Ok(known);
                }
                changed.map_err(|_| Error::new(Kind::DatabaseRemoved, Side::Proxy))?;
            }
            refusal = refusal => {
                return Err(refusal.unwrap_or_else(|| Error::new(Kind::Internal, Side::Proxy)));
            }
            () = &mut late, if told.has_elder() => {
                return told.settle().ok_or_else(|| Error::new(Kind::Internal, Side::Proxy));
            }
        }
    }
}

fn gone(error: std::io::Error) -> Error {
    Error::new(Kind::ClientGone, Side::Client).because(error)
}
