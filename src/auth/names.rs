//! [pure] Which names outside the database may log in as which user: `pg_ident.conf`, for certificates and peers.
//!
//! ```text
//! # map   system name         database user
//! staff   alice@example.org   alice
//! staff   "CN=ops,O=Acme"     all
//! ```
//!
//! Names are compared whole and with their case. What PostgreSQL offers beyond that (a regular expression, a role's
//! members, included files) is a flaw and never read as a literal name: a map that grants something else than its
//! writer meant is worse than none.

use super::lines::{Flaw, each, quoted};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    entries: BTreeMap<Box<str>, Vec<Entry>>,
}

impl Map {
    pub fn parse(text: &str) -> Result<Map, Vec<Flaw>> {
        let mut entries: BTreeMap<_, Vec<_>> = BTreeMap::new();
        each(text, &['#'], |_, line| {
            let (map, entry) = entry(line)?;
            entries.entry(map).or_default().push(entry);
            Ok::<_, &str>(())
        })?;
        Ok(Map { entries })
    }

    /// Whether some line of `map` lets `system` log in as `user`.
    pub fn allows(&self, map: &str, system: &str, user: &str) -> bool {
        self.entries
            .get(map)
            .is_some_and(|entries| entries.iter().any(|entry| *entry.system == *system && entry.user.covers(user)))
    }

    /// Whether a line defines `map`: a rule that names another is a mistake.
    pub fn defines(&self, map: &str) -> bool {
        self.entries.contains_key(map)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    system: Box<str>,
    user: User,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    All,
    One(Box<str>),
}

impl User {
    fn covers(&self, user: &str) -> bool {
        match self {
            User::All => true,
            User::One(name) => **name == *user,
        }
    }
}

fn entry(line: &str) -> Result<(Box<str>, Entry), &'static str> {
    let (map, rest) = word(line)?.ok_or("a map name")?;
    if !map.quoted && map.text.starts_with("include") {
        return Err("a map name; included files are not read");
    }
    let (system, rest) = word(rest)?.ok_or("a system name after the map name")?;
    // PostgreSQL reads a regular expression also between quotes.
    if system.text.starts_with('/') {
        return Err("a system name to compare whole; regular expressions are not supported");
    }
    let (user, rest) = word(rest)?.ok_or("a database user after the system name")?;
    if user.text.starts_with('/') {
        return Err("a database user to compare whole; regular expressions are not supported");
    }
    if !user.quoted && user.text.starts_with('+') {
        return Err("a database user; the members of a role are not known here");
    }
    if word(rest)?.is_some() {
        return Err("nothing after the database user");
    }
    let user = if !user.quoted && &*user.text == "all" { User::All } else { User::One(user.text) };
    Ok((map.text, Entry { system: system.text, user }))
}

/// One value of a line. Only a bare `all` or `+` means more than itself.
struct Word {
    text: Box<str>,
    quoted: bool,
}

fn word(rest: &str) -> Result<Option<(Word, &str)>, &'static str> {
    const BLANK: [char; 2] = [' ', '\t'];
    let rest = rest.trim_start_matches(BLANK);
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(None);
    }
    if rest.starts_with('"') {
        let (text, after) = quoted(rest).ok_or("a double quote that closes what was opened on this line")?;
        if !(after.is_empty() || after.starts_with(BLANK) || after.starts_with('#')) {
            return Err("a blank after the closing quote");
        }
        return Ok(Some((Word { text: text.as_str().into(), quoted: true }, after)));
    }
    let end = rest.find(|c| BLANK.contains(&c) || c == '#').unwrap_or(rest.len());
    let (text, after) = rest.split_at(end);
    if text.contains(['"', ',']) {
        return Err("double quotes around the whole of a value that holds a quote or a comma");
    }
    if text.starts_with('@') {
        return Err("a value; included files are not read");
    }
    Ok(Some((Word { text: text.into(), quoted: false }, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed() {
        let map = Map::parse(concat!(
            "# comment\r\n",
            "staff alice@example.org alice # may\r\n",
            "\tstaff   \"CN=ops, O=\"\"Acme\"\"\"\tall\n",
            "staff bob bob\n",
            "staff bob carol\n",
            "other  dave  \"all\"\n",
            "\"my map\" dave \"+x\"#end\n",
        ))
        .unwrap();
        let cases = [
            ("staff", "alice@example.org", "alice", true),
            ("staff", "alice@example.org", "bob", false),
            ("staff", "ALICE@example.org", "alice", false),
            ("staff", "alice", "alice", false),
            ("staff", "CN=ops, O=\"Acme\"", "anybody", true),
            ("staff", "bob", "bob", true),
            ("staff", "bob", "carol", true),
            ("staff", "dave", "all", false),
            ("other", "dave", "all", true),
            ("other", "dave", "dave", false),
            ("my map", "dave", "+x", true),
            ("", "bob", "bob", false),
            ("none", "bob", "bob", false),
        ];
        for (name, system, user, allowed) in cases {
            assert_eq!(map.allows(name, system, user), allowed, "{name} {system} {user}");
        }
        assert!(map.defines("staff") && !map.defines("none"));
    }

    #[test]
    fn flaws() {
        let cases = [
            ("staff", "a system name"),
            ("staff bob", "a database user"),
            ("staff bob # bob", "a database user"),
            ("staff bob bob bob", "nothing after"),
            ("staff /^(.*)@x$ \\1", "regular"),
            ("staff \"/^(.*)@x$\" bob", "regular"),
            ("staff bob /.*", "regular"),
            ("staff bob +admins", "members"),
            ("staff bob @file", "included"),
            ("include more.conf", "included"),
            ("staff bob a,b", "quotes around"),
            ("staff b\"o\"b bob", "quotes around"),
            ("staff \"bob bob", "closes"),
            ("staff \"bob\"bob bob", "a blank"),
        ];
        let text = cases.map(|(line, _)| line).join("\n");
        let flaws = Map::parse(&text).unwrap_err();
        assert_eq!(flaws.len(), cases.len(), "{flaws:?}");
        for (index, (flaw, (line, expected))) in flaws.iter().zip(cases).enumerate() {
            assert_eq!(flaw.line, index + 1, "{line}");
            assert!(flaw.expected.contains(expected), "{line}: {flaw}");
        }
    }
}
