//! [pure] From a value as a file wrote it to a value of its key's kind: durations, sizes, booleans, lists.
//!
//! A refusal says what was expected and what was found; its reader leaves out the latter where it may be a secret.

use std::time::Duration;

use super::keys::{Bare, Kind, Zero};
use super::{Listed, MaxLag, Network};
use super::{address, network};

/// A value as written, before its key's kind gives it a meaning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    Boolean(bool),
    /// The radix is kept because a file mode written in decimal digits is a mistake.
    Integer {
        value: i64,
        radix: u32,
    },
    Float(f64),
    Text(String),
    List(Vec<Item>),
    Table(Vec<Entry>),
    /// What no key takes: a date, a number beyond 64 bits.
    Other(&'static str),
}

/// One element of a list, with its line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) line: usize,
    pub(crate) value: Written,
}

/// One `key = value`, or one table under its name, with the line of the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) value: Written,
}

/// A value of its key's kind. Words, paths and secrets are `Text`; their keys know better.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(u64),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
    Lag(MaxLag),
    Networks(Vec<Network>),
    Servers(Vec<Listed>),
}

/// What was expected in place of a value; `line` where an element of a list is to blame.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) line: Option<usize>,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Refusal {
    /// The whole value is to blame.
    pub(crate) fn of(written: &Written, expected: impl Into<String>) -> Self {
        Self { line: None, expected: expected.into(), found: found(written) }
    }

    /// One element is.
    pub(crate) fn of_item(item: &Item, expected: impl Into<String>) -> Self {
        Self { line: Some(item.line), ..Self::of(&item.value, expected) }
    }
}

/// Far beyond any use, and near enough that adding it to an instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Reads `written` as `kind` asks.
pub(crate) fn read(kind: Kind, written: &Written) -> Result<Value, Refusal> {
    let value = match kind {
        Kind::Boolean => boolean(written).map(Value::Boolean),
        Kind::Integer { min, max } => integer(written, min, max).map(Value::Integer),
        Kind::Duration { bare, zero } => duration(written, bare, zero).map(Value::Duration),
        Kind::Size { min, max } => size(written, min, max).map(Value::Integer),
        Kind::Lag => lag(written).map(Value::Lag),
        Kind::Mode => mode(written).map(Value::Integer),
        Kind::Text | Kind::Secret | Kind::Path => text(written).map(Value::Text),
        Kind::Choice(words) => choice(written, words).map(Value::Text),
        Kind::List => return list(written).map(Value::List),
        Kind::Networks => return networks(written).map(Value::Networks),
        Kind::Servers => return address::servers(written).map(Value::Servers),
    };
    value.map_err(|expected| Refusal::of(written, expected))
}

/// Whether a file wrote what PgBouncer prints as `text`, in any of the two grammars' ways.
pub(crate) fn says(written: &Written, text: &str) -> bool {
    match written {
        Written::Boolean(value) => text == if *value { "1" } else { "0" },
        Written::Integer { value, .. } => value.to_string() == text,
        Written::Text(own) => own.trim() == text,
        _ => false,
    }
}

/// How a problem names what it found. What might hold a password is named by its type alone.
pub(crate) fn found(written: &Written) -> String {
    match written {
        Written::Boolean(value) => value.to_string(),
        Written::Integer { value, radix: 8 } => format!("0o{value:o}"),
        Written::Integer { value, .. } => value.to_string(),
        Written::Float(value) => value.to_string(),
        Written::Text(text) if text.contains('=') || text.chars().skip(1).any(|c| c == '@') => "a string".into(),
        Written::Text(text) if text.chars().count() > 40 => {
            format!("{:?}…", text.chars().take(40).collect::<String>())
        }
        Written::Text(text) => format!("{text:?}"),
        Written::List(_) => "a list".into(),
        Written::Table(_) => "a table".into(),
        Written::Other(what) => (*what).into(),
    }
}

