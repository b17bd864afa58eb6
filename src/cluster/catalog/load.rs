//! The conversation that reads a database's sets: a login of its own, the stamp, and the rows.

use std::time::Duration;

use crate::net::parting;
use crate::net::talk::Talk;
use crate::server::login::{self, Plan};
use crate::sql::catalog::{Class, Edge, HardOff, Object, Rows};
use crate::sql::hidden::{By, Trace};
use crate::wire::{back, backend, encode, frame};

/// Names are compared as the bytes that the database has; the operators of the questions are PostgreSQL's own; and no
/// timeout or planner setting of the role's gets in between.
const PREPARE: &str = "SET search_path = pg_catalog, pg_temp; SET client_encoding = 'SQL_ASCII'; SET jit = off; \
    SET statement_timeout = '60s'; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'";
const STAMP: &str = include_str!("stamp.sql");
const LOAD: &str = include_str!("load.sql");
const HIDDEN: &str = include_str!("hidden.sql");
/// A standby may be behind its primary, and what it lacks could be unsafe.
const IS_STANDBY: &str = "SELECT 'y', pg_catalog.pg_is_in_recovery()::pg_catalog.text, '', '', ''";

/// How long a login or a look at the stamp may take; also how long a change made past the proxy may go unseen.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// Why there are no sets: a stable label, and what to tell the operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) label: &'static str,
    pub(super) detail: String,
}

impl Cause {
    pub(super) fn new(label: &'static str, detail: impl ToString) -> Cause {
        Cause { label, detail: detail.to_string() }
    }
}

/// What the rows of users hashed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<u8>);

/// A connection to the primary. After an error it must be dropped: it may be in the middle of an answer.
pub(super) struct Link {
    talk: Talk,
    /// Nothing is asked that was not answered.
    quiet: bool,
    pub(super) node: usize,
}

impl Link {
    pub(super) async fn open(plan: &Plan) -> Result<Link, Cause> {
        let logged_in = within(LOOK_LIMIT, login::login(plan)).await?;
        let stream = logged_in.map_err(|error| Cause::new("login", error))?.server.stream;
        let mut link = Link { talk: Talk::new(stream), quiet: true, node: plan.node };
        within(LOOK_LIMIT, link.ask(PREPARE, |_| Some(()))).await??;
        Ok(link)
    }

    pub(super) async fn stamp(&mut self) -> Result<Stamp, Cause> {
        let mut answer = Answer::default();
        let question = format!("{IS_STANDBY}; {STAMP}");
        within(LOOK_LIMIT, self.ask(&question, |row| answer.take(row))).await??;
        answer.stamp()
    }

    /// Stamp and rows of one snapshot. `bodies`: with what functions leave in a session.
    pub(super) async fn load(&mut self, bodies: bool) -> Result<(Stamp, Rows), Cause> {
        let mut answer = Answer::default();
        let hidden = if bodies { HIDDEN } else { "" };
        let question = format!("BEGIN; {IS_STANDBY}; {STAMP}; {LOAD}; {hidden}; COMMIT");
        within(LOAD_LIMIT, self.ask(&question, |row| answer.take(row))).await??;
        Ok((answer.stamp()?, answer.rows))
    }

