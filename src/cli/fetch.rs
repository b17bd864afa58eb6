//! Reading a role's verifier from a running server, for `hash --from`.

use std::path::Path;
use std::sync::Arc;

use crate::auth::Secret;
use crate::config::{self, Address, Outside};
use crate::net::talk::Talk;
use crate::net::tls::Connector;
use crate::server::connect::Route;
use crate::server::login::{Credentials, Plan, login};
use crate::wire::{back, backend, encode, frame};

/// The `rolpassword` of a role.
pub fn verifier(url: &str, role: &str) -> Result<String, String> {
    let plan = plan(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let server = login(&plan).await.map_err(|error| error.to_string())?.server;
        ask(&mut Talk::new(server.stream), role).await
    })
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
    struct Nothing;
    impl Outside for Nothing {
        fn env(&self, _: &str) -> Option<String> {
            None
        }
        fn read(&self, _: &Path) -> Result<String, String> {
            Err("no files".to_owned())
        }
    }
    let text = "[pgweir]\nlisten_addr = \"127.0.0.1\"\nauth_type = \"trust\"\n[databases.x]\nhost = \"localhost\"\n";
    let parsed = config::parse(Path::new("defaults"), text, &Nothing).map_err(|problems| format!("{problems:?}"))?;
    let global = Arc::new(parsed.config.global);
    let tls = Connector::build(&global.server_tls).map_err(|fault| fault.to_string())?;
    let host = url.host_str().unwrap_or("localhost").to_owned();
    Ok(Plan {
        route: Route { address: Address::Tcp { host, port: url.port().unwrap_or(5432) }, tls, global },
        database: if database.is_empty() { user.clone() } else { database },
        credentials: Arc::new(Credentials::new(&user, Secret::parse(&password))),
        parameters: Vec::new(),
        connect_query: None,
        node: 0,
        max_prepared_statements: 0,
        standing: Arc::default(),
    })
}

async fn ask(talk: &mut Talk, role: &str) -> Result<String, String> {
    let literal = role.replace('\\', "\\\\").replace('\'', "''");
    let query = format!("SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = E'{literal}'");
    encode::query(&mut talk.out, query.as_bytes());
    talk.flush().await.map_err(|error| error.to_string())?;
    let mut found = None;
    loop {
        let message = talk.message(frame::LOGIN_LIMIT).await.map_err(|fault| fault.to_string())?;
        match message.tag {
            // One column: its length (-1 for NULL) and its text.
            back::DATA_ROW => {
                let value = message.body.get(6..).filter(|_| message.body.get(2..6) != Some(&[0xff; 4]));
                found = value.map(|value| String::from_utf8_lossy(value).into_owned());
            }
            back::ERROR => {
                let text = backend::field(&message.body, b'M').unwrap_or_default();
                return Err(String::from_utf8_lossy(text).into_owned());
            }
            back::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    match found {
        Some(verifier) if verifier.starts_with("SCRAM-SHA-256$") => Ok(verifier),
        Some(_) => {
            Err(format!("the server's password of {role} is no SCRAM verifier: set it again under scram-sha-256"))
        }
        None => Err(format!("the server knows no password of {role}")),
    }
}
