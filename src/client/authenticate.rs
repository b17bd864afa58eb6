//! Proving who a client is, by the method that `auth_type` or a line of `auth_hba_file`, and the stored secret, lead to.
//!
//! A wrong password looks the same in time and text whether or not the user exists: an unknown user goes through the
//! same exchange with a verifier that nothing matches.

use std::sync::Arc;

use super::house::{Doors, House, random};
use crate::auth::hba::{self, Method};
use crate::auth::scram::{self, Binding, Keys};
use crate::auth::{Refusal, Secret, md5};
use crate::config::AuthType;
use crate::error::{Error, Kind, Side};
use crate::net::ends::Ends;
use crate::net::stream::Stream;
use crate::net::talk::{Fault, Message, Talk};
use crate::net::tls;
use crate::server::login::nonce;
use crate::wire::startup::Replication;
use crate::wire::{encode, frame, front};

/// Who a client says it is.
pub struct Claim<'a> {
    /// As the config names it, or as the client made it up.
    pub database: &'a str,
    pub user: &'a str,
    pub ends: &'a Ends,
    pub replication: Option<Replication>,
}

/// What a login teaches about logging in to servers as this user.
#[derive(Default)]
pub struct Lesson {
    /// Of a verified SCRAM exchange: they fit a server with the same verifier.
    pub keys: Option<Keys>,
    /// What `auth_query` found.
    pub secret: Option<Secret>,
}