    async fn ask(&mut self, question: &str, mut row: impl FnMut(&[u8]) -> Option<()>) -> Result<(), Cause> {
        self.quiet = false;
        encode::query(&mut self.talk.out, question.as_bytes());
        self.talk.flush().await.map_err(|error| Cause::new("connection", error))?;
        loop {
            let message = self.talk.message(frame::LOGIN_LIMIT).await;
            let message = message.map_err(|fault| Cause::new("connection", fault))?;
            match message.tag {
                back::DATA_ROW => row(&message.body).ok_or_else(|| Cause::new("answer", "a row of another shape"))?,
                back::READY_FOR_QUERY => {
                    self.quiet = true;
                    return Ok(());
                }
                back::ERROR => {
                    let text = backend::field(&message.body, b'M').unwrap_or_default();
                    return Err(Cause::new("query", String::from_utf8_lossy(text)));
                }
                _ => {}
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.quiet {
            parting::part(&mut self.talk.stream);
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Cause> {
    tokio::time::timeout(limit, work).await.map_err(|_| Cause::new("timeout", format!("no answer within {limit:?}")))
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    rows: Rows,
    stamp: Option<Stamp>,
    primary: bool,
}

impl Answer {
    fn stamp(&mut self) -> Result<Stamp, Cause> {
        if !self.primary {
            return Err(Cause::new("no_primary", "the server is in recovery"));
        }
        self.stamp.take().ok_or_else(|| Cause::new("answer", "no stamp"))
    }

    /// One DataRow of five columns. `None`: it is none that was asked for.
    fn take(&mut self, body: &[u8]) -> Option<()> {
        match columns(body)? {
            [b"o", class, oid, name, flags] => self.rows.objects.push(Object {
                class: self::class(class)?,
                oid: number(oid)?,
                name: name.to_vec(),
                suspect: flags.contains(&b's'),
                builtin: flags.contains(&b'b'),
                unary: flags.contains(&b'u'),
            }),
            [b"e", class, oid, other_class, other] => self.rows.edges.push(Edge {
                from: (self::class(class)?, number(oid)?),
                to: (self::class(other_class)?, number(other)?),
            }),
            [b"x", kind, name, letters, _] => {
                self.rows.hidden.push(Trace { by: by(kind)?, name: name.to_vec(), letters: letters.to_vec() });
            }
            [b"h", label, ..] => self.rows.hard_off = Some(hard_off(label)?),
            [b"s", count, sum, ..] => self.stamp = Some(Stamp([count, b" ", sum].concat())),
            [b"y", standby, ..] => self.primary = standby == b"false",
            _ => return None,
        }
        Some(())
    }
}

/// The five values of a DataRow; NULL is empty.
fn columns(body: &[u8]) -> Option<[&[u8]; 5]> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    if u16::from_be_bytes(*count) != 5 {
        return None;
    }
    let mut values = [&b""[..]; 5];
    for value in &mut values {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*len);
        let len = if len == u32::MAX { 0 } else { usize::try_from(len).ok()? };
        (*value, rest) = after.split_at_checked(len)?;
    }
    rest.is_empty().then_some(values)
}

fn class(letter: &[u8]) -> Option<Class> {
    Some(match letter {
        b"f" => Class::Function,
        b"o" => Class::Operator,
        b"r" => Class::Relation,
        b"t" => Class::Type,
        _ => return None,
    })
}

fn by(letter: &[u8]) -> Option<By> {
    Some(match letter {
        b"f" => By::Call,
        b"r" => By::Use,
        b"w" => By::Write,
        _ => return None,
    })
}

fn hard_off(label: &[u8]) -> Option<HardOff> {
    [HardOff::VolatileCast, HardOff::VolatileSupport, HardOff::VolatileType]
        .into_iter()
        .find(|reason| reason.label().as_bytes() == label)
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).expect("few").to_be_bytes().to_vec();
        for value in values {
            body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
            body.extend(value.as_bytes());
        }
        body
    }

    #[test]
    fn rows_are_read_and_others_refused() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(&row(&["y", "false", "", "", ""])), Some(()));
        assert_eq!(answer.stamp().map_err(|cause| cause.label), Err("answer"));
        assert_eq!(answer.take(&row(&["s", "3", "17", "", ""])), Some(()));
        assert_eq!(answer.stamp(), Ok(Stamp(b"3 17".to_vec())));
        assert_eq!(answer.take(&row(&["o", "f", "1", "f", "su"])), Some(()));
        assert_eq!(answer.take(&row(&["e", "r", "2", "f", "1"])), Some(()));
        assert_eq!(answer.take(&row(&["h", "volatile_cast", "", "", ""])), Some(()));
        assert_eq!(answer.take(&row(&["x", "f", "locks", "a", ""])), Some(()));
        assert_eq!(answer.rows.hidden, [Trace { by: By::Call, name: b"locks".to_vec(), letters: b"a".to_vec() }]);
        let (one, uses) = (&answer.rows.objects[0], &answer.rows.edges[0]);
        assert!(one.suspect && one.unary && !one.builtin);
        assert_eq!((uses.from, uses.to), ((Class::Relation, 2), (Class::Function, 1)));
        assert_eq!(answer.rows.hard_off, Some(HardOff::VolatileCast));
        for wrong in [
            &["x", "", "", "", ""][..],
            &["o", "x", "1", "f", ""],
            &["o", "f", "-1", "f", ""],
            &["e", "f", "1", "f", "x"],
            &["h", "another", "", "", ""],
            &["s", "3", "17"],
            &["x", "o", "locks", "a", ""],
        ] {
            assert_eq!(answer.take(&row(wrong)), None, "{wrong:?}");
        }
        let whole = row(&["y", "true", "", "", ""]);
        for len in 0..whole.len() {
            assert_eq!(answer.take(&whole[..len]), None);
        }
        assert_eq!(answer.take(&whole), Some(()));
        assert_eq!(answer.stamp().map_err(|cause| cause.label), Err("no_primary"));
    }
}
