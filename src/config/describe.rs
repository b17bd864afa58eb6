//! [pure] What a key takes, its default and what SIGHUP does with it, in words: for `config/pgweir.toml` and the manual.

use super::keys::{Bare, Fallback, Key, Kind, Reload, Zero};

impl Key {
    /// As `integer, 1 to 65535; default: 6432; SIGHUP: needs a restart`.
    pub fn facts(&self) -> String {
        let default = match self.default {
            Fallback::Is(text) => format!("default: {}", shown(text)),
            Fallback::Global(name) => format!("default: `{name}` of [pgweir]"),
            Fallback::Unset => "no default".to_owned(),
        };
        let ini = self.ini.map(|text| format!(", in an ini {}", shown(text))).unwrap_or_default();
        format!("{}; {default}{ini}; SIGHUP: {}", self.takes(), self.reload)
    }

    /// What may be written.
    fn takes(&self) -> String {
        match self.kind {
            Kind::Boolean => "boolean".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::Duration { bare: Bare::Milliseconds, .. } => "duration, bare number: milliseconds".into(),
            Kind::Duration { zero: Zero::Refused, .. } => "duration above 0".into(),
            Kind::Duration { .. } => "duration".into(),
            Kind::Integer { min: 0, max } if max == i32::MAX as u64 => "integer".into(),
            Kind::Integer { min, max } => format!("integer, {min} to {max}"),
            Kind::Lag => "duration or size, with its unit".into(),
            Kind::List => "list".into(),
            Kind::Mode => "octal".into(),
            Kind::Networks => "list of networks".into(),
            Kind::Path => "path".into(),
            Kind::Secret => "secret".into(),
            Kind::Servers => "list of servers".into(),
            Kind::Size { min, max } => format!("size, bare number: bytes, {min} to {max}"),
            Kind::Text => "string".into(),
        }
    }
}

fn shown(literal: &str) -> &str {
    match literal {
        "\"\"" | "[]" => "none",
        "\"<empty>\"" => "`<empty>`",
        _ => literal,
    }
}

impl std::fmt::Display for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reload::Taken => f.write_str("taken"),
            Reload::Recycles(what) => write!(f, "recycles {what}"),
            Reload::Restart => f.write_str("needs a restart"),
        }
    }
}
