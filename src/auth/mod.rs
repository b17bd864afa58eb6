//! [pure] Credentials and exchanges: who may log in, and how either side proves it.
//!
//! - [`secret`], [`userlist`]: what is stored about a user, and the file that stores it.
//! - [`md5`]: the old challenge, and the comparison for a password sent in clear.
//! - [`scram`]: SCRAM-SHA-256, with channel binding, on both sides of the proxy.
//! - [`hba`]: by which method who may log in from where. [`names`]: which certificate or account may log in as which
//!   user.
//!
//! Nothing here waits, rolls dice or writes a log: salts and nonces are arguments, answers are values. What depends
//! on a secret is compared in constant time, and `Debug` prints no secret.

pub mod hba;
mod lines;
pub mod md5;
pub mod names;
pub mod scram;
pub mod secret;
pub mod userlist;

pub use lines::Flaw;
pub use secret::Secret;
pub use userlist::Userlist;

use std::fmt;

/// Why an exchange was refused.
///
/// The text of a `Refusal` is for the log. [`Refusal::Mismatch`] is all that a client learns about a secret: it stands
/// for a wrong password, an unknown user and a user without a usable secret alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Refusal {
    /// A message that breaks the protocol (08P01); names what was wrong with it.
    Malformed(&'static str),
    /// The client's proof does not fit the secret (28P01).
    Mismatch,
    /// A well-formed wish that we do not grant (0A000); names the wish.
    Unsupported(&'static str),
    /// The client can bind the channel and believes that we cannot, although we offered to: somebody took
    /// SCRAM-SHA-256-PLUS out of the list (28000).
    BindingDowngrade,
    /// The client saw another certificate than ours (28000).
    BindingMismatch,
    /// The keys at hand belong to another verifier than the one that the server uses.
    WrongVerifierSalt { known_iterations: u32, asked_iterations: u32 },
    /// The server did not prove that it knows the verifier: it is not the server it claims to be.
    ServerUnproven,
    /// The server ended the exchange with `e=`; one of the names in RFC 5802, section 7.
    ServerError(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(what) => write!(f, "malformed authentication message: {what}"),
            Refusal::Mismatch => f.write_str("the proof does not match the secret"),
            Refusal::Unsupported(what) => write!(f, "not supported: {what}"),
            Refusal::BindingDowngrade => {
                f.write_str("the client supports channel binding but was told that this server does not")
            }
            Refusal::BindingMismatch => f.write_str("SCRAM channel binding check failed"),
            Refusal::WrongVerifierSalt { known_iterations, asked_iterations } => write!(
                f,
                "the server's SCRAM secret has another salt or iteration count than the keys at hand \
                 ({asked_iterations} iterations asked, {known_iterations} known)"
            ),
            Refusal::ServerUnproven => f.write_str("the server's SCRAM signature is wrong"),
            Refusal::ServerError(name) => write!(f, "the server ended the SCRAM exchange: {name}"),
        }
    }
}

impl std::error::Error for Refusal {}
