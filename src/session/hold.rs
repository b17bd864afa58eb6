//! [pure] A standby's first bytes, before any of them is shown: whether they may go on, or the batch runs elsewhere.
//!
//! PostgreSQL sends an answer in pieces of 8 kB, or at ReadyForQuery: an error stands in the same piece as what
//! came before it, for small answers. So holding back costs no time (ROUTING.md A2).

use std::ops::Range;

use crate::wire::backend::{self, TxStatus};
use crate::wire::{back, frame};

/// So much of an answer is held back at most: PostgreSQL's own send buffer.
pub const HOLD: usize = 8 << 10;

/// What the first bytes of an answer say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Too little is there.
    Wait,
    /// No error: they may be shown.
    Good,
    /// An error before anything else was shown. `error`: its body in the bytes. `ready`: how the server stands behind it,
    /// once its ReadyForQuery is there and nothing behind that.
    Refused { error: Range<usize>, ready: Option<TxStatus> },
}

/// Looks at the answer of one batch, from its first byte on.
pub fn first(bytes: &[u8]) -> First {
    let mut at = 0;
    let mut error = None;
    while let Some(rest) = bytes.get(at..) {
        let Ok(Some(header)) = frame::scan(rest, frame::MESSAGE_LIMIT) else { break };
        let Some(body) = rest.get(frame::HEADER..header.len) else { break };
        let end = at + header.len;
        match header.tag {
            back::ERROR if error.is_none() => error = Some(at + frame::HEADER..end),
            // The server is going, and says so in a Notice (57P01, 57P02): its end follows.
            back::NOTICE if error.is_none() && backend::sqlstate(body).starts_with(b"57P") => {
                error = Some(at + frame::HEADER..end);
            }
            back::READY_FOR_QUERY => {
                let Some(error) = error else { return First::Good };
                let ready = backend::ready_for_query(body).ok().filter(|_| end == bytes.len());
                return First::Refused { error, ready };
            }
            _ => {}
        }
        at = end;
    }
    match error {
        // A FATAL has no ReadyForQuery behind it.
        Some(error) if is_fatal(bytes.get(error.clone()).unwrap_or_default()) => First::Refused { error, ready: None },
        Some(_) => First::Wait,
        None if bytes.len() >= HOLD => First::Good,
        None => First::Wait,
    }
}

/// What stands in front of an answer of which nothing needs to be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// An error or notice that is not all there.
    More,
    /// The server ends the connection: it has answered nothing.
    Farewell,
    Answer,
}

/// Looks at the message in front.
pub fn opening(bytes: &[u8]) -> Opening {
    let Ok(Some(header)) = frame::scan(bytes, frame::MESSAGE_LIMIT) else { return Opening::More };
    match (header.tag, bytes.get(frame::HEADER..header.len)) {
        (back::ERROR | back::NOTICE, Some(body)) if backend::is_farewell(body) => Opening::Farewell,
        (back::ERROR | back::NOTICE, None) if bytes.len() < HOLD => Opening::More,
        _ => Opening::Answer,
    }
}

/// The tag of the message in front, if all of it is there.
pub fn next(bytes: &[u8]) -> Option<u8> {
    let header = frame::scan(bytes, frame::MESSAGE_LIMIT).ok()??;
    (header.len <= bytes.len()).then_some(header.tag)
}

fn is_fatal(error: &[u8]) -> bool {
    matches!(backend::field(error, b'V'), Some(b"FATAL" | b"PANIC")) || backend::sqlstate(error).starts_with(b"57P")
}

/// What a standby's error says about the text that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's own limit or cancel: it goes to the client, since a re-run would double the limit.
    Final,
    /// It runs on the primary; the text is not to be tried on a standby again for a while.
    Text,
    /// It runs on the primary; another time a standby may answer.
    Moment,
}

/// Judges an ErrorResponse's body (ROUTING.md A5).
pub fn judge(error: &[u8]) -> Refusal {
    let says = |what: &[u8]| {
        let text = backend::field(error, b'M').unwrap_or_default();
        memchr::memmem::find(text, what).is_some()
    };
    match backend::sqlstate(error) {
        b"57014" => Refusal::Final,
        b"25006" => Refusal::Text,
        b"0A000" if says(b"unlogged") || says(b"temporary") || says(b"serializable") || says(b"recovery") => {
            Refusal::Text
        }
        b"55000" if says(b"recovery") => Refusal::Text,
        b"XX000" if says(b"during recovery") => Refusal::Text,
        _ => Refusal::Moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    fn error(code: &[u8], text: &[u8], severity: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::error_fields(&mut out, severity, code, text);
        out
    }

    fn ready(status: TxStatus) -> Vec<u8> {
        let mut out = Vec::new();
        encode::ready_for_query(&mut out, status);
        out
    }

    #[test]
    fn an_answer_goes_on_at_its_end_or_at_eight_kilobytes() {
        let mut row = vec![back::DATA_ROW];
        row.extend(4004_u32.to_be_bytes());
        row.resize(4005, 0);
        assert_eq!(first(&[]), First::Wait);
        assert_eq!(first(&row), First::Wait);
        assert_eq!(first(&[&row[..], &ready(TxStatus::Idle)].concat()), First::Good);
        assert_eq!(first(&row.repeat(3)), First::Good);
    }

    #[test]
    fn an_error_refuses_wherever_it_stands_and_waits_for_its_ready() {
        let complete = b"C\0\0\0\x0bSELECT\0".to_vec();
        let e = error(b"25006", b"cannot execute INSERT in a read-only transaction", b"ERROR");
        let at = complete.len() + frame::HEADER..complete.len() + e.len();
        let begun = [&complete[..], &e].concat();
        assert_eq!(first(&begun), First::Wait);
        let whole = [&begun[..], &ready(TxStatus::Failed)].concat();
        assert_eq!(first(&whole), First::Refused { error: at.clone(), ready: Some(TxStatus::Failed) });
        let more = [&whole[..], b"N"].concat();
        assert_eq!(first(&more), First::Refused { error: at, ready: None });
        let fatal = error(b"57P01", b"terminating connection", b"FATAL");
        assert_eq!(first(&fatal), First::Refused { error: frame::HEADER..fatal.len(), ready: None });
    }

    #[test]
    fn only_what_speaks_of_the_text_is_remembered() {
        let of = |code: &[u8], text: &[u8]| judge(&error(code, text, b"ERROR")[frame::HEADER..]);
        assert_eq!(of(b"25006", b"x"), Refusal::Text);
        assert_eq!(of(b"57014", b"canceling statement due to statement timeout"), Refusal::Final);
        assert_eq!(of(b"55000", b"recovery is in progress"), Refusal::Text);
        assert_eq!(of(b"XX000", b"cannot assign OIDs during recovery"), Refusal::Text);
        assert_eq!(of(b"0A000", b"cannot access temporary or unlogged relations during recovery"), Refusal::Text);
        for (code, text) in [(&b"0A000"[..], &b"cached plan must not change result type"[..]), (b"40001", b"x")] {
            assert_eq!(of(code, text), Refusal::Moment);
        }
        assert_eq!(of(b"42P01", b"relation \"x\" does not exist"), Refusal::Moment);
    }
}
