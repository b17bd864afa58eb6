//! Asking a running server: a role's verifier for `hash --from`, and what `init` looks at.

use std::sync::Arc;

use crate::auth::Secret;
use crate::config::{Address, Nowhere};
use crate::net::parting;
use crate::net::talk::Talk;
use crate::net::tls::Connector;
use crate::server::connect::Route;
use crate::server::login::{Credentials, Plan, login};
use crate::wire::{back, backend, encode, frame};

/// The `rolpassword` of a role.
pub fn verifier(url: &str, role: &str) -> Result<String, String> {
    let literal = role.replace('\\', "\\\\").replace('\'', "''");
    let query = format!("SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = E'{literal}'");
    match with(url, async |session| session.rows(&query).await)?.concat().first().map(String::as_str) {
        Some(verifier) if verifier.starts_with("SCRAM-SHA-256$") => Ok(verifier.to_owned()),
        None | Some("") => Err(format!("the server knows no password of {role}")),
        Some(_) => {
            Err(format!("the server's password of {role} is no SCRAM verifier: set it again under scram-sha-256"))
        }
    }
}

/// A login at a server.
pub struct Session {
    talk: Talk,
    /// As `host:port`.
    pub address: String,
}

/// Logs in as the URL says, and does this.
pub fn with<T>(url: &str, work: impl AsyncFnOnce(&mut Session) -> Result<T, String>) -> Result<T, String> {
    let plan = plan(url)?;
    let address = plan.route.address.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let server = login(&plan).await.map_err(|error| error.to_string())?.server;
        let mut session = Session { talk: Talk::new(server.stream), address };
        let done = work(&mut session).await?;
        parting::part(&mut session.talk.stream);
        Ok(done)
    })
}

impl Session {
    /// Every row of a query, as text; NULL is the empty one.
    pub async fn rows(&mut self, query: &str) -> Result<Vec<Vec<String>>, String> {
        encode::query(&mut self.talk.out, query.as_bytes());
        self.talk.flush().await.map_err(|error| error.to_string())?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let message = self.talk.message(frame::LOGIN_LIMIT).await.map_err(|fault| fault.to_string())?;
            match message.tag {
                back::DATA_ROW => rows.push(columns(&message.body).ok_or("a row that is not understood")?),
                back::ERROR => {
                    let text = backend::field(&message.body, b'M').unwrap_or_default();
                    refused = Some(String::from_utf8_lossy(text).into_owned());
                }
                back::READY_FOR_QUERY => break,
                _ => {}
            }
        }
        refused.map_or(Ok(rows), Err)
    }
}

/// The columns of a DataRow: their number, then each one's length (-1 for NULL) and its text.
fn columns(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (text, after) = after.split_at_checked(length)?;
        columns.push(String::from_utf8_lossy(text).into_owned());
        rest = after;
    }
    Some(columns)
}

fn plan(url: &str) -> Result<Plan, String> {
    let url = url::Url::parse(url).map_err(|error| format!("the URL is not understood: {error}"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err("the URL must begin with postgres://".to_owned());
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decode(url.username());
    let password = url.password().map(decode).or_else(|| std::env::var("PGPASSWORD").ok()).unwrap_or_default();
    let database = decode(url.path().trim_start_matches('/'));
    // The defaults of a config, for timeouts and sockets.
    let text = "[pgweir]\nlisten_addr = \"127.0.0.1\"\nauth_type = \"trust\"\n[databases.x]\nhost = \"localhost\"\n";
    let config = Nowhere::config(text).map_err(|problems| format!("{problems:?}"))?;
    let global = Arc::new(config.global);
    let tls = Connector::build(&global.server_tls).map_err(|fault| fault.to_string())?;
    let host = url.host_str().unwrap_or("localhost").to_owned();
    Ok(Plan {
        route: Route {
            address: Address::Tcp { host, port: url.port().unwrap_or(5432) },
            tls,
            global,
            names: Arc::default(),
        },
        database: if database.is_empty() { user.clone() } else { database },
        credentials: Arc::new(Credentials::new(&user, Secret::parse(&password))),
        parameters: Vec::new(),
        connect_query: None,
        node: 0,
        max_prepared_statements: 0,
        standing: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_their_nulls_and_never_beyond_their_end() {
        let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(columns(row), Some(vec!["ab".to_owned(), String::new(), String::new()]));
        for end in 0..row.len() {
            assert_eq!(columns(&row[..end]), None, "{end}");
        }
    }
}
