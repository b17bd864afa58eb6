//! What is done with a server whose client left: rolled back or reset, and kept only if that ends clean.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::net::stream::Stream;
use crate::net::talk::Talk;
use crate::pool::Lease;
use crate::session::ledger::Settled;
use crate::wire::backend::TxStatus;
use crate::wire::{back, backend, encode, frame};

/// A clean-up that takes longer closes the server.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs these queries, one after the other, on a server that owes nothing, then returns it to its pool. Any error
/// closes it.
pub async fn run(mut lease: Lease<Server>, queries: Vec<String>) {
    let mut proof = None;
    lease.gate.note_cleaning(true);
    for text in queries {
        match tokio::time::timeout(LIMIT, converse(&mut lease, &text)).await {
            Ok(Some(settled)) => proof = Some(settled),
            _ => return,
        }
    }
    lease.gate.note_cleaning(false);
    if let Some(settled) = proof {
        lease.release(settled);
    }
}

/// The proof, if the Query ended without an error and outside a transaction.
async fn converse(server: &mut Server, text: &str) -> Option<Settled> {
    let mut talk = Talk::new(borrowed(server)?);
    encode::query(&mut talk.out, text.as_bytes());
    let outcome = finish(&mut talk, server, resets_all(text)).await;
    let (stream, ahead) = talk.into_parts();
    server.stream = stream;
    outcome.filter(|_| ahead.is_empty())
}

/// Whether one of its statements is RESET ALL, whose tag says RESET only.
fn resets_all(text: &str) -> bool {
    let words = |statement: &str| statement.split_whitespace().map(str::to_ascii_uppercase).collect::<Vec<_>>();
    text.split(';').any(|statement| words(statement) == ["RESET", "ALL"])
}

async fn finish(talk: &mut Talk, server: &mut Server, resets_all: bool) -> Option<Settled> {
    talk.flush().await.ok()?;
    loop {
        let message = talk.message(frame::LOGIN_LIMIT).await.ok()?;
        match message.tag {
            back::ERROR => return None,
            back::COMMAND_COMPLETE => {
                let tag = message.body.strip_suffix(b"\0").unwrap_or(&message.body);
                if matches!(tag, b"DISCARD ALL" | b"DEALLOCATE ALL") {
                    server.state.parsed.clear();
                }
                if tag == b"DISCARD ALL" || (tag == b"RESET" && resets_all) {
                    server.state.known = Arc::clone(&server.state.base);
                }
            }
            // A rolled-back SET is reported.
            back::PARAMETER_STATUS => server.note_parameter(&message.body),
            back::READY_FOR_QUERY => {
                let status: TxStatus = backend::ready_for_query(&message.body).ok()?;
                return Settled::after(status);
            }
            _ => {}
        }
    }
}

/// The stream, taken out of the server for the conversation. If that is cut short the server is left with a closed
/// one, and its lease closes it.
pub fn borrowed(server: &mut Server) -> Option<Stream> {
    let (closed, _) = tokio::net::UnixStream::pair().ok()?;
    Some(std::mem::replace(&mut server.stream, Stream::Unix(closed)))
}
