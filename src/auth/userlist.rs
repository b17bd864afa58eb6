//! [pure] PgBouncer's `auth_file`: a user and its secret on each line, both in double quotes.
//!
//! ```text
//! ; comment
//! "alice" "SCRAM-SHA-256$4096:…$…:…"
//! "o""hara" "a password"   what follows is ignored
//! ```
//!
//! A line is read by itself: a missing quote is a flaw of its line and cannot swallow the next. So, unlike in
//! PgBouncer, a name or secret cannot hold a line break; and `#` opens a comment too.

use super::lines::{Flaw, each, quoted};
use super::secret::Secret;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Userlist {
    secrets: BTreeMap<Box<str>, Secret>,
}

impl Userlist {
    /// Of two lines for one user the later counts. All flaws are told at once.
    pub fn parse(text: &str) -> Result<Userlist, Vec<Flaw>> {
        let mut secrets = BTreeMap::new();
        each(text, &[';', '#'], |_, line| {
            let (user, secret) = entry(line)?;
            secrets.insert(user, secret);
            Ok::<_, &str>(())
        })?;
        Ok(Userlist { secrets })
    }

    pub fn secret(&self, user: &str) -> Option<&Secret> {
        self.secrets.get(user)
    }

    /// In the order of their names.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(|user| &**user)
    }

    /// A line that [`Userlist::parse`] reads back. Neither argument may hold a line break.
    pub fn quote_line(user: &str, secret: &str) -> String {
        format!("\"{}\" \"{}\"", user.replace('"', "\"\""), secret.replace('"', "\"\""))
    }
}

fn entry(line: &str) -> Result<(Box<str>, Secret), &'static str> {
    const CLOSED: &str = "a double quote that closes what was opened on this line";
    if !line.starts_with('"') {
        return Err("a user name in double quotes");
    }
    let (user, rest) = quoted(line).ok_or(CLOSED)?;
    if user.is_empty() {
        return Err("a user name between the first quotes");
    }
    let secret = rest.trim_start();
    if !secret.starts_with('"') {
        return Err("a secret in double quotes after the user name");
    }
    let (secret, _ignored) = quoted(secret).ok_or(CLOSED)?;
    Ok((user.as_str().into(), Secret::parse(&secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(list: &Userlist, user: &str) -> Option<String> {
        match list.secret(user)? {
            Secret::Plain(password) => Some(password.to_string()),
            other => Some(format!("<{}>", other.kind())),
        }
    }

    #[test]
    fn lines_as_pgbouncer_reads_them() {
        let list = Userlist::parse(concat!(
            "; users\r\n",
            "\"alice\" \"one\"\r\n",
            "\n",
            "   \"bob\"\t\"two\" \"trailing\" words\n",
            "# also a comment\n",
            "\"o\"\"hara\" \"quo\"\"te\"\n",
            "\"empty\" \"\"\n",
            "\"hash\" \"md5d41d8cd98f00b204e9800998ecf8427e\"\n",
            "\"semi;colon\" \"# not; a comment\"\n",
            "\"alice\" \"later\"",
        ))
        .unwrap();
        let expected = [
            ("alice", Some("later")),
            ("bob", Some("two")),
            ("o\"hara", Some("quo\"te")),
            ("empty", Some("<missing>")),
            ("hash", Some("<md5>")),
            ("semi;colon", Some("# not; a comment")),
            ("Alice", None),
            ("", None),
        ];
        for (user, secret) in expected {
            assert_eq!(plain(&list, user).as_deref(), secret, "{user}");
        }
        assert_eq!(list.users().collect::<Vec<_>>(), ["alice", "bob", "empty", "hash", "o\"hara", "semi;colon"]);
    }

    #[test]
    fn an_empty_file_is_a_list_of_nobody() {
        for text in ["", "\n\n", "; nobody\n"] {
            assert_eq!(Userlist::parse(text).unwrap().users().count(), 0);
        }
    }

    #[test]
    fn every_flawed_line_is_named_and_none_is_quoted() {
        let cases = [
            ("alice \"hunter2\"", "a user name in"),
            ("\"alice", "closes"),
            ("\"alice\"", "a secret"),
            ("\"alice\" hunter2", "a secret"),
            ("\"alice\" \"hunter2", "closes"),
            ("\"alice\" \"hunter2\"\"", "closes"),
            ("\"alice\"\"hunter2\"", "a secret"),
            ("\"\" \"hunter2\"", "between"),
        ];
        let text = cases.map(|(line, _)| line).join("\n");
        let flaws = Userlist::parse(&text).unwrap_err();
        assert_eq!(flaws.len(), cases.len());
        for (index, (flaw, (line, expected))) in flaws.iter().zip(cases).enumerate() {
            assert_eq!(flaw.line, index + 1, "{line}");
            assert!(flaw.expected.contains(expected), "{line}: {flaw}");
            assert!(!flaw.to_string().contains("hunter2"), "{line}: {flaw}");
        }
    }

    #[test]
    fn quoted_lines_come_back() {
        for (user, secret) in [("a", "b"), ("\"", "\"\""), ("a b;#", " x "), ("ü", "\\")] {
            let list = Userlist::parse(&Userlist::quote_line(user, secret)).unwrap();
            assert_eq!(plain(&list, user).as_deref(), Some(secret));
        }
    }
}
