//! [pure] The values of `[pgweir]` as the console shows them, in PgBouncer's units: 0 and 1, seconds, plain numbers.

use super::MaxLag;
use super::keys::{self, Bare, Fallback, Grammar, Key, Kind, Reload, Table};
use super::toml;
use super::value::{self, Value};

/// One row of SHOW CONFIG.
#[derive(Debug, Clone)]
pub struct Shown {
    pub key: &'static str,
    /// What holds. Secrets are masked.
    pub value: String,
    pub default: String,
    /// A reload, or SET, may change it.
    pub changeable: bool,
}

/// Two files that say the same are the same, though the defaults of their grammars differ.
impl PartialEq for Shown {
    fn eq(&self, other: &Shown) -> bool {
        (self.key, &self.value) == (other.key, &other.value)
    }
}

/// A value that is there, and must not be seen.
const MASK: &str = "********";

/// All keys in the order of their names, those included that PgBouncer has and that have no effect here. `value` gives
/// what holds.
pub(crate) fn shown(grammar: Grammar, value: impl Fn(&str) -> Option<Value>) -> Vec<Shown> {
    let own = Table::Global.keys().iter().map(|key| Shown {
        key: key.name,
        value: text(key, value(key.name).as_ref()),
        default: default(grammar, key),
        changeable: key.reload != Reload::Restart,
    });
    let passed = keys::PASSED.iter().map(|passed| Shown {
        key: passed.name,
        value: passed.default.to_owned(),
        default: passed.default.to_owned(),
        changeable: false,
    });
    let mut all: Vec<_> = own.chain(passed).collect();
    all.sort_by_key(|shown| shown.key);
    all
}

fn default(grammar: Grammar, key: &Key) -> String {
    let literal = |text| toml::literal(text).and_then(|written| value::read(key.kind, &written).ok());
    match (key.default, key.ini) {
        (_, Some(written)) if grammar == Grammar::Ini => text(key, literal(written).as_ref()),
        (Fallback::Is(written), _) => text(key, literal(written).as_ref()),
        (Fallback::Global(name), _) => Table::Global.key(name).map(|key| default(grammar, key)).unwrap_or_default(),
        (Fallback::Unset, _) => String::new(),
    }
}

fn text(key: &Key, value: Option<&Value>) -> String {
    let Some(value) = value else { return String::new() };
    match (key.kind, value) {
        (_, Value::Text(text)) if text.is_empty() => String::new(),
        (Kind::Secret, _) => MASK.to_owned(),
        (Kind::Mode, Value::Integer(mode)) => format!("{mode:04o}"),
        (Kind::Duration { bare: Bare::Milliseconds, .. }, Value::Duration(time)) => time.as_millis().to_string(),
        (_, Value::Duration(time)) => time.as_secs_f64().to_string(),
        (_, Value::Boolean(value)) => u8::from(*value).to_string(),
        (_, Value::Integer(value)) => value.to_string(),
        (_, Value::Text(text)) => text.clone(),
        (_, Value::List(list)) => list.join(", "),
        (_, Value::Lag(MaxLag::Time(time))) => format!("{}s", time.as_secs_f64()),
        (_, Value::Lag(MaxLag::Bytes(bytes))) => format!("{bytes}B"),
        (_, Value::Networks(networks)) => networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        (_, Value::Servers(servers)) => {
            servers.iter().map(|listed| listed.address.to_string()).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Nowhere;
    use super::super::parse;
    use super::*;

    #[test]
    fn every_key_is_shown_in_pgbouncers_units() {
        let text = "[pgweir]\nauth_type = 'trust'\nquery_timeout = '250ms'\ntcp_user_timeout = '5s'\n\
            admin_users = ['a', 'b']\nprobe_user = 'p'\nprobe_password = 'hush'\nunix_socket_mode = '0700'\n\
            max_packet_size = '1MB'\nmax_replica_lag = '1m'\n[databases.a]\nhost = 'h'\n";
        let shown = parse(Path::new("p.toml"), text, &Nowhere).expect("a sound file").config.shown;
        let of = |key: &str| {
            let found = shown.iter().find(|shown| shown.key == key).expect("it is shown");
            (found.value.as_str(), found.default.as_str(), found.changeable)
        };
        assert_eq!(of("query_timeout"), ("0.25", "0", true));
        assert_eq!(of("tcp_user_timeout"), ("5000", "30000", true));
        assert_eq!(of("admin_users"), ("a, b", "", true));
        assert_eq!(of("probe_password"), (MASK, "", true));
        assert_eq!(of("listen_port"), ("6432", "6432", false));
        assert_eq!(of("unix_socket_mode"), ("0700", "0777", false));
        assert_eq!(of("max_packet_size"), ("1048576", "2147483647", true));
        assert_eq!(of("max_replica_lag"), ("60s", "10s", true));
        assert_eq!(of("log_connections"), ("1", "1", true));
        assert_eq!(of("pkt_buf"), ("4096", "4096", false));
        assert_eq!(of("query_wait_timeout"), ("120", "120", true));
        assert!(shown.is_sorted_by(|a, b| a.key < b.key));
        assert_eq!(shown.len(), Table::Global.keys().len() + keys::PASSED.len());
    }
}
