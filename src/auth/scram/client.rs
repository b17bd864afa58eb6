//! [pure] The side that logs in to a server, as libpq's `fe-auth-scram.c` does it.
//!
//! The proof needs keys that fit the salt and the count that the server names: `challenge` tells those, the caller
//! finds or derives the keys, `answer` uses them. So no derivation hides in here.

use super::keys::{decode_key, positive, sha256, xor};
use super::message::{Fields, GS2_END_POINT, channel, is_printable, opening, signature};
use super::{Binding, Keys, SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use crate::auth::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The largest count that we answer. A server names the count before it has proven anything, and a derivation of this
/// size takes more than a second: whoever poses as a server can hold us up no longer. PostgreSQL's default is 4096.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// Chooses the mechanism and writes client-first.
///
/// - `offered`: the names in AuthenticationSASL.
/// - `binding`: what the server's certificate gives; meant only with `have_tls`.
/// - `nonce`: our part, printable, fresh and random.
///
/// Exits: [`ClientFirst`] with the mechanism and message of SASLInitialResponse, or a refusal.
pub fn client_start(
    offered: &[&str],
    binding: Binding,
    have_tls: bool,
    nonce: &str,
) -> Result<(ClientFirst, &'static str, Vec<u8>), Refusal> {
    debug_assert!(!nonce.is_empty() && is_printable(nonce.as_bytes()), "our nonce is printable");
    let plus = offered.contains(&SCRAM_SHA_256_PLUS);
    if plus && !have_tls {
        return Err(Refusal::Malformed("the server offered SCRAM-SHA-256-PLUS over a connection without TLS"));
    }
    let end_point = binding.end_point().filter(|_| have_tls);
    let (mechanism, gs2, bound): (_, &[u8], _) = match end_point {
        Some(hash) if plus => (SCRAM_SHA_256_PLUS, GS2_END_POINT, Some(hash)),
        _ if !offered.contains(&SCRAM_SHA_256) => {
            return Err(Refusal::Unsupported("none of the server's SASL authentication mechanisms"));
        }
        // A server that did offer PLUS, to a list that someone shortened on its way, refuses this.
        Some(_) => (SCRAM_SHA_256, b"y,,", None),
        None => (SCRAM_SHA_256, b"n,,", None),
    };
    let first = ClientFirst { nonce: nonce.to_owned(), channel: channel(gs2, bound) };
    let message = [gs2, &first.bare()].concat();
    Ok((first, mechanism, message))
}

/// client-first was sent; the server owes its challenge. Exit: [`ClientFirst::challenge`].
#[must_use]
pub struct ClientFirst {
    nonce: String,
    channel: String,
}

impl ClientFirst {
    /// Reads AuthenticationSASLContinue.
    pub fn challenge(self, server_first: &[u8]) -> Result<Challenged, Refusal> {
        let mut fields = Fields::new(server_first)?;
        if fields.rest().starts_with(b"m") {
            return Err(Refusal::Unsupported("the server requires a SCRAM extension"));
        }
        let nonce = fields.value(b'r', "no nonce in server-first-message")?;
        // A nonce that is not ours and more could be an old one, with a proof of its own.
        let added = nonce.strip_prefix(self.nonce.as_bytes()).unwrap_or_default();
        if added.is_empty() || !is_printable(added) {
            return Err(Refusal::Malformed("nonce mismatch in server-first-message"));
        }
        let salt = fields.value(b's', "no salt in server-first-message")?;
        let salt = STANDARD.decode(salt).map_err(|_| Refusal::Malformed("invalid salt in server-first-message"))?;
        let iterations = positive(fields.value(b'i', "no iteration count in server-first-message")?)
            .filter(|count| *count <= MAX_ITERATIONS)
            .ok_or(Refusal::Malformed("invalid iteration count in server-first-message"))?;
        fields.ignore_extensions()?;
        let without_proof = [b"c=", self.channel.as_bytes(), b",r=", nonce].concat();
        Ok(Challenged { iterations, salt, opening: opening(&self.bare(), server_first), without_proof })
    }

    /// The name stays empty, as libpq has it: the server takes the one of the StartupMessage.
    fn bare(&self) -> Vec<u8> {
        [b"n=,r=", self.nonce.as_bytes()].concat()
    }
}

/// The server named its salt and count; we owe the proof. Exit: [`Challenged::answer`].
#[must_use]
pub struct Challenged {
    iterations: u32,
    salt: Vec<u8>,
    opening: Vec<u8>,
    without_proof: Vec<u8>,
}

impl Challenged {
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Writes client-final, the SASLResponse. Keys of another salt or count are refused before the server sees a wrong
    /// proof and counts a failed login.
    pub fn answer(self, keys: &Keys) -> Result<(Answered, Vec<u8>), Refusal> {
        if !keys.fits(self.iterations, &self.salt) {
            return Err(Refusal::WrongVerifierSalt {
                known_iterations: keys.iterations,
                asked_iterations: self.iterations,
            });
        }
        let stored_key = Zeroizing::new(sha256(&*keys.client_key));
        let client_signature = signature(&stored_key, &self.opening, &self.without_proof);
        let proof = xor(&keys.client_key, &client_signature);
        let server_signature = Zeroizing::new(signature(&keys.server_key, &self.opening, &self.without_proof));
        let message = [&*self.without_proof, b",p=", STANDARD.encode(proof).as_bytes()].concat();
        Ok((Answered { server_signature }, message))
    }
}

/// client-final was sent; the server owes its own proof. Exit: [`Answered::verify`].
#[must_use]
pub struct Answered {
    server_signature: Zeroizing<[u8; 32]>,
}

impl Answered {
    /// Reads AuthenticationSASLFinal. Only after this is the server the one that knows the verifier.
    pub fn verify(self, server_final: &[u8]) -> Result<(), Refusal> {
        let mut fields = Fields::new(server_final)?;
        let signature = match fields.next()? {
            Some((b'e', name)) => return Err(Refusal::ServerError(error_name(name))),
            Some((b'v', signature)) => signature,
            _ => return Err(Refusal::Malformed("no signature in server-final-message")),
        };
        fields.ignore_extensions()?;
        let signature = decode_key(signature).ok_or(Refusal::Malformed("invalid server signature"))?;
        if signature.ct_eq(&*self.server_signature).into() { Ok(()) } else { Err(Refusal::ServerUnproven) }
    }
}

/// RFC 5802's `server-error-value`; what is not on its list is not repeated in our log.
fn error_name(name: &[u8]) -> &'static str {
    const NAMES: [&str; 10] = [
        "invalid-encoding",
        "extensions-not-supported",
        "invalid-proof",
        "channel-bindings-dont-match",
        "server-does-support-channel-binding",
        "channel-binding-not-supported",
        "unsupported-channel-binding-type",
        "unknown-user",
        "invalid-username-encoding",
        "no-resources",
    ];
    NAMES.into_iter().find(|known| known.as_bytes() == name).unwrap_or("other-error")
}