/// What is asked of a client.
enum Asked<'a> {
    Nothing,
    /// The map of auth_ident_file that helps.
    Certificate(Option<&'a str>),
    Peer(Option<&'a str>),
    Known,
    Md5,
    Plain,
    Scram,
}

/// Asks for and checks a proof.
pub async fn authenticate(house: &House, talk: &mut Talk, claim: &Claim<'_>) -> Result<Lesson, Error> {
    let ground = house.backends.ground();
    let doors = house.doors();
    let asked = asked(ground.config.global.auth_type, &doors, &talk.stream, claim)?;
    if matches!(asked, Asked::Nothing) {
        return Ok(Lesson::default());
    }
    let found = match ground.userlist.secret(claim.user) {
        Some(_) => None,
        None => house.backends.look_up(claim.database, claim.user).await?,
    };
    let secret = ground.userlist.secret(claim.user).or(found.as_ref());
    let proof = match asked {
        Asked::Nothing => Ok(None),
        Asked::Known if secret.is_some() => Ok(None),
        Asked::Known => Err(Error::new(Kind::TrustAuth, Side::Client)),
        Asked::Certificate(map) => certificate(&doors, &talk.stream, claim.user, map).map(|()| None),
        Asked::Peer(map) => peer(&doors, claim, map).map(|()| None),
        Asked::Plain => plain(house, talk, claim.user, secret).await.map(|()| None),
        Asked::Md5 if !shows_scram(house, claim, secret) => md5_exchange(talk, claim.user, secret).await.map(|()| None),
        Asked::Md5 | Asked::Scram => sasl(house, talk, claim.user, secret).await.map(Some),
    };
    if proof.as_ref().is_err_and(|error| error.kind == Kind::AuthFailed) {
        house.backends.doubt(claim.database, claim.user);
    }
    proof.map(|keys| Lesson { keys, secret: found })
}

/// The method. With auth_type hba it is that of the first line that fits.
fn asked<'a>(auth_type: AuthType, doors: &'a Doors, stream: &Stream, claim: &Claim<'_>) -> Result<Asked<'a>, Error> {
    match auth_type {
        AuthType::Any => return Ok(Asked::Nothing),
        AuthType::Cert => return Ok(Asked::Certificate(Some(CERT_MAP))),
        AuthType::Md5 => return Ok(Asked::Md5),
        AuthType::Plain => return Ok(Asked::Plain),
        AuthType::ScramSha256 => return Ok(Asked::Scram),
        AuthType::Trust => return Ok(Asked::Known),
        AuthType::Hba => {}
    }
    let from = match claim.ends {
        Ends::Unix { .. } => hba::From::Unix,
        Ends::Tcp { from, .. } => hba::From::Tcp { address: from.ip(), tls: stream.is_tls() },
    };
    let database = match claim.replication {
        Some(Replication::Physical) => hba::Target::Cluster,
        Some(Replication::Logical) | None => hba::Target::Database(claim.database),
    };
    let rule = doors.hba.find(from, database, claim.user);
    let rule =
        rule.ok_or_else(|| Error::new(Kind::NoAuthMethod, Side::Client).because("no line of auth_hba_file fits"))?;
    tracing::debug!(user = claim.user, "line {} of auth_hba_file decides", rule.line);
    Ok(match rule.method {
        Method::Cert => Asked::Certificate(rule.map.as_deref()),
        Method::Md5 => Asked::Md5,
        Method::Password => Asked::Plain,
        Method::Peer => Asked::Peer(rule.map.as_deref()),
        Method::ScramSha256 => Asked::Scram,
        Method::Trust => Asked::Known,
        Method::Reject => {
            let line = format!("line {} of auth_hba_file", rule.line);
            return Err(Error::new(Kind::AuthMethod, Side::Client).because(line));
        }
    })
}

/// Under md5 a SCRAM verifier is checked by SCRAM; an unknown user is asked as the known ones are.
fn shows_scram(house: &House, claim: &Claim<'_>, secret: Option<&Secret>) -> bool {
    match secret {
        Some(secret) => matches!(secret, Secret::Scram(_)),
        None => house.backends.looks_up(claim.database) && house.backends.lookups.shows_scram(),
    }
}

/// The common name or an alternative name of the client's certificate is the user, or the map says so.
fn certificate(doors: &Doors, stream: &Stream, user: &str, map: Option<&str>) -> Result<(), Error> {
    let Stream::TlsFromClient(stream) = stream else { return Err(Error::new(Kind::TlsRequired, Side::Client)) };
    let found = tls::client_names(stream).unwrap_or_default();
    let mut names = found.common_name.iter().chain(&found.dns);
    match names.any(|name| name == user || map.is_some_and(|map| doors.names.allows(map, name, user))) {
        true => Ok(()),
        false => Err(Error::new(Kind::CertAuth, Side::Client)),
    }
}

/// The map of `auth_ident_file` in which certificates are looked up where no line of auth_hba_file names one.
const CERT_MAP: &str = "cert";

/// The account of the process at the other end of a unix socket is the user, or the map says so.
fn peer(doors: &Doors, claim: &Claim<'_>, map: Option<&str>) -> Result<(), Error> {
    let refused = |why: &str| Err(Error::new(Kind::PeerAuth, Side::Client).because(why));
    let Ends::Unix { uid: Some(uid), .. } = claim.ends else { return refused("the kernel does not tell who it is") };
    let Some(account) = account(*uid) else { return refused("no account has its user id") };
    let allowed = match map {
        Some(map) => doors.names.allows(map, &account, claim.user),
        None => account == claim.user,
    };
    if allowed { Ok(()) } else { refused(&format!("it is {account}")) }
}

/// The account of that number in /etc/passwd.
fn account(uid: u32) -> Option<String> {
    let file = std::fs::read_to_string("/etc/passwd").ok()?;
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

async fn plain(house: &House, talk: &mut Talk, user: &str, secret: Option<&Secret>) -> Result<(), Error> {
    encode::authentication(&mut talk.out, 3, &[]);
    let message = answer(talk).await?;
    let password = message.body.strip_suffix(&[0]).unwrap_or(&message.body);
    // One derivation for everybody, so that time does not tell who exists or how a secret is stored.
    let (verifier, genuine) = house.verifier(user, secret);
    let derived = md5::verify_plain(&Secret::Scram(verifier), user, password);
    verdict(match secret {
        Some(stored) if !genuine => md5::verify_plain(stored, user, password),
        _ => derived && genuine,
    })
}

async fn md5_exchange(talk: &mut Talk, user: &str, secret: Option<&Secret>) -> Result<(), Error> {
    let salt: [u8; 4] = random();
    encode::authentication(&mut talk.out, 5, &salt);
    let message = answer(talk).await?;
    let given = message.body.strip_suffix(&[0]).unwrap_or(&message.body);
    verdict(md5::verify(secret.unwrap_or(&Secret::Missing), user, salt, given))
}

async fn sasl(house: &House, talk: &mut Talk, user: &str, secret: Option<&Secret>) -> Result<Keys, Error> {
    let (verifier, genuine) = house.verifier(user, secret);
    let binding = match &talk.stream {
        Stream::TlsFromClient(_) => {
            let doors = house.doors();
            let bytes = doors.acceptor.as_ref().and_then(|acceptor| acceptor.end_point());
            bytes.map_or(Binding::None, |bytes| Binding::EndPoint(bytes.to_vec()))
        }
        _ => Binding::None,
    };
    encode::authentication_sasl(&mut talk.out, scram::offered(&binding));
    let message = answer(talk).await?;
    let (mechanism, data) = initial_response(&message.body)?;
    let data = match data {
        Some(data) => data.to_vec(),
        None => {
            // No initial response: an empty challenge asks for it.
            encode::authentication(&mut talk.out, 11, &[]);
            answer(talk).await?.body.to_vec()
        }
    };
    let started = scram::server_start(mechanism, &data, Arc::clone(&verifier), genuine, binding, &nonce());
    let (exchange, first) = started.map_err(refused)?;
    encode::authentication(&mut talk.out, 11, &first);
    let message = answer(talk).await?;
    let (keys, last) = exchange.finish(&message.body).map_err(refused)?;
    encode::authentication(&mut talk.out, 12, &last);
    Ok(keys)
}

/// SASLInitialResponse: the mechanism, and the data unless its length is -1.
fn initial_response(body: &[u8]) -> Result<(&str, Option<&[u8]>), Error> {
    let broken = || Error::protocol("broken SASLInitialResponse");
    let (name, rest) = crate::wire::cstr(body).ok_or_else(broken)?;
    let (length, data) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    let data = match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => None,
        length if usize::try_from(length).ok() == Some(data.len()) => Some(data),
        _ => return Err(broken()),
    };
    Ok((std::str::from_utf8(name).map_err(|_| broken())?, data))
}

/// Sends what was asked and takes the client's answer: nothing else may come now.
async fn answer(talk: &mut Talk) -> Result<Message, Error> {
    talk.flush().await.map_err(gone)?;
    let message = talk.message(frame::LOGIN_LIMIT).await.map_err(|fault| match fault {
        Fault::Io(error) => gone(error),
        Fault::Malformed(what) => Error::protocol(what.0),
    })?;
    match message.tag {
        front::PASSWORD => Ok(message),
        front::TERMINATE => Err(Error::new(Kind::ClientQuit, Side::Client)),
        tag => Err(Error::protocol(&format!("expected an authentication message, got {tag}"))),
    }
}

fn gone(error: std::io::Error) -> Error {
    Error::new(Kind::ClientGone, Side::Client).because(error)
}

fn verdict(passed: bool) -> Result<(), Error> {
    if passed { Ok(()) } else { Err(Error::new(Kind::AuthFailed, Side::Client)) }
}

/// What depends on a secret has one text; what breaks the exchange is named.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Malformed(what) => Error::protocol(what),
        Refusal::BindingDowngrade | Refusal::BindingMismatch => {
            Error::new(Kind::ChannelBinding, Side::Client).because(refusal)
        }
        Refusal::Unsupported(_) => Error::new(Kind::AuthUnsupported, Side::Client).because(refusal),
        _ => Error::new(Kind::AuthFailed, Side::Client).because(refusal),
    }
}
