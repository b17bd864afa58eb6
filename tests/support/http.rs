//! The operator's port, asked as Prometheus and a browser ask it.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Proxy, soon};

/// Of `[pgweir]`: a port that the kernel chooses.
pub const LISTEN: &str = "http_listen = \"127.0.0.1:0\"";

/// An answer: the status, the head's lines, and the body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Where it listens, by the log.
pub async fn address(proxy: &Proxy) -> String {
    proxy.wait_for_log("for HTTP").await;
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("for HTTP")).expect("the line");
    line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect("an address").to_owned()
}

/// Sends these bytes and reads to the connection's end.
pub async fn exchange(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address(proxy).await).await.expect("it listens");
    socket.write_all(bytes).await.expect("it reads");
    let mut answer = Vec::new();
    // Whoever sends too much may be reset.
    let _ = soon("the answer", socket.read_to_end(&mut answer)).await;
    String::from_utf8(answer).expect("text")
}

pub async fn ask(proxy: &Proxy, method: &str, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: pgweir\r\nConnection: close\r\n\r\n");
    let text = exchange(proxy, request.as_bytes()).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub async fn get(proxy: &Proxy, path: &str) -> String {
    let answer = ask(proxy, "GET", path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

/// Every sample of /metrics by its name and labels.
pub async fn metrics(proxy: &Proxy) -> BTreeMap<String, f64> {
    let text = get(proxy, "/metrics").await;
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("a number: {line}")))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}
