//! [pure] The extended protocol at the console: statements and portals, one command each, without parameters.

use std::collections::HashMap;

use super::command::{self, Command};
use super::rows::{self, Column, Row, Table};
use crate::error::{Error, Kind, Side};
use crate::wire::frontend::{self, Named};
use crate::wire::{encode, front};

/// Names that one console may use at a time; a program that needs more is not one for a console.
const NAMES: usize = 1000;

/// What was prepared and bound so far.
#[derive(Debug, Default)]
pub struct Extended {
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
}

/// A bound command, and what is left of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// None: an empty text.
    pub command: Option<Command>,
    pub formats: Vec<u16>,
    pub answer: Option<Answer>,
}

/// What a command led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// A text and its detail.
    pub notice: Option<(&'static str, String)>,
    pub table: Option<Table>,
    pub tag: String,
}

impl Answer {
    pub fn tag(tag: &str) -> Answer {
        Answer { notice: None, table: None, tag: tag.to_owned() }
    }
}

impl Extended {
    /// Answers Parse, Bind, Describe and Close.
    pub fn take(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match tag {
            front::PARSE => self.parse(body, out),
            front::BIND => self.bind(body, out),
            front::DESCRIBE => self.describe(body, out),
            front::CLOSE => self.close(body, out),
            _ => Err(Error::protocol("a message that no console takes")),
        }
    }

    /// The portal of an Execute, and how many rows it may send.
    pub fn portal(&mut self, body: &[u8]) -> Result<(&mut Portal, u32), Error> {
        let (name, rows) = frontend::execute(body).ok_or_else(|| broken("Execute"))?;
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        Ok((portal, rows))
    }

    /// A transaction's end, which ends all portals.
    pub fn end(&mut self) {
        self.portals.clear();
    }

    fn parse(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let parse = frontend::parse(body).ok_or_else(|| broken("Parse"))?;
        let text = std::str::from_utf8(parse.text).map_err(|_| not_utf8())?;
        let command = match command::statements(text)[..] {
            [] => None,
            [one] => Some(command::parse(one)?),
            _ => {
                let several = "cannot insert multiple commands into a prepared statement";
                return Err(Error::new(Kind::ConsoleSyntax, Side::Client).about(several));
            }
        };
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            return Err(Error::new(Kind::DuplicateStatement, Side::Client).about(&name));
        }
        bounded(&self.statements)?;
        self.statements.insert(parse.name.to_vec(), command);
        encode::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let names = frontend::bind(body).ok_or_else(|| broken("Bind"))?;
        let rest = frontend::bind_rest(body).ok_or_else(|| broken("Bind"))?;
        let command = self.statement(names.statement)?.clone();
        if rest.values != 0 {
            let none = "the console's commands have no parameters";
            return Err(Error::new(Kind::ConsoleValue, Side::Client).about(none));
        }
        bounded(&self.portals)?;
        self.portals.insert(names.portal.to_vec(), Portal { command, formats: rest.formats, answer: None });
        encode::bind_complete(out);
        Ok(())
    }

    fn describe(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let (command, formats) = match frontend::named(body).ok_or_else(|| broken("Describe"))? {
            Named::Statement(name) => {
                let command = self.statement(name)?;
                encode::no_parameters(out);
                (command, &[][..])
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.command, &portal.formats[..])
            }
        };
        match command.as_ref().and_then(columns) {
            Some(columns) => rows::describe(out, &columns, formats),
            None => encode::no_data(out),
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match frontend::named(body).ok_or_else(|| broken("Close"))? {
            Named::Statement(name) => _ = self.statements.remove(name),
            Named::Portal(name) => _ = self.portals.remove(name),
        }
        encode::close_complete(out);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Command>, Error> {
        let known = self.statements.get(name);
        known.ok_or_else(|| Error::new(Kind::NoStatement, Side::Client).about(&String::from_utf8_lossy(name)))
    }
}

impl Portal {
    /// Sends up to so many of the rows that are left (0: all), and how it ends.
    pub fn send(&mut self, rows: u32, out: &mut Vec<u8>) {
        let Some(answer) = &mut self.answer else { return };
        if let Some((text, detail)) = answer.notice.take() {
            notice(out, text, &detail);
        }
        let left = answer.table.as_ref().map_or(0, |table| table.rows.len());
        let now = if rows == 0 { left } else { left.min(rows as usize) };
        if let Some(table) = &mut answer.table {
            let sent: Vec<Row> = table.rows.drain(..now).collect();
            sent.iter().for_each(|row| rows::write(out, &table.columns, row, &self.formats));
        }
        if now < left {
            encode::portal_suspended(out);
        } else {
            encode::command_complete(out, &answer.tag);
        }
    }
}

