//! The console: a database of the proxy's own, where an operator looks and gives commands.
//!
//! It speaks both the simple and the extended protocol, so that any driver may ask. What is typed is read in `command`,
//! the tables are in `tables` and `show`, what a command does is in `act`. Consoles are apart from clients: one that
//! waits (PAUSE, WAIT_CLOSE) holds up nobody, and a shutdown does not wait for them.

use std::future::poll_fn;
use std::task::Poll;

mod act;
mod command;
mod extended;
mod rows;
mod show;
mod tables;

use crate::client::entry::{Entry, State};
use crate::client::operator::{Operator, Rights};
use crate::error::{Error, Kind, Side};
use crate::net::talk::{Fault, Message};
use crate::wire::backend::TxStatus;
use crate::wire::{encode, front, frontend};
use command::{Command, Constant};
use extended::{Answer, Extended};
use rows::Table;

/// The largest message: commands are short.
const LIMIT: usize = 64 << 10;

/// How an exchange goes on.
enum Turn {
    Next,
    Quit,
}

/// One console.
struct Console {
    operator: Box<Operator>,
    extended: Extended,
    /// An error voids what follows to Sync.
    voids: bool,
    /// BEGIN was said.
    in_block: bool,
}

/// Until the operator leaves, or the process ends.
pub async fn run(operator: Box<Operator>) {
    let Operator { id, user, address, rights, .. } = &*operator;
    tracing::info!(client = id, user, address, ?rights, "console opened");
    let mut console = Console { operator, extended: Extended::default(), voids: false, in_block: false };
    let reason = match console.live().await {
        Ok(()) => "client close request".to_owned(),
        Err(error) => {
            console.say_last(&error).await;
            error.to_string()
        }
    };
    let Operator { id, user, .. } = &*console.operator;
    tracing::info!(client = id, user, "console closed: {reason}");
}

impl Console {
    async fn live(&mut self) -> Result<(), Error> {
        loop {
            self.flush().await?;
            self.operator.entry.enter(State::Idle);
            let entry = &self.operator.entry;
            let message = tokio::select! {
                biased;
                error = ended(entry) => return Err(error),
                message = self.operator.talk.message(LIMIT) => message.map_err(broken)?,
            };
            self.operator.entry.enter(State::Active);
            match self.hear(&message).await? {
                Turn::Next => {}
                Turn::Quit => return Ok(()),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.operator.talk.flush().await.map_err(|error| broken(Fault::Io(error)))
    }

    /// The last words, as far as somebody listens.
    async fn say_last(&mut self, error: &Error) {
        if error.kind != Kind::ClientGone {
            encode::error(&mut self.operator.talk.out, error);
            let _ = self.operator.talk.flush().await;
        }
    }

    /// Answers one message into `talk.out`. An error is the connection's end.
    async fn hear(&mut self, message: &Message) -> Result<Turn, Error> {
        match message.tag {
            front::TERMINATE => return Ok(Turn::Quit),
            front::SYNC => {
                self.voids = false;
                self.ready();
            }
            _ if self.voids => {}
            front::QUERY => {
                let text = frontend::query(&message.body).ok_or_else(|| Error::protocol("broken Query packet"))?;
                if let Err(error) = self.query(text).await {
                    self.refuse(error)?;
                }
                self.ready();
            }
            front::FLUSH => {}
            front::EXECUTE => {
                if let Err(error) = self.execute(&message.body).await {
                    self.voids = true;
                    self.refuse(error)?;
                }
            }
            tag => {
                if let Err(error) = self.extended.take(tag, &message.body, &mut self.operator.talk.out) {
                    self.voids = true;
                    self.refuse(error)?;
                }
            }
        }
        Ok(Turn::Next)
    }

    fn refuse(&mut self, error: Error) -> Result<(), Error> {
        if error.kind.fatal() {
            return Err(error);
        }
        let Operator { id, user, .. } = &*self.operator;
        tracing::warn!(client = id, user, "console: {error}");
        encode::error(&mut self.operator.talk.out, &error);
        Ok(())
    }

    fn ready(&mut self) {
        if !self.in_block {
            self.extended.end();
        }
        let status = if self.in_block { TxStatus::InBlock } else { TxStatus::Idle };
        encode::ready_for_query(&mut self.operator.talk.out, status);
    }

    /// One simple query: its statements in turn, up to the first error.
    async fn query(&mut self, text: &[u8]) -> Result<(), Error> {
        let text = std::str::from_utf8(text).map_err(|_| extended::not_utf8())?;
        let statements = command::statements(text);
        if statements.is_empty() {
            encode::empty_query(&mut self.operator.talk.out);
        }
        for statement in statements {
            let answer = self.answer(command::parse(statement)?).await?;
            extended::write(&mut self.operator.talk.out, &answer);
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), Error> {
        let (portal, rows) = self.extended.portal(body)?;
        if portal.answer.is_none() {
            let Some(command) = portal.command.clone() else {
                encode::empty_query(&mut self.operator.talk.out);
                return Ok(());
            };
            let answer = self.answer(command).await?;
            self.extended.portal(body)?.0.answer = Some(answer);
        }
        let (portal, _) = self.extended.portal(body)?;
        portal.send(rows, &mut self.operator.talk.out);
        Ok(())
    }

    /// Does what is asked.
    async fn answer(&mut self, command: Command) -> Result<Answer, Error> {
        match command {
            Command::Block { open, tag } => {
                self.in_block = open;
                Ok(Answer::tag(tag))
            }
            Command::Ignored(tag) => Ok(Answer::tag(tag)),
            Command::Constant(Constant { column, value, tag }) => {
                let table = Table { columns: vec![column], rows: vec![vec![value]] };
                Ok(Answer { table: Some(table), ..Answer::tag(tag) })
            }
            Command::Show(table) if table.is_for_stats() || self.operator.rights == Rights::Admin => {
                Ok(show::answer(&self.operator.house, table))
            }
            Command::Set { key, .. } if command::is_pretended(&key) => {
                Ok(Answer { notice: Some(("SET ignored", String::new())), ..Answer::tag("SET") })
            }
            Command::Act(_) | Command::Set { .. } | Command::Show(_) if self.operator.rights != Rights::Admin => {
                Err(Error::new(Kind::ConsoleRights, Side::Client))
            }
            Command::Set { key, value } => act::set(&self.operator.house, key, value).await,
            Command::Act(action) => {
                self.flush().await?;
                act::act(&mut self.operator, &action).await
            }
            Command::Show(_) => Err(Error::new(Kind::ConsoleRights, Side::Client)),
        }
    }
}

/// Ends when the process stops, or somebody ends this console. Cancel-safe.
async fn ended(entry: &Entry) -> Error {
    let kind = poll_fn(|cx| {
        entry.run_by(cx.waker());
        if entry.is_stopping() { Poll::Ready(entry.farewell()) } else { Poll::Pending }
    });
    Error::new(kind.await, Side::Proxy)
}

fn broken(fault: Fault) -> Error {
    match fault {
        Fault::Io(error) => Error::new(Kind::ClientGone, Side::Client).because(error),
        Fault::Malformed(what) => Error::protocol(what.0),
    }
}
