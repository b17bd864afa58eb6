//! [pure] The words that a key may take, each list written once: the type, its text and back.

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($variant),+
        }

        impl $name {
            /// Every word, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The variant of a word as it stands in `WORDS`.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// When a server goes back to its pool.
    PoolMode { Session = "session", Transaction = "transaction", Statement = "statement" }
}

words! {
    /// How a client proves who it is.
    AuthType {
        Any = "any",
        Cert = "cert",
        Hba = "hba",
        Md5 = "md5",
        Plain = "plain",
        ScramSha256 = "scram-sha-256",
        Trust = "trust",
    }
}

words! {
    /// The SQLSTATEs of errors that the proxy makes itself.
    ErrorCodes { Real = "real", PgBouncer = "pgbouncer" }
}

words! {
    LogFormat { Json = "json", Text = "text" }
}

words! {
    /// Where syslog sorts a message.
    SyslogFacility {
        Auth = "auth",
        Authpriv = "authpriv",
        Daemon = "daemon",
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

words! {
    /// libpq's sslmode, in the manual's order.
    SslMode {
        Disable = "disable",
        Allow = "allow",
        Prefer = "prefer",
        Require = "require",
        VerifyCa = "verify-ca",
        VerifyFull = "verify-full",
    }
}

words! {
    /// What may run on a standby.
    ReadWriteSplit { Auto = "auto", Declared = "declared", Off = "off" }
}

words! {
    /// Whose acknowledged writes a read on a standby must see.
    ReadConsistency { Pool = "pool", Strict = "strict", Session = "session", Bounded = "bounded" }
}

words! {
    /// Whether the primary serves reads beside fit standbys.
    PrimaryReads { Fallback = "fallback", Share = "share" }
}

words! {
    /// What an open transaction gets when its server is lost: an error, or the connection's end.
    FailoverError { RolledBack = "40001", Disconnect = "57P01" }
}

words! {
    /// What becomes of a statement that would keep its server for one client.
    Pinning { Allow = "allow", Warn = "warn", Forbid = "forbid" }
}

words! {
    /// What a client that listens gets when its server is lost: its connection's end, or a server that listens again.
    ListenFailover { Disconnect = "57P01", Relisten = "relisten" }
}

words! {
    /// PgBouncer's `load_balance_hosts`.
    LoadBalance { RoundRobin = "round-robin", Disable = "disable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_to_its_variant_and_back() {
        let back = |word: &&str| AuthType::from_word(word).expect("a word of the list").as_str() == *word;
        assert!(AuthType::WORDS.iter().all(back));
        assert_eq!(SslMode::from_word("verify-full"), Some(SslMode::VerifyFull));
        assert_eq!(PoolMode::from_word("Session"), None);
        assert!(SslMode::Require < SslMode::VerifyCa);
    }
}
