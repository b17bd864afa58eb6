//! [pure] The side that authenticates a client: what PostgreSQL's `auth-scram.c` accepts and refuses, in its order.
//!
//! Before the proof nothing depends on the secret, and a client that we do not know takes the same steps with a mock
//! verifier: it cannot tell that from a wrong password, neither by text nor by time.

use super::keys::{decode_key, sha256, xor};
use super::message::{Fields, GS2_END_POINT, channel, is_printable, opening, signature};
use super::{Binding, Keys, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Verifier};
use crate::auth::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Reads SASLInitialResponse and answers it.
///
/// - `verifier`, `genuine`: the user's, or [`Verifier::mock`] and `false`, which always ends in [`Refusal::Mismatch`].
/// - `binding`: the same that [`super::offered`] was asked with.
/// - `nonce`: our part, printable, fresh and random (18 octets in base64 are PostgreSQL's).
///
/// Exits: [`ServerFinal`] with server-first, or a refusal.
pub fn server_start(
    mechanism: &str,
    client_first: &[u8],
    verifier: Arc<Verifier>,
    genuine: bool,
    binding: Binding,
    nonce: &str,
) -> Result<(ServerFinal, Vec<u8>), Refusal> {
    debug_assert!(!nonce.is_empty() && is_printable(nonce.as_bytes()), "our nonce is printable");
    let plus = match (mechanism, &binding) {
        (SCRAM_SHA_256_PLUS, Binding::EndPoint(_)) => true,
        (SCRAM_SHA_256, _) => false,
        _ => return Err(Refusal::Malformed("client selected an invalid SASL authentication mechanism")),
    };
    let mut fields = Fields::new(client_first)?;
    let channel = gs2_header(&mut fields, plus, &binding)?;
    let bare = fields.rest();
    let client_nonce = client_first_bare(&mut fields)?;

    let nonce = [client_nonce, nonce.as_bytes()].concat();
    let mut reply = [b"r=", &*nonce].concat();
    reply.extend_from_slice(format!(",s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations).as_bytes());
    let next = ServerFinal { verifier, genuine, channel, nonce, opening: opening(bare, &reply) };
    Ok((next, reply))
}

/// server-first was sent; the client owes its proof. Exit: [`ServerFinal::finish`].
#[must_use]
pub struct ServerFinal {
    verifier: Arc<Verifier>,
    genuine: bool,
    /// The `c=` that the client must send.
    channel: String,
    /// Both parts.
    nonce: Vec<u8>,
    opening: Vec<u8>,
}

impl ServerFinal {
    /// Reads SASLResponse; gives what the client's login can be passed on with, and server-final.
    pub fn finish(self, client_final: &[u8]) -> Result<(Keys, Vec<u8>), Refusal> {
        let mut fields = Fields::new(client_final)?;
        self.check_channel(fields.value(b'c', "no channel binding in client-final-message")?)?;
        let nonce = fields.value(b'r', "no nonce in client-final-message")?;
        let (without_proof, proof) = proof(&mut fields)?;
        if nonce != self.nonce {
            return Err(Refusal::Malformed("nonce does not match in client-final-message"));
        }

        let verifier = &*self.verifier;
        let client_signature = signature(&verifier.stored_key, &self.opening, without_proof);
        let client_key = Zeroizing::new(xor(&proof, &client_signature));
        let server_signature = signature(&verifier.server_key, &self.opening, without_proof);
        let proven = sha256(&*client_key).ct_eq(&*verifier.stored_key) & Choice::from(u8::from(self.genuine));
        if !bool::from(proven) {
            return Err(Refusal::Mismatch);
        }
        let keys = Keys {
            client_key,
            server_key: verifier.server_key.clone(),
            iterations: verifier.iterations,
            salt: (*verifier.salt).into(),
        };
        Ok((keys, format!("v={}", STANDARD.encode(server_signature)).into_bytes()))
    }

    fn check_channel(&self, channel: &[u8]) -> Result<(), Refusal> {
        const WITHOUT: [&str; 2] = ["biws", "eSws"];
        if channel == self.channel.as_bytes() {
            Ok(())
        } else if WITHOUT.contains(&&*self.channel) {
            Err(Refusal::Malformed("unexpected SCRAM channel-binding attribute in client-final-message"))
        } else {
            Err(Refusal::BindingMismatch)
        }
    }
}

impl fmt::Debug for ServerFinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFinal").finish_non_exhaustive()
    }
}

