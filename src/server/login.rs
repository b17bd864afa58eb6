//! Logging in to a server: startup, authentication, and what it reports.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::connect::{Attempt, Connected, Route};
use super::{Gate, Server, Standing};
use crate::auth::scram::{self, Binding, Keys};
use crate::auth::{Secret, md5};
use crate::error::{Error, Kind, Side};
use crate::net::talk::{Fault, Message, Talk};
use crate::pool::home;
use crate::session::ServerState;
use crate::session::ledger::Settled;
use crate::session::settings::{self, Settings};
use crate::wire::backend::{self, Authentication};
use crate::wire::{back, encode, frame, startup};

/// Whom we log in as.
pub struct Credentials {
    pub user: String,
    pub secret: Secret,
    /// Learned from a client's verified login, or derived from the password once: what PBKDF2 yields for a salt.
    keys: Mutex<Option<Keys>>,
    /// What a server told (`auth_query`) of a user whom auth_file does not have.
    told: Mutex<Option<Secret>>,
}

impl Credentials {
    pub fn new(user: &str, secret: Secret) -> Credentials {
        Credentials { user: user.to_owned(), secret, keys: Mutex::new(None), told: Mutex::new(None) }
    }

    /// What a client's login taught; a password that we have needs no teaching.
    pub fn learn(&self, keys: Keys) {
        if !matches!(self.secret, Secret::Plain(_)) {
            *self.keys.lock() = Some(keys);
        }
    }

    /// The secret of a user whom auth_file does not have.
    pub fn hear(&self, secret: Secret) {
        if self.secret == Secret::Missing {
            *self.told.lock() = Some(secret);
        }
    }

    /// What there is to prove ourselves with.
    fn secret(&self) -> Secret {
        match &self.secret {
            Secret::Missing => self.told.lock().clone().unwrap_or(Secret::Missing),
            secret => secret.clone(),
        }
    }

    /// Whether a login can be tried at all before some client has logged in.
    pub fn complete(&self) -> bool {
        !matches!(self.secret, Secret::Scram(_)) || self.keys.lock().is_some()
    }

    /// The keys for this challenge, or why there are none.
    fn keys_for(&self, iterations: u32, salt: &[u8]) -> Result<Keys, Error> {
        let known = self.keys.lock().clone();
        if let Some(keys) = known.as_ref().filter(|keys| keys.fits(iterations, salt)) {
            return Ok(keys.clone());
        }
        match &self.secret() {
            Secret::Plain(password) => {
                let keys = Keys::derive(password, salt, iterations);
                *self.keys.lock() = Some(keys.clone());
                Ok(keys)
            }
            _ if known.is_some() => Err(refused(
                "the server's SCRAM verifier has another salt or iteration count than the userlist's: give the role the \
                 same verifier (pgweir hash)",
            )),
            Secret::Scram(_) => Err(refused("wrong password type: a SCRAM verifier logs in only after its client did")),
            _ => Err(refused("wrong password type: the server asks for SCRAM")),
        }
    }
}

/// Everything that one login needs.
#[derive(Clone)]
pub struct Plan {
    pub route: Route,
    pub database: String,
    pub credentials: Arc<Credentials>,
    /// client_encoding and the like from the database's config.
    pub parameters: Vec<(String, String)>,
    pub connect_query: Option<String>,
    pub node: usize,
    pub max_prepared_statements: usize,
    /// Kept by whoever watches the server.
    pub standing: Arc<Standing>,
}

/// A server, the proof that its login left it clean, and all that it reported, in its order.
pub struct LoggedIn {
    pub server: Server,
    pub settled: Settled,
    pub reported: Vec<(String, String)>,
}

/// Logs in, within server_connect_timeout for each attempt. Dropping it closes the connection.
pub async fn login(plan: &Plan) -> Result<LoggedIn, Error> {
    let mut outcome = Err(refused("no way to connect"));
    for &attempt in plan.route.attempts() {
        let limit = plan.route.global.server_connect_timeout;
        outcome = match tokio::time::timeout(limit, login_once(plan, attempt)).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(Kind::ServerGone, Side::Server).because("connect timeout")),
        };
        match &outcome {
            Ok(_) => break,
            // A server that speaks is asked again only where libpq would: pg_hba may allow the other way.
            Err(error) if error.said.as_ref().is_some_and(|said| said.sqlstate != "28000") => break,
            Err(_) => {}
        }
    }
    outcome
}

