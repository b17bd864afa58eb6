//! [pure] MD5 passwords, and the check of a password that was sent in clear.
//!
//! MD5 is kept for the servers and drivers that know nothing else: whoever reads the stored hash can log in with it.
//! An empty password is never right, as in PostgreSQL and PgBouncer.

use super::secret::Secret;
use ::md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// What is stored, without its `md5` in front: the hexadecimal MD5 of the password and then the user's name.
pub fn hash(user: &str, password: &str) -> [u8; 32] {
    digest(password.as_bytes(), user.as_bytes())
}

/// The answer to AuthenticationMD5Password: `md5` and the hexadecimal MD5 of the stored hash and then the salt.
pub fn response(hash: &[u8; 32], salt: [u8; 4]) -> [u8; 35] {
    let mut answer = *b"md5................................";
    answer[3..].copy_from_slice(&digest(hash, &salt));
    answer
}

/// Whether `answer`, a PasswordMessage without its final zero, answers our challenge. A SCRAM secret cannot tell.
pub fn verify(secret: &Secret, user: &str, salt: [u8; 4], answer: &[u8]) -> bool {
    let hash = match secret {
        Secret::Plain(password) if !password.is_empty() => hash(user, password),
        Secret::Md5(hash) => *hash,
        Secret::Plain(_) | Secret::Scram(_) | Secret::Missing => return false,
    };
    response(&hash, salt).ct_eq(answer).into()
}

/// Whether `password`, a PasswordMessage without its final zero, is the one that `secret` stands for.
///
/// A SCRAM secret costs a whole derivation (`scram::Keys::derive`).
pub fn verify_plain(secret: &Secret, user: &str, password: &[u8]) -> bool {
    // HMAC, and so SCRAM, cannot tell a password from the same with zeros behind it.
    if password.is_empty() || password.contains(&0x00) {
        return false;
    }
    match secret {
        Secret::Missing => false,
        Secret::Plain(expected) => expected.as_bytes().ct_eq(password).into(),
        Secret::Md5(hash) => digest(password, user.as_bytes()).ct_eq(hash).into(),
        Secret::Scram(verifier) => verifier.matches(password),
    }
}

fn digest(first: &[u8], second: &[u8]) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let sum: [u8; 16] = Md5::new().chain_update(first).chain_update(second).finalize().into();
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(sum) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0x0f)]]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::Verifier;
    use std::sync::Arc;

    const SALT: [u8; 4] = [0x01, 0xfe, 0x00, 0x2c];

    fn scram(password: &str) -> Secret {
        Secret::Scram(Arc::new(Verifier::derive(password, b"0123456789abcdef", 2)))
    }

    #[test]
    fn the_stored_form() {
        // SELECT 'md5' || md5('xyzzy' || 'joe')
        assert_eq!(&hash("joe", "xyzzy"), b"b5f5ba1a423792b526f799ae4eb3d59e");
    }

    #[test]
    fn our_hash_is_that_of_the_protocol_crate() {
        for (user, password) in [("joe", "xyzzy"), ("", ""), ("ü", "pässwörd"), ("a", &"long".repeat(99))] {
            let expected = postgres_protocol::authentication::md5_hash(user.as_bytes(), password.as_bytes(), SALT);
            assert_eq!(response(&hash(user, password), SALT), expected.as_bytes());
        }
    }

    #[test]
    fn challenges() {
        let right = response(&hash("joe", "xyzzy"), SALT);
        let secrets = [Secret::parse("xyzzy"), Secret::Md5(hash("joe", "xyzzy"))];
        for secret in &secrets {
            assert!(verify(secret, "joe", SALT, &right));
            assert!(!verify(secret, "joe", [0x00; 4], &right));
            assert!(!verify(secret, "joe", SALT, &right[..34]));
            assert!(!verify(secret, "joe", SALT, b""));
            assert!(!verify(secret, "joe", SALT, b"xyzzy"));
            for at in 0..right.len() {
                let mut wrong = right;
                wrong[at] ^= 0x01;
                assert!(!verify(secret, "joe", SALT, &wrong), "octet {at}");
            }
        }
        assert!(!verify(&secrets[0], "jim", SALT, &right));
        assert!(!verify(&scram("xyzzy"), "joe", SALT, &right));
    }

    #[test]
    fn nothing_answers_an_empty_secret() {
        let empty = response(&hash("joe", ""), SALT);
        for secret in [Secret::Missing, Secret::Plain(Default::default())] {
            assert!(!verify(&secret, "joe", SALT, &empty));
            assert!(!verify_plain(&secret, "joe", b""));
        }
        assert!(!verify_plain(&Secret::Md5(hash("joe", "")), "joe", b""));
        assert!(!verify_plain(&scram(""), "joe", b""));
    }

    #[test]
    fn clear_passwords() {
        for secret in [Secret::parse("xyzzy"), Secret::Md5(hash("joe", "xyzzy")), scram("xyzzy")] {
            assert!(verify_plain(&secret, "joe", b"xyzzy"), "{secret:?}");
            for wrong in [&b"xyzz"[..], b"xyzzyy", b"XYZZY", b"\xff\xfe", b"xyzzy\0"] {
                assert!(!verify_plain(&secret, "joe", wrong), "{secret:?} {wrong:?}");
            }
        }
        // An MD5 hash is not a password.
        assert!(!verify_plain(&Secret::Md5(hash("joe", "xyzzy")), "joe", &hash("joe", "xyzzy")));
    }
}