/// Reads the gs2 header; gives the `c=` that must repeat it.
fn gs2_header(fields: &mut Fields<'_>, plus: bool, binding: &Binding) -> Result<String, Refusal> {
    const SHAPE: &str = "unexpected attribute in client-first-message";
    const NOT_BOUND: &str = "SCRAM-SHA-256-PLUS was selected, but the message has no channel binding data";
    let channel = match fields.rest().first() {
        Some(b'n' | b'y') if plus => return Err(Refusal::Malformed(NOT_BOUND)),
        Some(b'y') if binding.end_point().is_some() => return Err(Refusal::BindingDowngrade),
        Some(b'n') => {
            fields.skip(b"n,", SHAPE)?;
            channel(b"n,,", None)
        }
        Some(b'y') => {
            fields.skip(b"y,", SHAPE)?;
            channel(b"y,,", None)
        }
        Some(b'p') if !plus => {
            return Err(Refusal::Malformed("SCRAM-SHA-256 was selected, but the message has channel binding data"));
        }
        Some(b'p') => {
            if fields.value(b'p', SHAPE)? != b"tls-server-end-point" {
                return Err(Refusal::Malformed("unsupported SCRAM channel-binding type"));
            }
            channel(GS2_END_POINT, binding.end_point())
        }
        _ => return Err(Refusal::Malformed("unexpected channel-binding flag")),
    };
    if fields.rest().starts_with(b"a") {
        return Err(Refusal::Unsupported("client uses authorization identity"));
    }
    fields.skip(b",", SHAPE)?;
    Ok(channel)
}

/// Reads the rest of client-first; gives the client's nonce. The name of the user is not ours to judge.
fn client_first_bare<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Refusal> {
    if fields.rest().starts_with(b"m") {
        return Err(Refusal::Unsupported("client requires a SCRAM extension"));
    }
    let _user = fields.value(b'n', "no user name in client-first-message")?;
    let nonce = fields.value(b'r', "no nonce in client-first-message")?;
    if !is_printable(nonce) {
        return Err(Refusal::Malformed("non-printable characters in SCRAM nonce"));
    }
    fields.ignore_extensions()?;
    Ok(nonce)
}

