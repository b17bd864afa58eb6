//! What can go wrong between a client, a server and us, in one table: kind -> SQLSTATE, severity, text, label.
//!
//! A text that reaches a client comes from this table or from a server's own ErrorResponse; a source (an
//! operating-system error, a parse error) goes to the log only.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `error_codes`. It is the process's, so that no client carries it.
static AS_PGBOUNCER: AtomicBool = AtomicBool::new(false);

/// PgBouncer's code of all errors of its own but one.
const PROTOCOL_VIOLATION: &str = "08P01";

/// Whether our own errors have PgBouncer's code from now on, in place of PostgreSQL's.
pub fn speak_as_pgbouncer(is_so: bool) {
    AS_PGBOUNCER.store(is_so, Ordering::Relaxed);
}

/// Whose doing it is; shown in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Proxy,
    Server,
}

/// An error with what a client may be told about it.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: Kind,
    pub side: Side,
    /// For the log; never sent to a client.
    pub source: Option<Arc<str>>,
    /// A name or value that completes the kind's text (a database, a parameter); never a secret.
    pub subject: Option<Arc<str>>,
    /// What a server said, where the client gets the server's own code and text.
    pub said: Option<Arc<Said>>,
}

/// A server's ErrorResponse, as far as it is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub sqlstate: String,
    pub text: String,
}

/// One row of the table.
struct Row {
    sqlstate: &'static str,
    fatal: bool,
    text: &'static str,
    label: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $state:literal $severity:ident $label:literal $text:literal;)*) => {
        /// What happened. `{}` in a text is the error's subject.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All kinds, in the table's order.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            const fn row(self) -> Row {
                match self {
                    $(Kind::$kind => Row { sqlstate: $state, fatal: kinds!(@$severity), text: $text, label: $label },)*
                }
            }
        }
    };
    (@FATAL) => { true };
    (@ERROR) => { false };
}

