//! The operator's port: `/metrics` for Prometheus, `/healthz` and `/readyz`, the status page and the values behind it.
//!
//! It reads and changes nothing; it shows no secret, no address of a client and no text of a query. Whoever can reach the
//! port may ask, so by default that is this machine alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

mod history;
mod ready;
pub mod status;

use crate::client::House;
use crate::control::Phase;
use crate::stats::{export, machine::Machine};
use history::History;

/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 64;

/// For a request's head, and for a connection as a whole: a scraper's next visit comes by another one.
const HEAD: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(60);

/// How often a port that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// How often a sample is taken for the page; `history::KEPT` of them are kept.
pub const STEP: Duration = Duration::from_secs(2);

const PAGE: &str = include_str!("page.html");

/// The page loads nothing, and talks to nobody but this port.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What all requests share.
struct Site {
    house: Arc<House>,
    history: History,
}

/// The port, from `start` to `close`.
#[derive(Debug)]
pub struct Port(Option<AbortHandle>);

impl Port {
    /// Listens where the config says, if it does. A port that is taken is waited for: clients are served all the same,
    /// and it may be a process that is about to be replaced by this one.
    pub fn open(house: &Arc<House>, listen: Option<&str>) -> Port {
        let open = |listen: &str| tokio::spawn(run(Arc::clone(house), listen.to_owned())).abort_handle();
        Port(listen.map(open))
    }

    /// Another process may have it now. Connections that are open live on.
    pub fn close(&self) {
        if let Some(port) = &self.0 {
            port.abort();
        }
    }
}

async fn run(house: Arc<House>, listen: String) {
    let listener = listener(&listen).await;
    let address = listener.local_addr().map_or(listen, |address| address.to_string());
    tracing::info!("listening on {address} for HTTP");
    let site = Arc::new(Site { house, history: History::default() });
    tokio::join!(sample(&site), serve(&site, listener));
}

/// Tries until it has the port; says once that it has not.
async fn listener(listen: &str) -> TcpListener {
    let address = listen.strip_prefix('*').map_or_else(|| listen.to_owned(), |port| format!("0.0.0.0{port}"));
    let mut told = false;
    loop {
        match TcpListener::bind(&address).await {
            Ok(listener) => return listener,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!("http_listen {listen}: {error}: no metrics and no status page until it is free");
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until the port is closed.
async fn sample(site: &Site) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let house = Arc::clone(&site.house);
        // Among many clients that takes a while: on a thread of its own no client waits for it.
        if let Ok(snapshot) = tokio::task::spawn_blocking(move || house.snapshot()).await {
            site.history.add(&snapshot);
        }
    }
}

async fn serve(site: &Arc<Site>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(site);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LIFE, attend(site, stream)).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One connection to its end. Dropping it closes the socket.
async fn attend(site: Arc<Site>, stream: TcpStream) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (site, method, path) = (Arc::clone(&site), request.method().clone(), request.uri().path().to_owned());
        let answer = tokio::task::spawn_blocking(move || site.answer(&method, &path));
        let failed = |_| plain(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n");
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(failed)) }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    connection.serve_connection(TokioIo::new(stream), answer).await
}

impl Site {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/" => self.page(),
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/metrics" => {
                let text = export::text(&self.house.snapshot(), &Machine::look(), &self.certificates());
                respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            "/readyz" => match self.ready() {
                Ok(()) => plain(StatusCode::OK, "ready\n"),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
            },
            "/status.json" => {
                let snapshot = self.house.snapshot();
                let status = self.history.read(|samples| status::Status::of(&snapshot, self.ready().err(), samples));
                match serde_json::to_string(&status) {
                    Ok(text) => respond(StatusCode::OK, "application/json", text),
                    Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "no status\n"),
                }
            }
            _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz, /readyz, /status.json and /\n"),
        }
    }

    fn page(&self) -> Response<Full<Bytes>> {
        let mut page = respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        page
    }

    fn ready(&self) -> Result<(), String> {
        let running = *self.house.phase.borrow() == Phase::Running;
        ready::judge(running, &self.house.clusters_shown())
    }

    /// Of the certificates that we show, and when each expires.
    fn certificates(&self) -> Vec<(&'static str, SystemTime)> {
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let client = self.house.doors().acceptor.as_ref().map(|acceptor| ("client", time(acceptor.not_after())));
        let server_tls = self.house.backends.ground().server_tls;
        let server = server_tls.and_then(|connector| connector.not_after()).map(|expiry| ("server", time(expiry)));
        client.into_iter().chain(server).collect()
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