fn boolean(written: &Written) -> Result<bool, String> {
    match written {
        Written::Boolean(value) => Some(*value),
        Written::Integer { value: 0, .. } => Some(false),
        Written::Integer { value: 1, .. } => Some(true),
        // A variable of the environment arrives as text.
        Written::Text(text) => match text.trim() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
    .ok_or_else(|| "expected true or false (or 1 or 0)".into())
}

fn integer(written: &Written, min: u64, max: u64) -> Result<u64, String> {
    match written {
        Written::Integer { value, .. } => u64::try_from(*value).ok(),
        // PgBouncer takes a leading 0 for base 8.
        Written::Text(text) => text.trim().parse().ok().filter(|value| *value == 0 || !text.trim().starts_with('0')),
        _ => None,
    }
    .filter(|value| (min..=max).contains(value))
    .ok_or_else(|| format!("expected an integer from {min} to {max}"))
}

fn duration(written: &Written, bare: Bare, zero: Zero) -> Result<Duration, String> {
    let seconds = match written {
        Written::Integer { value, .. } => Some(*value as f64 * bare.seconds()),
        Written::Float(value) => Some(value * bare.seconds()),
        Written::Text(text) => seconds(text.trim(), bare),
        _ => None,
    };
    let value = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(|| {
        let unit = bare.name();
        format!("expected a duration, as \"30s\", \"250ms\", \"5m\", \"1h\" or \"2d\"; a bare number is in {unit}")
    })?;
    if value > LONGEST {
        return Err("expected a duration of at most 36500d".into());
    }
    if value.is_zero() && zero == Zero::Refused {
        return Err("expected a duration above 0".into());
    }
    Ok(value)
}

fn seconds(text: &str, bare: Bare) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" => bare.seconds(),
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number.trim_end().parse::<f64>().ok()? * scale)
}

fn size(written: &Written, min: u64, max: u64) -> Result<u64, String> {
    match written {
        Written::Integer { value, .. } => u64::try_from(*value).ok(),
        Written::Text(text) => octets(text.trim()),
        _ => None,
    }
    .filter(|value| (min..=max).contains(value))
    .ok_or_else(|| {
        format!("expected a size from {min} to {max} bytes, as \"16kB\" or \"64MB\"; a bare number is in bytes")
    })
}

fn octets(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// Without a unit it could be either, so it is neither.
fn lag(written: &Written) -> Result<MaxLag, String> {
    let Written::Text(text) = written else { return Err(LAG.into()) };
    let text = text.trim();
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(LAG.into());
    }
    let time = seconds(text, Bare::Seconds).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| (Duration::from_nanos(1)..=LONGEST).contains(time)).map(MaxLag::Time);
    time.or_else(|| octets(text).filter(|bytes| *bytes > 0).map(MaxLag::Bytes)).ok_or_else(|| LAG.into())
}

const LAG: &str = "expected a duration above 0 with its unit, as \"10s\", or an amount of WAL, as \"64MB\"";

fn mode(written: &Written) -> Result<u64, String> {
    match written {
        Written::Integer { value, radix: 8 } => u64::try_from(*value).ok(),
        Written::Integer { value: 0, .. } => Some(0),
        Written::Text(text) => u64::from_str_radix(text.trim().trim_start_matches("0o"), 8).ok(),
        _ => None,
    }
    .filter(|value| *value <= 0o777)
    .ok_or_else(|| "expected a file mode in octal, as \"0777\" or 0o777".into())
}

fn text(written: &Written) -> Result<String, String> {
    match written {
        // The wire ends its strings with a zero byte.
        Written::Text(text) if text.contains('\0') => Err("expected a string without a zero byte".into()),
        Written::Text(text) => Ok(text.clone()),
        _ => Err("expected a string".into()),
    }
}

fn choice(written: &Written, words: &[&str]) -> Result<String, String> {
    let found = match written {
        Written::Text(text) => words.iter().find(|word| word.eq_ignore_ascii_case(text.trim())),
        _ => None,
    };
    found.map(|word| word.to_string()).ok_or_else(|| format!("expected one of {}", words.join(", ")))
}

fn list(written: &Written) -> Result<Vec<String>, Refusal> {
    let Written::List(items) = written else {
        let Ok(text) = text(written) else {
            return Err(Refusal::of(written, "expected a list of strings, or one string with commas"));
        };
        return Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect());
    };
    items.iter().map(|item| text(&item.value).map_err(|expected| Refusal::of_item(item, expected))).collect()
}

fn networks(written: &Written) -> Result<Vec<Network>, Refusal> {
    let each = list(written)?.into_iter().map(|text| network::parse(&text).ok_or(text));
    each.collect::<Result<_, _>>().map_err(|text| Refusal::of(&Written::Text(text), NETWORK))
}

