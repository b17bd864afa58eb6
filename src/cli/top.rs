//! `pgweir top`: what the status page shows, in a terminal, read from the operator's port of a running pgweir.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::screen::screen;
use crate::http::{STEP, status::Status};

/// For the connection, and for each read of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any answer: its pools, servers and samples are bounded.
const ANSWER_LIMIT: u64 = 64 << 20;

/// To the top left, and what was there is cleared.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows it again and again until it is interrupted; once where nobody watches, or where that is asked for.
pub fn top(address: &str, once: bool) -> Result<(), String> {
    let mut out = io::stdout();
    let watched = out.is_terminal() && !once;
    loop {
        let text = match look(address) {
            Ok(status) => screen(&status),
            // It may be restarting.
            Err(why) if watched => format!("{why}\n"),
            Err(why) => return Err(why),
        };
        let clear = if watched { CLEAR } else { "" };
        let written = write!(out, "{clear}{text}").and_then(|()| out.flush());
        written.map_err(|error| error.to_string())?;
        if !watched {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
}

/// One answer to GET /status.json.
fn look(address: &str) -> Result<Status, String> {
    let failed = |error: io::Error| format!("no status from {address} (http_listen): {error}");
    let text = get(address, "/status.json").map_err(failed)?;
    let body = text.split_once("\r\n\r\n").filter(|(head, _)| head.contains(" 200 ")).map(|(_, body)| body);
    let body =
        body.ok_or_else(|| format!("{address} is no pgweir's http_listen: {}", text.lines().next().unwrap_or("")))?;
    serde_json::from_str(body)
        .map_err(|error| format!("{address} gives another status than this program reads: {error}"))
}

fn get(address: &str, path: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(socket) => return ask(socket, address, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// HTTP/1.0: the answer ends with the connection, and comes in one piece.
fn ask(mut socket: TcpStream, host: &str, path: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut text = String::new();
    socket.take(ANSWER_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}