// Texts are PgBouncer's where it has one, since people search for them.
kinds! {
    /// The operator asked for this client's end (KILL_CLIENT).
    AdminDisconnect: "57P01" FATAL "admin_disconnect" "admin forced disconnect";
    AlignFailed: "22023" FATAL "align_failed" "invalid server parameter";
    AuthFailed: "28P01" FATAL "auth_failed" "password authentication failed";
    AuthMethod: "28000" FATAL "auth_method" "login rejected";
    AuthUnsupported: "0A000" FATAL "auth_unsupported" "client selected an invalid SASL authentication mechanism";
    CancelledWait: "57014" ERROR "cancelled_wait" "canceling statement due to user request";
    CertAuth: "28000" FATAL "cert_auth" "certificate authentication failed";
    ChannelBinding: "28000" FATAL "channel_binding" "SASL authentication failed: channel binding";
    ClientGone: "08006" FATAL "client_gone" "client unexpected eof";
    ClientIdle: "57P05" FATAL "client_idle_timeout" "client_idle_timeout";
    ClientLogin: "08P01" FATAL "client_login_timeout" "client_login_timeout";
    ClientQuit: "08006" FATAL "client_quit" "client close request";
    /// A login to a process that waits for its clients to leave.
    Closing: "57P03" FATAL "closing" "pooler is shutting down";
    /// KILL_CLIENT of an id that nobody has.
    ConsoleClient: "42704" ERROR "console_client" "client not found";
    ConsoleDatabase: "3D000" ERROR "console_database" "no such database: {}";
    /// A command of a user who may only look.
    ConsoleRights: "42501" ERROR "console_rights" "admin access needed";
    /// The process or the database is not as the command needs it.
    ConsoleState: "55000" ERROR "console_state" "{}";
    ConsoleSyntax: "42601" ERROR "console_syntax" "{}";
    ConsoleValue: "22023" ERROR "console_value" "{}";
    DatabaseClients: "53300" FATAL "max_db_client_connections" "client connections exceeded (max_db_client_connections)";
    DatabaseDisabled: "55000" FATAL "database_disabled" "database \"{}\" is disabled";
    DatabaseRemoved: "57P01" FATAL "database_removed" "database removed";
    DuplicateStatement: "42P05" ERROR "duplicate_statement" "prepared statement \"{}\" already exists";
    FailedTransaction: "25P02" ERROR "failed_transaction" "current transaction is aborted, commands ignored until end of transaction block";
    /// There is no primary, and `failover_hold` is over.
    FailoverHold: "57P03" FATAL "failover_hold" "failover_hold: no server of this database is a primary";
    HeldBytes: "57P03" ERROR "max_held_bytes" "no server of this database is a primary, and those who wait for one have sent enough (max_held_bytes)";
    HeldClients: "57P03" ERROR "max_held_clients" "no server of this database is a primary, and enough clients wait for one (max_held_clients)";
    IdleTransaction: "25P03" FATAL "idle_transaction_timeout" "idle transaction timeout";
    Internal: "XX000" FATAL "internal" "bouncer config error";
    MaxClients: "53300" FATAL "max_client_conn" "no more connections allowed (max_client_conn)";
    MessageTooLarge: "08P01" FATAL "message_too_large" "message is larger than max_packet_size";
    /// No line of auth_hba_file fits the client.
    NoAuthMethod: "28000" FATAL "no_auth_method" "no authentication method is found";
    NoDatabase: "3D000" FATAL "no_database" "no such database: {}";
    /// Neither of admin_users nor of stats_users.
    NotAllowed: "42501" FATAL "not_allowed" "not allowed";
    NoPortal: "34000" ERROR "no_portal" "portal \"{}\" does not exist";
    NoPrimary: "57P03" FATAL "no_primary" "query_wait_timeout: no server of this database is a primary";
    NoServer: "57P03" FATAL "no_server" "query_wait_timeout: {}";
    NoStatement: "26000" ERROR "no_statement" "prepared statement \"{}\" does not exist";
    NoUser: "28000" FATAL "no_user" "no username supplied";
    OldProtocol: "0A000" FATAL "old_protocol" "unsupported frontend protocol: server supports 3.0 to 3.2";
    /// What was under way at a server's loss may have been committed.
    OutcomeUnknown: "08007" ERROR "outcome_unknown" "server conn crashed? whether the transaction was committed is not known";
    PeerAuth: "28000" FATAL "peer_auth" "unix socket login rejected";
    /// `pinning` is "forbid".
    PinForbidden: "0A000" ERROR "pin_forbidden" "this statement would keep its server for one client, which is forbidden here ({})";
    PreparedTooMany: "53200" ERROR "prepared_too_many" "too many prepared statements: the limit of a client is reached";
    Protocol: "08P01" FATAL "protocol" "protocol violation: {}";
    QueryTimeout: "57014" FATAL "query_timeout" "query timeout";
    QueryWait: "57P03" FATAL "query_wait_timeout" "query_wait_timeout";
    /// The server of a session is to be closed, by a reload or RECONNECT (`server_fast_close`).
    Reconfigured: "57P01" FATAL "reconfigured" "database configuration changed";
    ReloadFailed: "F0000" ERROR "reload_failed" "RELOAD failed, see logs for additional details";
    Replication: "22023" FATAL "replication" "invalid value for parameter \"replication\": \"{}\"";
    ServerDesync: "08P01" FATAL "server_desync" "server conn crashed? unexpected message";
    ServerGone: "08006" FATAL "server_gone" "server conn crashed?";
    /// One of several servers ended its connection, and what its client was doing cannot go on elsewhere.
    ServerLost: "57P01" FATAL "server_lost" "server conn crashed?";
    ServerLogin: "08006" FATAL "server_login" "server login failed: {}";
    ShuttingDown: "57P01" FATAL "shutting_down" "server shutting down";
    StartupParameter: "42704" FATAL "startup_parameter" "unsupported startup parameter: {}";
    /// `disable_pqexec`.
    SimpleQuery: "0A000" FATAL "simple_query" "PQexec disallowed";
    /// A REPEATABLE READ transaction on a standby met a statement that only the primary can answer.
    StandbyUnfit: "40001" ERROR "standby_unfit" "could not serialize access: this statement needs the primary, and the transaction reads a standby";
    StatementMode: "0A000" FATAL "statement_mode" "transaction blocks not allowed in statement pooling mode";
    SuspendTimeout: "57P01" FATAL "suspend_timeout" "suspend_timeout";
    TlsRequired: "28000" FATAL "tls_required" "SSL required";
    TrustAuth: "28000" FATAL "trust_failed" "\"trust\" authentication failed";
    /// The server of an open transaction was lost: it is rolled back.
    TransactionLost: "40001" ERROR "transaction_lost" "server conn crashed? the transaction is rolled back";
    TransactionTimeout: "25P04" FATAL "transaction_timeout" "transaction timeout";
    UnencryptedData: "08P01" FATAL "unencrypted_data" "received unencrypted data after SSL request";
    UserClients: "53300" FATAL "max_user_client_connections" "client connections exceeded (max_user_client_connections)";
}