const NETWORK: &str = "expected IP networks, as \"10.0.0.0/8\" or \"fd00::/8\", or addresses";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Written {
        Written::Text(text.into())
    }

    fn integer(value: i64) -> Written {
        Written::Integer { value, radix: 10 }
    }

    #[test]
    fn durations_take_units_and_bare_numbers() {
        let seconds = Kind::Duration { bare: Bare::Seconds, zero: Zero::Off };
        let millis = Kind::Duration { bare: Bare::Milliseconds, zero: Zero::Off };
        let table = [
            (seconds, text("30s"), Some(30_000)),
            (seconds, text("250ms"), Some(250)),
            (seconds, text("3ms"), Some(3)),
            (seconds, text("1500us"), Some(1)),
            (seconds, text("5m"), Some(300_000)),
            (seconds, text("5min"), Some(300_000)),
            (seconds, text("1h"), Some(3_600_000)),
            (seconds, text("2 d"), Some(172_800_000)),
            (seconds, text("1.5"), Some(1500)),
            (seconds, integer(15), Some(15_000)),
            (seconds, Written::Float(0.25), Some(250)),
            (millis, integer(1500), Some(1500)),
            (millis, text("30s"), Some(30_000)),
            (seconds, integer(-1), None),
            (seconds, text("-1s"), None),
            (seconds, text("30 seconds"), None),
            (seconds, text("s"), None),
            (seconds, text(""), None),
            (seconds, text("inf"), None),
            (seconds, text("1e9d"), None),
            (seconds, Written::Float(f64::NAN), None),
            (seconds, Written::Float(f64::INFINITY), None),
            (seconds, text("99999d"), None),
            (seconds, Written::Boolean(true), None),
        ];
        for (kind, written, millis) in table {
            let value = match read(kind, &written) {
                Ok(Value::Duration(value)) => Some(value.as_millis()),
                _ => None,
            };
            assert_eq!(value, millis, "{written:?}");
        }
        assert!(read(Kind::Duration { bare: Bare::Seconds, zero: Zero::Refused }, &text("0s")).is_err());
    }

    #[test]
    fn sizes_modes_booleans_and_words_are_bounded() {
        let size = Kind::Size { min: 1024, max: i32::MAX as u64 };
        let table = [
            (size, text("64MB"), Some(Value::Integer(64 << 20))),
            (size, text("16 kB"), Some(Value::Integer(16 << 10))),
            (size, text("1GB"), Some(Value::Integer(1 << 30))),
            (size, integer(4096), Some(Value::Integer(4096))),
            (size, text("2GB"), None),
            (size, text("99999999999999GB"), None),
            (size, text("64 megs"), None),
            (size, text("1"), None),
            (Kind::Mode, text("0770"), Some(Value::Integer(0o770))),
            (Kind::Mode, Written::Integer { value: 0o777, radix: 8 }, Some(Value::Integer(0o777))),
            (Kind::Mode, integer(777), None),
            (Kind::Mode, text("0888"), None),
            (Kind::Mode, text("7777"), None),
            (Kind::Boolean, integer(1), Some(Value::Boolean(true))),
            (Kind::Boolean, text("0"), Some(Value::Boolean(false))),
            (Kind::Boolean, integer(2), None),
            (Kind::Boolean, text("maybe"), None),
            (Kind::Choice(&["a", "b"]), text("B"), Some(Value::Text("b".into()))),
            (Kind::Choice(&["a", "b"]), text("c"), None),
            (Kind::Text, text("a\0b"), None),
            (Kind::Text, integer(1), None),
            (Kind::Integer { min: 1, max: 9 }, text("9"), Some(Value::Integer(9))),
            (Kind::Integer { min: 1, max: 9 }, integer(0), None),
            (Kind::List, text("a, b,"), Some(Value::List(vec!["a".into(), "b".into()]))),
            (Kind::List, integer(5), None),
        ];
        for (kind, written, value) in table {
            assert_eq!(read(kind, &written).ok(), value, "{written:?}");
        }
    }

    #[test]
    fn a_lag_is_a_time_or_a_size_and_says_which() {
        let seconds = |n| Some(MaxLag::Time(Duration::from_secs(n)));
        let table = [
            (text("10s"), seconds(10)),
            (text("1m"), seconds(60)),
            (text("500ms"), Some(MaxLag::Time(Duration::from_millis(500)))),
            (text("64MB"), Some(MaxLag::Bytes(64 << 20))),
            (text("16 kB"), Some(MaxLag::Bytes(16 << 10))),
            (text("512b"), Some(MaxLag::Bytes(512))),
            (text("10"), None),
            (text("0s"), None),
            (text("0MB"), None),
            (text("-1s"), None),
            (text("ten"), None),
            (text(""), None),
            (text("99999d"), None),
            (integer(10), None),
        ];
        for (written, expected) in table {
            let value = match read(Kind::Lag, &written) {
                Ok(Value::Lag(lag)) => Some(lag),
                _ => None,
            };
            assert_eq!(value, expected, "{written:?}");
        }
    }

    #[test]
    fn what_may_hold_a_secret_is_not_shown() {
        assert_eq!(found(&text("postgres://u:secret@h")), "a string");
        assert_eq!(found(&text("host=a password=secret")), "a string");
        assert_eq!(found(&text("@abstract")), "\"@abstract\"");
        assert_eq!(found(&text(&"x".repeat(50))), format!("\"{}\"…", "x".repeat(40)));
    }
}
