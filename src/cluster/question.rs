//! One question with a parameter, asked of a lent server: for what the proxy itself wants to know.

use super::answer::{self, Row};
use crate::error::{Error, Kind, Side};
use crate::net::talk::Talk;
use crate::server::{Server, cleanup};
use crate::session::ledger::Settled;
use crate::wire::{back, backend, encode, frame};

/// The rows, and the proof that the server owes nothing any more. An ErrorResponse is an error that carries the server's
/// code and text. Not cancel-safe: a server that is left in the middle of an answer is closed.
pub async fn ask(server: &mut Server, text: &str, parameter: &str) -> Result<(Vec<Row>, Settled), Error> {
    let stream = cleanup::borrowed(server).ok_or_else(|| Error::new(Kind::ServerGone, Side::Proxy))?;
    let mut talk = Talk::new(stream);
    encode(&mut talk.out, text, parameter);
    let outcome = read(&mut talk).await;
    let (stream, ahead) = talk.into_parts();
    server.stream = stream;
    match ahead.is_empty() {
        true => outcome,
        false => Err(Error::desync("data behind an answer's ReadyForQuery")),
    }
}

/// Parse, Bind, Execute and Sync of the unnamed statement; the server finds the parameter's type.
fn encode(out: &mut Vec<u8>, text: &str, parameter: &str) {
    encode::parse(out, b"", &[text.as_bytes(), &[0, 0, 0]].concat());
    let length = u32::try_from(parameter.len()).unwrap_or(0).to_be_bytes();
    // No formats: text; one parameter; results as text.
    let rest = [&[0, 0, 0, 1][..], &length, parameter.as_bytes(), &[0, 0]].concat();
    encode::bind_head(out, b"", b"", rest.len());
    out.extend(rest);
    encode::execute(out, b"");
    encode::sync(out);
}

async fn read(talk: &mut Talk) -> Result<(Vec<Row>, Settled), Error> {
    talk.flush().await.map_err(|error| Error::new(Kind::ServerGone, Side::Server).because(error))?;
    let mut outcome = Ok(Vec::new());
    loop {
        let message = talk
            .message(frame::LOGIN_LIMIT)
            .await
            .map_err(|fault| Error::new(Kind::ServerGone, Side::Server).because(fault))?;
        match message.tag {
            back::DATA_ROW => {
                let row = answer::columns(&message.body)?;
                if let Ok(rows) = &mut outcome {
                    rows.push(row);
                }
            }
            back::ERROR => {
                let text = String::from_utf8_lossy(backend::field(&message.body, b'M').unwrap_or_default());
                let sqlstate = String::from_utf8_lossy(backend::sqlstate(&message.body));
                outcome = Err(Error::new(Kind::ServerGone, Side::Server).said(&sqlstate, &text));
            }
            back::READY_FOR_QUERY => {
                let status = backend::ready_for_query(&message.body).map_err(|bad| Error::desync(bad.0))?;
                let settled = Settled::after(status).ok_or_else(|| Error::desync("a question opened a transaction"))?;
                return outcome.map(|rows| (rows, settled));
            }
            _ => {}
        }
    }
}
