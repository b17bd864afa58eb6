//! [pure] The few messages that we author, appended to a buffer that the caller owns.

use std::borrow::Cow;

use super::backend::TxStatus;
use super::{back, front};
use crate::error::Error;

/// Appends tag, length and what `body` writes.
fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend([0; 4]);
    body(out);
    patch_length(out, at);
}

/// Writes the length of everything from `at` on into the four bytes at `at`.
fn patch_length(out: &mut [u8], at: usize) {
    let len = (out.len() - at) as u32;
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text);
    out.push(0);
}

/// A message with a body that is there already.
pub fn raw(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    message(out, tag, |out| out.extend(body));
}

// Backend messages, for clients.

pub fn authentication(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    message(out, back::AUTHENTICATION, |out| {
        out.extend(code.to_be_bytes());
        out.extend(data);
    });
}

/// AuthenticationSASL with its mechanisms.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    let mut data = Vec::with_capacity(64);
    mechanisms.iter().for_each(|name| cstr(&mut data, name.as_bytes()));
    data.push(0);
    authentication(out, 10, &data);
}

pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    message(out, back::BACKEND_KEY_DATA, |out| {
        out.extend(pid.to_be_bytes());
        out.extend(secret);
    });
}

pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, back::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

pub fn ready_for_query(out: &mut Vec<u8>, status: TxStatus) {
    let status = match status {
        TxStatus::Idle => b'I',
        TxStatus::InBlock => b'T',
        TxStatus::Failed => b'E',
    };
    raw(out, back::READY_FOR_QUERY, &[status]);
}

pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, back::COMMAND_COMPLETE, |out| cstr(out, tag.as_bytes()));
}

pub fn parse_complete(out: &mut Vec<u8>) {
    raw(out, back::PARSE_COMPLETE, &[]);
}

pub fn close_complete(out: &mut Vec<u8>) {
    raw(out, back::CLOSE_COMPLETE, &[]);
}

pub fn bind_complete(out: &mut Vec<u8>) {
    raw(out, back::BIND_COMPLETE, &[]);
}

pub fn no_data(out: &mut Vec<u8>) {
    raw(out, back::NO_DATA, &[]);
}

pub fn empty_query(out: &mut Vec<u8>) {
    raw(out, back::EMPTY_QUERY, &[]);
}

pub fn portal_suspended(out: &mut Vec<u8>) {
    raw(out, back::PORTAL_SUSPENDED, &[]);
}

/// ParameterDescription of a statement without parameters.
pub fn no_parameters(out: &mut Vec<u8>) {
    raw(out, back::PARAMETER_DESCRIPTION, &[0, 0]);
}

/// One column of a result that is ours: its name, type and width (`pg_type.oid` and `typlen`), and its format (0: text,
/// 1: binary).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    pub oid: u32,
    pub width: i16,
    pub format: u16,
}

/// RowDescription of columns that belong to no table.
pub fn row_description<'a>(out: &mut Vec<u8>, fields: impl ExactSizeIterator<Item = Field<'a>>) {
    message(out, back::ROW_DESCRIPTION, |out| {
        out.extend((fields.len() as u16).to_be_bytes());
        for field in fields {
            cstr(out, field.name.as_bytes());
            out.extend([0; 6]);
            out.extend(field.oid.to_be_bytes());
            out.extend(field.width.to_be_bytes());
            out.extend((-1_i32).to_be_bytes());
            out.extend(field.format.to_be_bytes());
        }
    });
}

/// DataRow; None is NULL.
pub fn data_row(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<Vec<u8>>>) {
    message(out, back::DATA_ROW, |out| {
        out.extend((values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                Some(value) => {
                    out.extend((value.len() as u32).to_be_bytes());
                    out.extend(value);
                }
                None => out.extend((-1_i32).to_be_bytes()),
            }
        }
    });
}

/// NegotiateProtocolVersion: the newest minor version that we speak, and the options that we do not know.
pub fn negotiate_protocol<'a>(out: &mut Vec<u8>, version: u32, unknown: impl Iterator<Item = &'a [u8]> + Clone) {
    message(out, back::NEGOTIATE_PROTOCOL, |out| {
        out.extend(version.to_be_bytes());
        out.extend((unknown.clone().count() as u32).to_be_bytes());
        unknown.for_each(|name| cstr(out, name));
    });
}

/// ErrorResponse with severity (both forms), SQLSTATE and text.
pub fn error(out: &mut Vec<u8>, error: &Error) {
    let severity: &[u8] = if error.kind.fatal() { b"FATAL" } else { b"ERROR" };
    error_fields(out, severity, error.sqlstate().as_bytes(), error.text().as_bytes());
}

/// The same with a HINT.
pub fn error_with_hint(out: &mut Vec<u8>, error: &Error, hint: &str) {
    let severity = if error.kind.fatal() { "FATAL" } else { "ERROR" };
    report(out, back::ERROR, severity, error.sqlstate(), &[(b'M', &error.text()), (b'H', hint)]);
}

/// NoticeResponse: a warning with a HINT.
pub fn warning(out: &mut Vec<u8>, text: &str, hint: &str) {
    report(out, back::NOTICE, "WARNING", "01000", &[(b'M', text), (b'H', hint)]);
}

