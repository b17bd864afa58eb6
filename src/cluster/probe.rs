//! Asking one server for its role, over a connection of its own that stays open.

use std::sync::Weak;
use std::time::Duration;

use super::Cluster;
use super::decide::Seen;
use crate::error::Error;
use crate::net::talk::Talk;
use crate::server::login::{self, Plan};
use crate::wire::{back, encode, frame};

const QUESTION: &[u8] = b"select pg_catalog.pg_is_in_recovery()";

/// Looks at one node until its cluster is gone. Each look has a deadline; a failed one closes the connection.
pub async fn watch(cluster: Weak<Cluster>, plan: Plan, interval: Duration, timeout: Duration) {
    let mut talk: Option<Talk> = None;
    loop {
        let seen = match tokio::time::timeout(timeout, look(&mut talk, &plan)).await {
            Ok(Ok(in_recovery)) => Seen::InRecovery(in_recovery),
            Ok(Err(error)) => {
                tracing::debug!(server = %plan.route.address, "probe failed: {error}");
                talk = None;
                Seen::Failed
            }
            Err(_) => {
                tracing::debug!(server = %plan.route.address, "probe timed out");
                talk = None;
                Seen::Failed
            }
        };
        let Some(cluster) = cluster.upgrade().filter(|cluster| !cluster.is_retired()) else { return };
        cluster.see(plan.node, seen);
        drop(cluster);
        tokio::time::sleep(interval).await;
    }
}

/// Not cancel-safe: a look that is cut short leaves the connection in the middle of an answer, and it must be closed.
async fn look(talk: &mut Option<Talk>, plan: &Plan) -> Result<bool, Error> {
    if talk.is_none() {
        *talk = Some(Talk::new(login::login(plan).await?.server.stream));
    }
    let Some(talk) = talk else { return Err(Error::desync("no connection")) };
    ask(talk, QUESTION).await
}

/// One row with one boolean.
pub async fn ask(talk: &mut Talk, question: &[u8]) -> Result<bool, Error> {
    encode::query(&mut talk.out, question);
    talk.flush().await.map_err(|error| Error::desync(&error.to_string()))?;
    let mut answer = None;
    loop {
        let message = talk.message(frame::LOGIN_LIMIT).await.map_err(|fault| Error::desync(&fault.to_string()))?;
        match (message.tag, &message.body[..]) {
            // One column, one byte: t or f.
            (back::DATA_ROW, [0, 1, 0, 0, 0, 1, value]) => answer = Some(*value == b't'),
            (back::READY_FOR_QUERY, _) => return answer.ok_or_else(|| Error::desync("no row in a probe's answer")),
            (back::ERROR, _) => return Err(Error::desync("an error in a probe's answer")),
            _ => {}
        }
    }
}
