//! Proving who a client is, by the method that `auth_type` and the stored secret lead to.
//!
//! A wrong password looks the same in time and text whether or not the user exists: an unknown user goes through the
//! same exchange with a verifier that nothing matches.

use std::sync::Arc;

use super::house::{House, random};
use crate::auth::scram::{self, Binding, Keys};
use crate::auth::{Refusal, Secret, md5};
use crate::config::AuthType;
use crate::error::{Error, Kind, Side};
use crate::net::stream::Stream;
use crate::net::talk::{Fault, Message, Talk};
use crate::net::tls;
use crate::server::login::nonce;
use crate::wire::{encode, frame, front};

/// Asks for and checks a proof. SCRAM teaches the keys with which a server of the same verifier can be logged in to.
pub async fn authenticate(house: &House, talk: &mut Talk, user: &str) -> Result<Option<Keys>, Error> {
    let ground = house.backends.ground();
    let secret = ground.userlist.secret(user);
    match ground.config.global.auth_type {
        AuthType::Any => Ok(None),
        AuthType::Trust if secret.is_some() => Ok(None),
        AuthType::Trust => Err(Error::new(Kind::TrustAuth, Side::Client)),
        AuthType::Cert => certificate(house, &talk.stream, user).map(|()| None),
        AuthType::Plain => plain(house, talk, user, secret).await.map(|()| None),
        AuthType::Md5 if !matches!(secret, Some(Secret::Scram(_))) => {
            md5_exchange(talk, user, secret).await.map(|()| None)
        }
        AuthType::Md5 | AuthType::ScramSha256 => sasl(house, talk, user, secret).await.map(Some),
    }
}

/// The common name or an alternative name of the client's certificate is the user, or the ident map `pgweir` says so.
fn certificate(house: &House, stream: &Stream, user: &str) -> Result<(), Error> {
    let Stream::TlsFromClient(stream) = stream else { return Err(Error::new(Kind::TlsRequired, Side::Client)) };
    let found = tls::client_names(stream).unwrap_or_default();
    let doors = house.doors();
    let mut names = found.common_name.iter().chain(&found.dns);
    match names.any(|name| name == user || doors.names.allows(CERT_MAP, name, user)) {
        true => Ok(()),
        false => Err(Error::new(Kind::CertAuth, Side::Client)),
    }
}

/// The map of `auth_ident_file` that certificates are looked up in.
const CERT_MAP: &str = "cert";

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