/// An error or notice with more than its text.
fn report(out: &mut Vec<u8>, tag: u8, severity: &str, sqlstate: &str, more: &[(u8, &str)]) {
    let head = [(b'S', severity), (b'V', severity), (b'C', sqlstate)];
    message(out, tag, |out| {
        for (kind, value) in head.iter().chain(more) {
            out.push(*kind);
            cstr(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// NoticeResponse of ours.
pub fn notice(out: &mut Vec<u8>, text: &str) {
    message(out, back::NOTICE, |out| fields(out, b"NOTICE", b"00000", text.as_bytes()));
}

/// The same with a DETAIL.
pub fn notice_with_detail(out: &mut Vec<u8>, text: &str, detail: &str) {
    report(out, back::NOTICE, "NOTICE", "00000", &[(b'M', text), (b'D', detail)]);
}

pub fn error_fields(out: &mut Vec<u8>, severity: &[u8], sqlstate: &[u8], text: &[u8]) {
    message(out, back::ERROR, |out| fields(out, severity, sqlstate, text));
}

fn fields(out: &mut Vec<u8>, severity: &[u8], sqlstate: &[u8], text: &[u8]) {
    for (kind, value) in [(b'S', severity), (b'V', severity), (b'C', sqlstate), (b'M', text)] {
        out.push(kind);
        cstr(out, value);
    }
    out.push(0);
}

/// ErrorResponse with these fields.
pub fn error_of<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (u8, Cow<'a, [u8]>)>) {
    message(out, back::ERROR, |out| {
        for (kind, value) in fields {
            out.push(kind);
            cstr(out, &value);
        }
        out.push(0);
    });
}

/// What PostgreSQL says of a prepared statement whose rows changed (`plancache.c`). Drivers know it by its routine.
pub fn stale_plan(out: &mut Vec<u8>) {
    let fields: [(u8, &[u8]); 5] = [
        (b'S', b"ERROR"),
        (b'V', b"ERROR"),
        (b'C', b"0A000"),
        (b'M', b"cached plan must not change result type"),
        (b'R', b"RevalidateCachedQuery"),
    ];
    message(out, back::ERROR, |out| {
        for (kind, value) in fields {
            out.push(kind);
            cstr(out, value);
        }
        out.push(0);
    });
}

// Frontend messages, for servers.

pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
}

pub fn cancel_request(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    out.extend(((12 + secret.len()) as u32).to_be_bytes());
    out.extend([0x04, 0xd2, 0x16, 0x2e]);
    out.extend(pid.to_be_bytes());
    out.extend(secret);
}

pub fn startup<'a>(out: &mut Vec<u8>, version: u32, parameters: impl Iterator<Item = (&'a str, &'a str)>) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(version.to_be_bytes());
    for (name, value) in parameters {
        cstr(out, name.as_bytes());
        cstr(out, value.as_bytes());
    }
    out.push(0);
    patch_length(out, at);
}

pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    message(out, front::PASSWORD, |out| cstr(out, password));
}

pub fn sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, front::PASSWORD, |out| {
        cstr(out, mechanism.as_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
    });
}

pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, front::QUERY, |out| cstr(out, text));
}

/// Parse under a name; `rest` is the text, its NUL and the parameter types, as they came.
pub fn parse(out: &mut Vec<u8>, name: &[u8], rest: &[u8]) {
    message(out, front::PARSE, |out| {
        cstr(out, name);
        out.extend(rest);
    });
}

/// The head of a Parse whose body has `rest` more bytes after the name.
pub fn parse_head(out: &mut Vec<u8>, name: &[u8], rest: usize) {
    out.push(front::PARSE);
    let len = 4 + name.len() + 1 + rest;
    out.extend((len as u32).to_be_bytes());
    cstr(out, name);
}

/// The head of a Bind whose body has `rest` more bytes after the two names.
pub fn bind_head(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: usize) {
    out.push(front::BIND);
    let len = 4 + portal.len() + 1 + statement.len() + 1 + rest;
    out.extend((len as u32).to_be_bytes());
    cstr(out, portal);
    cstr(out, statement);
}

/// Execute of a portal, all of its rows.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, front::EXECUTE, |out| {
        cstr(out, portal);
        out.extend([0; 4]);
    });
}

pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    named(out, front::DESCRIBE, b'S', name);
}

pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    named(out, front::CLOSE, b'S', name);
}

pub fn close_portal(out: &mut Vec<u8>, name: &[u8]) {
    named(out, front::CLOSE, b'P', name);
}

fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &[u8]) {
    message(out, tag, |out| {
        out.push(kind);
        cstr(out, name);
    });
}

pub fn flush(out: &mut Vec<u8>) {
    raw(out, front::FLUSH, &[]);
}

pub fn sync(out: &mut Vec<u8>) {
    raw(out, front::SYNC, &[]);
}

pub fn terminate(out: &mut Vec<u8>) {
    raw(out, front::TERMINATE, &[]);
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;

    #[test]
    fn what_we_write_scans() {
        let mut out = Vec::new();
        parse_complete(&mut out);
        ready_for_query(&mut out, TxStatus::Idle);
        parse(&mut out, b"s", b"select 1\0\0\0");
        bind_head(&mut out, b"", b"s", 0);
        let mut rest = &out[..];
        let mut tags = Vec::new();
        while let Ok(Some(header)) = frame::scan(rest, 1000) {
            tags.push(header.tag);
            rest = &rest[header.len..];
        }
        assert_eq!((&tags[..], rest.len()), (&b"1ZPB"[..], 0));
    }
}