async fn login_once(plan: &Plan, attempt: Attempt) -> Result<LoggedIn, Error> {
    let Connected { stream, end_point } = plan.route.connect(attempt).await?;
    let tls = stream.is_tls();
    let mut talk = Talk::new(stream);
    send_startup(plan, &mut talk).await?;
    let binding = end_point.map_or(Binding::None, Binding::EndPoint);
    authenticate(plan, &mut talk, binding, tls).await?;
    let greeting = greet(&mut talk).await?;
    let (mut settled, mut reported) = (greeting.settled, greeting.reported);
    let mut state = ServerState::new(Arc::new(followed(&reported)), plan.max_prepared_statements);
    if let Some(query) = &plan.connect_query {
        settled = connect_query(&mut talk, query, &mut reported).await?;
        state.known = Arc::new(followed(&reported));
    }
    let (stream, ahead) = talk.into_parts();
    if !ahead.is_empty() {
        return Err(Error::desync("data after the login's ReadyForQuery"));
    }
    let server = Server {
        stream,
        state,
        gate: Arc::new(Gate::new(plan.route.clone(), greeting.pid, &greeting.secret, Arc::clone(&plan.standing))),
        node: plan.node,
        home: home::here(),
        born: Instant::now(),
        cancel_wait: plan.route.global.cancel_wait_timeout,
        enrolled: None,
    };
    Ok(LoggedIn { server, settled, reported })
}

async fn send_startup(plan: &Plan, talk: &mut Talk) -> Result<(), Error> {
    let own = [("user", plan.credentials.user.as_str()), ("database", plan.database.as_str())];
    let extra = plan.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    encode::startup(&mut talk.out, startup::V3_2, own.into_iter().chain(extra));
    talk.flush().await.map_err(lost)
}

async fn authenticate(plan: &Plan, talk: &mut Talk, binding: Binding, tls: bool) -> Result<(), Error> {
    loop {
        let message = next(talk).await?;
        if message.tag == back::NEGOTIATE_PROTOCOL {
            continue;
        }
        match request(&message)? {
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => {
                let Secret::Plain(password) = plan.credentials.secret() else {
                    return Err(refused("wrong password type: the server asks for a plain password"));
                };
                encode::password(&mut talk.out, password.as_bytes());
                talk.flush().await.map_err(lost)?;
            }
            Authentication::Md5Password { salt } => {
                let hash = match &plan.credentials.secret() {
                    Secret::Plain(password) => md5::hash(&plan.credentials.user, password),
                    Secret::Md5(hash) => *hash,
                    _ => return Err(refused("wrong password type: the server asks for md5")),
                };
                encode::password(&mut talk.out, &md5::response(&hash, salt));
                talk.flush().await.map_err(lost)?;
            }
            Authentication::Sasl { mechanisms } => {
                sasl(plan, talk, mechanisms, binding.clone(), tls).await?;
            }
            other => return Err(refused(&format!("unsupported authentication request: {other:?}"))),
        }
    }
}

/// SCRAM to its end, AuthenticationSASLFinal included; AuthenticationOk follows.
async fn sasl(plan: &Plan, talk: &mut Talk, mechanisms: &[u8], binding: Binding, tls: bool) -> Result<(), Error> {
    let offered: Vec<&str> = mechanisms.split(|b| *b == 0).filter_map(|name| std::str::from_utf8(name).ok()).collect();
    let offered: Vec<&str> = offered.into_iter().filter(|name| !name.is_empty()).collect();
    let (first, mechanism, data) = scram::client_start(&offered, binding, tls, &nonce()).map_err(unproven)?;
    encode::sasl_initial(&mut talk.out, mechanism, &data);
    talk.flush().await.map_err(lost)?;

    let message = next(talk).await?;
    let Authentication::SaslContinue { data } = request(&message)? else {
        return Err(Error::desync("no AuthenticationSASLContinue"));
    };
    let challenged = first.challenge(data).map_err(unproven)?;
    let keys = plan.credentials.keys_for(challenged.iterations(), challenged.salt())?;
    let (answered, data) = challenged.answer(&keys).map_err(unproven)?;
    encode::raw(&mut talk.out, crate::wire::front::PASSWORD, &data);
    talk.flush().await.map_err(lost)?;

    let message = next(talk).await?;
    let Authentication::SaslFinal { data } = request(&message)? else {
        return Err(Error::desync("no AuthenticationSASLFinal"));
    };
    answered.verify(data).map_err(unproven)
}

