//! [pure] From a value back to the TOML that says it.

use std::fmt::Write;
use std::time::Duration;

use super::keys::Kind;
use super::value::Value;
use super::{Listed, MaxLag};

/// TOML that `value::read` reads as this value. A secret is written like any text.
pub(crate) fn literal(kind: Kind, value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(mode) if kind == Kind::Mode => format!("\"{mode:04o}\""),
        Value::Integer(value) => value.to_string(),
        Value::Duration(value) => duration(*value),
        Value::Text(text) => text_literal(text),
        Value::List(list) => list_of(list.iter().map(|text| text_literal(text))),
        Value::Lag(MaxLag::Time(value)) => duration(*value),
        Value::Lag(MaxLag::Bytes(bytes)) => format!("\"{bytes}b\""),
        Value::Networks(networks) => list_of(networks.iter().map(|network| format!("\"{network}\""))),
        Value::Servers(servers) => list_of(servers.iter().map(server)),
    }
}

/// A key or a table's name.
pub(crate) fn name(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A name or an address as a value.
pub(crate) fn name_always_quoted(name: &str) -> String {
    text_literal(name)
}

fn text_literal(text: &str) -> String {
    quoted(&text.replace("${", "$${"))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

fn duration(value: Duration) -> String {
    let (seconds, nanos) = (value.as_secs(), value.subsec_nanos());
    match nanos {
        0 if seconds == 0 => "0".to_owned(),
        0 => format!("\"{seconds}s\""),
        _ if nanos.is_multiple_of(1_000_000) => format!("\"{}ms\"", value.as_millis()),
        _ => format!("\"{}s\"", value.as_secs_f64()),
    }
}

fn list_of(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn server(listed: &Listed) -> String {
    if listed.weight == 1 && listed.zone.is_none() {
        return quoted(&listed.address.to_string());
    }
    let (host, port) = match &listed.address {
        super::Address::Tcp { host, port } => (host.clone(), port),
        super::Address::Unix { dir, port } => (dir.to_string_lossy().into_owned(), port),
    };
    let zone = listed.zone.as_ref().map(|zone| format!(", zone = {}", quoted(zone))).unwrap_or_default();
    format!("{{ host = {}, port = {port}, weight = {}{zone} }}", quoted(&host), listed.weight)
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Bare, Zero};
    use super::super::{toml, value};
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let seconds = Kind::Duration { bare: Bare::Seconds, zero: Zero::Off };
        let table = [
            (Kind::Boolean, "true"),
            (Kind::Integer { min: 0, max: 9 }, "7"),
            (Kind::Mode, "\"0770\""),
            (seconds, "0"),
            (seconds, "\"15s\""),
            (seconds, "\"1500ms\""),
            (seconds, "\"0.0000015s\""),
            (Kind::Text, "\"a \\\"b\\\" \\\\ $${x} \\u0001\""),
            (Kind::List, "[\"a\", \"b\"]"),
            (Kind::Lag, "\"64b\""),
            (Kind::Lag, "\"10s\""),
            (Kind::Networks, "[\"10.0.0.0/8\", \"::1/128\"]"),
            (Kind::Servers, "[\"a:1\", { host = \"/run\", port = 2, weight = 0, zone = \"z\" }]"),
        ];
        for (kind, text) in table {
            let read = |text: &str| value::read(kind, &toml::literal(text).expect("TOML"));
            let value = read(&text.replace("$${", "${")).expect("a value");
            assert_eq!(literal(kind, &value), text);
            assert_eq!(read(&literal(kind, &value).replace("$${", "${")), Ok(value), "{text}");
        }
        assert_eq!(
            (name("a-b_1"), name("*"), name("a b"), name("")),
            ("a-b_1".into(), "\"*\"".into(), "\"a b\"".into(), "\"\"".into())
        );
    }
}