/// Appends an answer as the simple protocol has it.
pub fn write(out: &mut Vec<u8>, answer: &Answer) {
    if let Some((text, detail)) = &answer.notice {
        notice(out, text, detail);
    }
    if let Some(table) = &answer.table {
        rows::describe(out, &table.columns, &[]);
        table.rows.iter().for_each(|row| rows::write(out, &table.columns, row, &[]));
    }
    encode::command_complete(out, &answer.tag);
}

fn notice(out: &mut Vec<u8>, text: &str, detail: &str) {
    match detail {
        "" => encode::notice(out, text),
        detail => encode::notice_with_detail(out, text, detail),
    }
}

/// The columns of a command's rows; None: it has none.
fn columns(command: &Command) -> Option<Vec<Column>> {
    match command {
        Command::Show(show) if show.columns().is_empty() => None,
        Command::Show(show) => Some(show.columns().to_vec()),
        Command::Constant(constant) => Some(vec![constant.column]),
        Command::Act(_) | Command::Block { .. } | Command::Ignored(_) | Command::Set { .. } => None,
    }
}

fn bounded<T>(names: &HashMap<Vec<u8>, T>) -> Result<(), Error> {
    if names.len() < NAMES { Ok(()) } else { Err(Error::new(Kind::PreparedTooMany, Side::Client)) }
}

fn broken(message: &str) -> Error {
    Error::protocol(&format!("broken {message} packet"))
}

fn no_portal(name: &[u8]) -> Error {
    Error::new(Kind::NoPortal, Side::Client).about(&String::from_utf8_lossy(name))
}

/// A text that no command can be read from.
pub fn not_utf8() -> Error {
    Error::new(Kind::ConsoleSyntax, Side::Client).about("the text is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    /// The tags of the answer, or the error's text.
    fn take(extended: &mut Extended, tag: u8, body: &[u8]) -> String {
        let mut out = Vec::new();
        if let Err(error) = extended.take(tag, body, &mut out) {
            return error.text();
        }
        tags(&out)
    }

    fn tags(mut out: &[u8]) -> String {
        let mut tags = String::new();
        while let Ok(Some(header)) = frame::scan(out, 1 << 20) {
            tags.push(char::from(header.tag));
            out = &out[header.len..];
        }
        tags
    }

    #[test]
    fn a_statement_is_described_bound_and_closed() {
        let mut e = Extended::default();
        assert_eq!(take(&mut e, b'P', b"s\0show state\0\0\0"), "1");
        assert_eq!(take(&mut e, b'P', b"s\0show state\0\0\0"), "prepared statement \"s\" already exists");
        assert_eq!(take(&mut e, b'D', b"Ss\0"), "tT");
        assert_eq!(take(&mut e, b'B', b"p\0s\0\0\0\0\0\0\x01\0\x01"), "2");
        assert_eq!(take(&mut e, b'D', b"Pp\0"), "T");
        assert_eq!(take(&mut e, b'P', b"\0reload\0\0\0"), "1");
        assert_eq!(take(&mut e, b'D', b"S\0"), "tn");
        assert_eq!(take(&mut e, b'C', b"Ss\0"), "3");
        assert_eq!(take(&mut e, b'D', b"Ss\0"), "prepared statement \"s\" does not exist");
        e.end();
        assert_eq!(take(&mut e, b'D', b"Pp\0"), "portal \"p\" does not exist");
    }

    #[test]
    fn rows_come_in_portions() {
        let columns = Command::Show(super::super::tables::Show::Version);
        let table = Table { columns: super::columns(&columns).unwrap_or_default(), rows: vec![vec!["x".into()]; 3] };
        let answer = Answer { table: Some(table), ..Answer::tag("SHOW") };
        let mut portal = Portal { command: Some(columns), formats: vec![], answer: Some(answer) };
        let mut send = |rows| {
            let mut out = Vec::new();
            portal.send(rows, &mut out);
            tags(&out)
        };
        assert_eq!([send(2), send(2), send(2)], ["DDs", "DC", "C"]);
    }

    #[test]
    fn what_a_console_cannot_bind() {
        let mut e = Extended::default();
        let several = "cannot insert multiple commands into a prepared statement";
        assert_eq!(take(&mut e, b'P', b"\0show state; reload\0\0\0"), several);
        assert_eq!(take(&mut e, b'P', b"\0\0\0\0"), "1");
        assert_eq!(take(&mut e, b'D', b"S\0"), "tn");
        let values = take(&mut e, b'B', b"\0\0\0\0\0\x01\0\0\0\x01x\0\0");
        assert_eq!(values, "the console's commands have no parameters");
        assert_eq!(take(&mut e, b'B', b"\0\0\0"), "protocol violation: broken Bind packet");
    }
}