/// What follows AuthenticationOk.
struct Greeting {
    pid: i32,
    secret: Vec<u8>,
    reported: Vec<(String, String)>,
    settled: Settled,
}

async fn greet(talk: &mut Talk) -> Result<Greeting, Error> {
    let (mut pid, mut secret, mut reported) = (0, Vec::new(), Vec::new());
    loop {
        let message = next(talk).await?;
        match message.tag {
            back::PARAMETER_STATUS => note(&mut reported, &message)?,
            back::BACKEND_KEY_DATA => {
                let (id, key) = backend::backend_key_data(&message.body).map_err(|bad| Error::desync(bad.0))?;
                (pid, secret) = (id, key.to_vec());
            }
            back::READY_FOR_QUERY => {
                let status = backend::ready_for_query(&message.body).map_err(|bad| Error::desync(bad.0))?;
                let settled = Settled::after(status).ok_or_else(|| Error::desync("a login inside a transaction"))?;
                return Ok(Greeting { pid, secret, reported, settled });
            }
            _ => {}
        }
    }
}

/// One more parameter, or another value of one.
fn note(reported: &mut Vec<(String, String)>, message: &Message) -> Result<(), Error> {
    let (name, value) = backend::parameter_status(&message.body).map_err(|bad| Error::desync(bad.0))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reported.iter_mut().find(|(known, _)| known.as_bytes() == name) {
        Some((_, known)) => *known = text(value),
        None => reported.push((text(name), text(value))),
    }
    Ok(())
}

/// Runs once on each new connection; an error closes it. What it sets is what clients find.
async fn connect_query(talk: &mut Talk, query: &str, reported: &mut Vec<(String, String)>) -> Result<Settled, Error> {
    encode::query(&mut talk.out, query.as_bytes());
    talk.flush().await.map_err(lost)?;
    loop {
        let message = next(talk).await?;
        match message.tag {
            back::PARAMETER_STATUS => note(reported, &message)?,
            back::READY_FOR_QUERY => {
                let status = backend::ready_for_query(&message.body).map_err(|bad| Error::desync(bad.0))?;
                return Settled::after(status).ok_or_else(|| refused("connect_query left a transaction open"));
            }
            _ => {}
        }
    }
}

/// The next message that is no Notice; an ErrorResponse is an error that carries the server's code and text.
async fn next(talk: &mut Talk) -> Result<Message, Error> {
    loop {
        let message = talk.message(frame::LOGIN_LIMIT).await.map_err(|fault| match fault {
            Fault::Io(error) => lost(error),
            Fault::Malformed(what) => Error::desync(what.0),
        })?;
        match message.tag {
            back::NOTICE => {}
            back::ERROR => {
                let text = String::from_utf8_lossy(backend::field(&message.body, b'M').unwrap_or_default());
                let sqlstate = String::from_utf8_lossy(backend::sqlstate(&message.body));
                return Err(Error::new(Kind::ServerLogin, Side::Server).said(&sqlstate, &text));
            }
            _ => return Ok(message),
        }
    }
}

fn request(message: &Message) -> Result<Authentication<'_>, Error> {
    if message.tag != back::AUTHENTICATION {
        return Err(Error::desync("no Authentication message"));
    }
    backend::authentication(&message.body).map_err(|bad| Error::desync(bad.0))
}

/// The reported parameters that follow clients.
pub fn followed(reported: &[(String, String)]) -> Settings {
    let mut all = Settings::default();
    for (name, value) in reported {
        if let Some(name) = settings::followed(name) {
            all.set(name, value);
        }
    }
    all
}

/// 18 random bytes, as PostgreSQL takes, in base64.
pub fn nonce() -> String {
    use base64::Engine;
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has booted");
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn lost(error: std::io::Error) -> Error {
    Error::new(Kind::ServerGone, Side::Server).because(error)
}

fn refused(why: &str) -> Error {
    Error::new(Kind::ServerLogin, Side::Server).about(why)
}

fn unproven(refusal: crate::auth::Refusal) -> Error {
    refused(&refusal.to_string())
}