/// The states print their names only.
macro_rules! opaque {
    ($($state:ident)*) => {$(
        impl fmt::Debug for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($state)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque!(ClientFirst Challenged Answered);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Refusal::{Malformed, ServerError, ServerUnproven, Unsupported};

    fn end_point() -> Binding {
        Binding::EndPoint(b"hash".to_vec())
    }

    fn first() -> ClientFirst {
        client_start(&[SCRAM_SHA_256], Binding::None, false, "abc").unwrap().0
    }

    fn challenged() -> Challenged {
        first().challenge(b"r=abcdef,s=c2FsdA==,i=2").unwrap()
    }

    #[test]
    fn the_mechanism_and_header_follow_what_both_sides_can() {
        let (plain, plus) = (SCRAM_SHA_256, SCRAM_SHA_256_PLUS);
        let cases: &[(&[&str], _, _, _, _)] = &[
            (&[plus, plain], end_point(), true, plus, "p=tls-server-end-point,,n=,r=abc"),
            (&[plus], end_point(), true, plus, "p=tls-server-end-point,,n=,r=abc"),
            (&[plain], end_point(), true, plain, "y,,n=,r=abc"),
            (&[plus, plain], Binding::None, true, plain, "n,,n=,r=abc"),
            (&[plain], Binding::None, true, plain, "n,,n=,r=abc"),
            (&[plain], Binding::None, false, plain, "n,,n=,r=abc"),
            (&["OAUTHBEARER", plain], end_point(), false, plain, "n,,n=,r=abc"),
        ];
        for (offered, binding, have_tls, mechanism, message) in cases {
            let (_, chosen, first) = client_start(offered, binding.clone(), *have_tls, "abc").unwrap();
            assert_eq!((chosen, &*String::from_utf8(first).unwrap()), (*mechanism, *message), "{offered:?}");
        }
    }

    #[test]
    fn no_mechanism_in_common() {
        let start = |offered: &[&str], have_tls| client_start(offered, Binding::None, have_tls, "abc").unwrap_err();
        for offered in [&[][..], &["SCRAM-SHA-1"], &[SCRAM_SHA_256_PLUS], &["scram-sha-256"]] {
            assert!(matches!(start(offered, true), Unsupported(_)), "{offered:?}");
        }
        assert!(matches!(start(&[SCRAM_SHA_256_PLUS, SCRAM_SHA_256], false), Malformed(_)));
    }

    #[test]
    fn challenges() {
        let asked = challenged();
        assert_eq!((asked.iterations(), asked.salt()), (2, &b"salt"[..]));
        for message in ["r=abcd,s=,i=1", "r=abcd,s=c2FsdA==,i=10000000,x=1", "r=abc=,s=c2FsdA==,i=2,"] {
            assert!(first().challenge(message.as_bytes()).is_ok(), "{message}");
        }
        let malformed = [
            "",
            "r=abcdef",
            "r=abcdef,s=c2FsdA==",
            "r=abcdef,i=2,s=c2FsdA==",
            "r=,s=c2FsdA==,i=2",
            "r=ab,s=c2FsdA==,i=2",
            "r=abc,s=c2FsdA==,i=2",
            "r=xabc,s=c2FsdA==,i=2",
            "r=abc d,s=c2FsdA==,i=2",
            "r=abc\u{7f},s=c2FsdA==,i=2",
            "r=abcdef,s=c2FsdA,i=2",
            "r=abcdef,s=*,i=2",
            "r=abcdef,s=c2FsdA==,i=",
            "r=abcdef,s=c2FsdA==,i=0",
            "r=abcdef,s=c2FsdA==,i=-1",
            "r=abcdef,s=c2FsdA==,i=+1",
            "r=abcdef,s=c2FsdA==,i=1x",
            "r=abcdef,s=c2FsdA==,i=10000001",
            "r=abcdef,s=c2FsdA==,i=4294967297",
            "r=abcdef,s=c2FsdA==,i=2,x",
            "e=other-error",
        ];
        for message in malformed {
            let refusal = first().challenge(message.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Malformed(_)), "{message}: {refusal:?}");
        }
        assert!(matches!(first().challenge(b"m=x,r=abcdef,s=c2FsdA==,i=2"), Err(Unsupported(_))));
    }

    #[test]
    fn rfc_7677_exchange() {
        // Ours would not send the name; from the challenge on the RFC's exchange is ours.
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let asked = Challenged {
            iterations: 4096,
            salt: STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(),
            opening: opening(
                b"n=user,r=rOprNGfwEbeRWgbNEkqO",
                format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").as_bytes(),
            ),
            without_proof: format!("c=biws,r={nonce}").into(),
        };
        let keys = Keys::derive("pencil", asked.salt(), asked.iterations());
        let (answered, message) = asked.answer(&keys).unwrap();
        assert!(message.ends_with(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        assert_eq!(answered.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn keys_of_another_verifier_are_not_sent() {
        for (salt, iterations) in [(&b"salt"[..], 4096), (b"pepper", 2)] {
            let refusal = challenged().answer(&Keys::derive("pencil", salt, iterations)).unwrap_err();
            let expected = Refusal::WrongVerifierSalt { known_iterations: iterations, asked_iterations: 2 };
            assert_eq!(refusal, expected);
        }
    }

    #[test]
    fn the_server_must_prove_itself_too() {
        let keys = Keys::derive("pencil", b"salt", 2);
        let verify = |message: &[u8]| challenged().answer(&keys).unwrap().0.verify(message);
        let right = STANDARD.encode(*challenged().answer(&keys).unwrap().0.server_signature);
        assert_eq!(verify(format!("v={right}").as_bytes()), Ok(()));
        assert_eq!(verify(format!("v={right},x=1").as_bytes()), Ok(()));
        assert_eq!(verify(format!("v={}", STANDARD.encode([0; 32])).as_bytes()), Err(ServerUnproven));
        assert_eq!(verify(b"e=invalid-proof"), Err(ServerError("invalid-proof")));
        assert_eq!(verify(b"e=\x1b[31mboo"), Err(ServerError("other-error")));
        for message in [&b""[..], b"v", b"v=", b"v=AAAA", b"x=1", b"v=*", b"e"] {
            assert!(matches!(verify(message), Err(Malformed(_))), "{}", message.escape_ascii());
        }
        for at in 0..right.len() {
            let mut wrong = right.clone().into_bytes();
            wrong[at] ^= 0x01;
            assert!(verify(&[b"v=", &*wrong].concat()).is_err(), "octet {at}");
        }
    }

    #[test]
    fn states_print_their_names_only() {
        let (answered, _) = challenged().answer(&Keys::derive("pencil", b"salt", 2)).unwrap();
        let shown = format!("{:?} {:?} {answered:?}", first(), challenged());
        assert_eq!(shown, "ClientFirst { .. } Challenged { .. } Answered { .. }");
    }
}
