//! [pure] What is stored about a user's password: the password, its MD5 hash, or a SCRAM verifier.
//!
//! A secret is told apart by its text alone, as in PostgreSQL's `pg_authid` and PgBouncer's `auth_file`. It is never
//! printed.

use super::scram::Verifier;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[derive(Clone)]
pub enum Secret {
    /// An empty text, as in `"user" ""`: the user exists, and no password is right.
    Missing,
    /// Never empty.
    Plain(Zeroizing<String>),
    /// The 32 hexadecimal digits after `md5`, in lower case.
    Md5([u8; 32]),
    Scram(Arc<Verifier>),
}

impl Secret {
    /// Reads `md5` and 32 lower-case hexadecimal digits, or `SCRAM-SHA-256$iterations:salt$stored:server`. Everything
    /// else is a password, also what almost is one of the two, as PostgreSQL and PgBouncer have it.
    pub fn parse(text: &str) -> Secret {
        if text.is_empty() {
            return Secret::Missing;
        }
        if let Some(hash) = md5_digits(text) {
            return Secret::Md5(hash);
        }
        match Verifier::parse(text) {
            Some(verifier) => Secret::Scram(Arc::new(verifier)),
            None => Secret::Plain(Zeroizing::new(text.to_owned())),
        }
    }

    /// The kind, in the words of the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Secret::Missing => "missing",
            Secret::Plain(_) => "plain",
            Secret::Md5(_) => "md5",
            Secret::Scram(_) => "scram-sha-256",
        }
    }
}

/// Constant-time, so that a reload may compare secrets without a second thought.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        match (self, other) {
            (Secret::Missing, Secret::Missing) => true,
            (Secret::Plain(one), Secret::Plain(two)) => one.as_bytes().ct_eq(two.as_bytes()).into(),
            (Secret::Md5(one), Secret::Md5(two)) => one.ct_eq(two).into(),
            (Secret::Scram(one), Secret::Scram(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.kind())
    }
}

fn md5_digits(text: &str) -> Option<[u8; 32]> {
    let digits: [u8; 32] = text.strip_prefix("md5")?.as_bytes().try_into().ok()?;
    digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "md55a4a6b7d7c5b4a8e9f0d1c2b3a495867";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn kinds() {
        let short = &MD5[..MD5.len() - 1];
        let upper = MD5.replace('a', "A");
        let broken = SCRAM.replace(':', ";");
        let cases = [
            ("", "missing"),
            ("secret", "plain"),
            ("md5", "plain"),
            (MD5, "md5"),
            (short, "plain"),
            (&upper, "plain"),
            (SCRAM, "scram-sha-256"),
            (&broken, "plain"),
            ("SCRAM-SHA-256$", "plain"),
        ];
        for (text, kind) in cases {
            assert_eq!(Secret::parse(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn debug_prints_nothing_secret() {
        for text in ["hunter2", MD5, SCRAM] {
            let shown = format!("{:?}", Secret::parse(text));
            assert!(shown.starts_with("Secret(") && shown.len() < 24, "{shown}");
        }
    }

    #[test]
    fn equality_is_by_kind_and_value() {
        let texts = ["", "a", "b", MD5, SCRAM];
        for one in texts {
            for two in texts {
                assert_eq!(Secret::parse(one) == Secret::parse(two), one == two, "{one} {two}");
            }
        }
    }
}