impl Kind {
    /// The five characters of its SQLSTATE (PostgreSQL manual, appendix A).
    pub const fn sqlstate(self) -> &'static str {
        self.row().sqlstate
    }

    /// FATAL ends the connection; ERROR leaves it.
    pub const fn fatal(self) -> bool {
        self.row().fatal
    }

    /// As it stands in metrics and logs.
    pub const fn label(self) -> &'static str {
        self.row().label
    }
}

impl Error {
    /// An error of ours.
    pub fn new(kind: Kind, side: Side) -> Error {
        Error { kind, side, source: None, subject: None, said: None }
    }

    /// The client broke the protocol in the named way.
    pub fn protocol(what: &str) -> Error {
        Error::new(Kind::Protocol, Side::Client).about(what)
    }

    /// The server did.
    pub fn desync(what: &str) -> Error {
        Error::new(Kind::ServerDesync, Side::Server).because(what)
    }

    /// Names what the text speaks of.
    pub fn about(mut self, subject: &str) -> Error {
        self.subject = Some(subject.into());
        self
    }

    /// Adds what the log should say.
    pub fn because(mut self, source: impl fmt::Display) -> Error {
        self.source = Some(source.to_string().into());
        self
    }

    /// Passes on a server's code and text in place of ours.
    pub fn said(mut self, sqlstate: &str, text: &str) -> Error {
        self.said = Some(Arc::new(Said { sqlstate: sqlstate.to_owned(), text: text.to_owned() }));
        self
    }

    /// The five characters that the client gets.
    pub fn sqlstate(&self) -> &str {
        match &self.said {
            Some(said) if said.sqlstate.len() == 5 => &said.sqlstate,
            _ if self.kind != Kind::ReloadFailed && AS_PGBOUNCER.load(Ordering::Relaxed) => PROTOCOL_VIOLATION,
            _ => self.kind.sqlstate(),
        }
    }

    /// The client's text.
    pub fn text(&self) -> String {
        if let Some(said) = &self.said {
            return said.text.clone();
        }
        let subject = self.subject.as_deref().unwrap_or("");
        self.kind.row().text.replace("{}", subject)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log line stays one line, whatever a peer called its database.
        let line = match &self.source {
            Some(source) => format!("{} ({source})", self.text()),
            None => self.text(),
        };
        f.write_str(&line.replace(char::is_control, " "))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_sqlstate_and_a_label_of_its_own() {
        let mut labels = std::collections::HashSet::new();
        for kind in Kind::ALL {
            assert_eq!(kind.sqlstate().len(), 5, "{kind:?}");
            assert!(kind.sqlstate().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()));
            assert!(labels.insert(kind.label()), "{kind:?} shares its label");
        }
    }

    #[test]
    fn a_subject_completes_the_text_and_a_source_stays_out_of_it() {
        let error = Error::new(Kind::NoDatabase, Side::Client).about("shop").because("secret detail");
        assert_eq!(error.text(), "no such database: shop");
        assert!(error.to_string().contains("secret detail"));
        let forged = Error::new(Kind::NoDatabase, Side::Client).about("shop\n2026 INFO all is well");
        assert!(!forged.to_string().contains('\n'));
    }
}