/// Reads extensions up to the proof, which must be last; gives the message before it, and the proof.
fn proof<'a>(fields: &mut Fields<'a>) -> Result<(&'a [u8], [u8; 32]), Refusal> {
    loop {
        let without_proof = fields.before();
        match fields.next()? {
            None => return Err(Refusal::Malformed("no proof in client-final-message")),
            Some((b'p', proof)) => {
                let proof = decode_key(proof).ok_or(Refusal::Malformed("malformed proof in client-final-message"))?;
                if !fields.rest().is_empty() {
                    return Err(Refusal::Malformed("garbage at the end of client-final-message"));
                }
                return Ok((without_proof, *proof));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Refusal::{BindingDowngrade, BindingMismatch, Malformed, Mismatch, Unsupported};

    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    /// RFC 7677, section 3: user `user`, password `pencil`.
    fn verifier() -> Arc<Verifier> {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        Arc::new(Verifier::parse(text).unwrap())
    }

    fn end_point() -> Binding {
        Binding::EndPoint(b"hash".to_vec())
    }

    fn start(mechanism: &str, first: &[u8], binding: Binding) -> Result<(ServerFinal, Vec<u8>), Refusal> {
        server_start(mechanism, first, verifier(), true, binding, NONCE)
    }

    fn finish(last: &[u8]) -> Result<(Keys, Vec<u8>), Refusal> {
        start(SCRAM_SHA_256, FIRST, Binding::None).unwrap().0.finish(last)
    }

    #[test]
    fn rfc_7677_exchange() {
        let (state, reply) = start(SCRAM_SHA_256, FIRST, Binding::None).unwrap();
        assert_eq!(reply, b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (keys, reply) = state.finish(FINAL.as_bytes()).unwrap();
        assert_eq!(reply, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(keys.verifier(), *verifier());
        assert_eq!(*keys.client_key, *Keys::derive("pencil", &keys.salt, keys.iterations).client_key);
    }

    #[test]
    fn a_mock_ends_in_the_refusal_of_a_wrong_password() {
        let mock = Arc::new(Verifier::mock(&[7; 32], "user", 4096));
        for verifier in [mock, verifier()] {
            let (state, reply) = server_start(SCRAM_SHA_256, FIRST, verifier, false, Binding::None, NONCE).unwrap();
            assert!(reply.ends_with(b",i=4096"));
            assert_eq!(state.finish(FINAL.as_bytes()).unwrap_err(), Mismatch);
        }
    }

    #[test]
    fn client_first_is_accepted_or_refused_as_by_postgresql() {
        let (plain, plus) = (SCRAM_SHA_256, SCRAM_SHA_256_PLUS);
        let accepted = [
            (plain, &b"n,,n=,r=abc"[..], Binding::None),
            (plain, b"n,,n=,r=abc", end_point()),
            (plain, b"y,,n=,r=abc", Binding::None),
            (plain, b"n,,n=\xfc=2C,r=abc,", Binding::None),
            (plain, b"n,,n=,r=abc,x=1,y=", Binding::None),
            (plain, b"n,,n=,r=", Binding::None),
            (plus, b"p=tls-server-end-point,,n=,r=abc", end_point()),
        ];
        for (mechanism, first, binding) in accepted {
            assert!(start(mechanism, first, binding).is_ok(), "{mechanism} {}", first.escape_ascii());
        }
        let malformed = [
            ("", &b"n,,n=,r=abc"[..], Binding::None),
            ("SCRAM-SHA-1", b"n,,n=,r=abc", Binding::None),
            ("scram-sha-256", b"n,,n=,r=abc", Binding::None),
            (plus, b"p=tls-server-end-point,,n=,r=abc", Binding::None),
            (plus, b"n,,n=,r=abc", end_point()),
            (plus, b"y,,n=,r=abc", end_point()),
            (plus, b"p=tls-unique,,n=,r=abc", end_point()),
            (plus, b"p=,,n=,r=abc", end_point()),
            (plus, b"p,,n=,r=abc", end_point()),
            (plus, b"p=tls-server-end-point", end_point()),
            (plus, b"p=tls-server-end-point,n=,r=abc", end_point()),
            (plain, b"p=tls-server-end-point,,n=,r=abc", Binding::None),
            (plain, b"p=tls-server-end-point,,n=,r=abc", end_point()),
            (plain, b"", Binding::None),
            (plain, b",", Binding::None),
            (plain, b"n", Binding::None),
            (plain, b"n,", Binding::None),
            (plain, b"n,,", Binding::None),
            (plain, b"N,,n=,r=abc", Binding::None),
            (plain, b"n;,n=,r=abc", Binding::None),
            (plain, b"n,n=,r=abc", Binding::None),
            (plain, b"n,,r=abc", Binding::None),
            (plain, b"n,,n=", Binding::None),
            (plain, b"n,,n=,", Binding::None),
            (plain, b"n,,n=,r", Binding::None),
            (plain, b"n,,n,r=abc", Binding::None),
            (plain, b"n,,n=,n=,r=abc", Binding::None),
            (plain, b"n,,n=,r=a bc", Binding::None),
            (plain, b"n,,n=,r=a\xc3\xbc", Binding::None),
            (plain, b"n,,n=,r=abc\0", Binding::None),
            (plain, b"n,,n=,r=abc,,x=1", Binding::None),
            (plain, b"n,,n=,r=abc,x", Binding::None),
            (plain, b"n,,n=,r=abc,1=x", Binding::None),
        ];
        for (mechanism, first, binding) in malformed {
            let refusal = start(mechanism, first, binding).unwrap_err();
            assert!(matches!(refusal, Malformed(_)), "{mechanism} {}: {refusal:?}", first.escape_ascii());
        }
        let refused = [
            (&b"y,,n=,r=abc"[..], end_point(), BindingDowngrade),
            (b"n,a=joe,n=,r=abc", Binding::None, Unsupported("client uses authorization identity")),
            (b"n,,m=x,n=,r=abc", Binding::None, Unsupported("client requires a SCRAM extension")),
        ];
        for (first, binding, expected) in refused {
            assert_eq!(start(plain, first, binding).unwrap_err(), expected, "{}", first.escape_ascii());
        }
    }

    #[test]
    fn client_final_is_refused_for_what_is_wrong_with_it() {
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let malformed = [
            String::new(),
            ",".into(),
            "c=biws".into(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce},"),
            format!("c=biws,p={proof}"),
            format!("r={nonce},c=biws,p={proof}"),
            format!("c=eSws,r={nonce},p={proof}"),
            format!("c=,r={nonce},p={proof}"),
            format!("c=biws,r={nonce}x,p={proof}"),
            format!("c=biws,r={},p={proof}", &nonce[..20]),
            format!("c=biws,r=,p={proof}"),
            format!("c=biws,r={nonce},,p={proof}"),
            format!("c=biws,r={nonce},x,p={proof}"),
            format!("c=biws,r={nonce},p="),
            format!("c=biws,r={nonce},p={}", &proof[..40]),
            format!("c=biws,r={nonce},p={}", &proof[..43]),
            format!("c=biws,r={nonce},p=AAAA{proof}"),
            format!("c=biws,r={nonce},p={}", proof.replace('+', "*")),
            format!("c=biws,r={nonce},p={proof},x=1"),
            format!("c=biws,r={nonce},p={proof}\0"),
        ];
        for last in malformed {
            let refusal = finish(last.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Malformed(_)), "{last}: {refusal:?}");
        }
        // Extensions are part of what is signed.
        let extended = format!("c=biws,r={nonce},x=1,p={proof}");
        assert_eq!(finish(extended.as_bytes()).unwrap_err(), Mismatch);
        assert!(finish(format!("{FINAL},").as_bytes()).is_ok());
    }

    #[test]
    fn a_change_in_any_octet_is_refused() {
        for at in 0..FINAL.len() {
            for bit in [0x01, 0x80] {
                let mut last = FINAL.as_bytes().to_vec();
                last[at] ^= bit;
                assert!(finish(&last).is_err(), "octet {at}");
            }
            assert!(finish(&FINAL.as_bytes()[..at]).is_err());
        }
    }

    #[test]
    fn a_change_in_the_signed_opening_is_a_mismatch() {
        for first in [&b"n,,n=usex,r=rOprNGfwEbeRWgbNEkqO"[..], b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO,x=1"] {
            let (state, _) = start(SCRAM_SHA_256, first, Binding::None).unwrap();
            assert_eq!(state.finish(FINAL.as_bytes()).unwrap_err(), Mismatch);
        }
    }

    #[test]
    fn another_certificate_is_named_as_such() {
        let first = b"p=tls-server-end-point,,n=,r=abc";
        let proof = STANDARD.encode([0; 32]);
        let cases = [
            (channel(GS2_END_POINT, Some(b"hash")), Mismatch),
            (channel(GS2_END_POINT, Some(b"hasx")), BindingMismatch),
            (channel(GS2_END_POINT, None), BindingMismatch),
            ("biws".into(), BindingMismatch),
        ];
        for (channel, expected) in cases {
            let (state, _) = start(SCRAM_SHA_256_PLUS, first, end_point()).unwrap();
            let last = format!("c={channel},r=abc{NONCE},p={proof}");
            assert_eq!(state.finish(last.as_bytes()).unwrap_err(), expected, "{channel}");
        }
    }
}
