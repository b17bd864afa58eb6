//! [pure] The TOML file as written: text in, entries with their lines out. Nothing else knows this shape.
//!
//! No meaning is given here, and no value is ever put into a message: it may be a password.

use ::toml::Spanned;
use ::toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::draft::{Mistake, MistakeKind};
use super::keys;
use super::value::{Entry, Item, Written};

/// The top-level entries in the order of their lines, and what is not TOML.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let lines = Lines { text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors.iter().map(|error| lines.mistake(error.message(), error.span())).collect();
    (lines.entries(table.get_ref()), mistakes)
}

/// The value that `text` writes; `None` where it writes none.
pub(crate) fn literal(text: &str) -> Option<Written> {
    let value = DeValue::parse(text).ok()?;
    Some(Lines { text }.written(value.get_ref()))
}

struct Lines<'a> {
    text: &'a str,
}

impl Lines<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn mistake(&self, message: &str, span: Option<std::ops::Range<usize>>) -> Mistake {
        let span = span.unwrap_or(0..0);
        let line = self.line(span.start);
        if message == "duplicate key" {
            let key = self.text.get(span).unwrap_or("TOML").to_owned();
            let expected = "expected each key and table once; found it again".into();
            return Mistake { kind: MistakeKind::Local, line, key, expected };
        }
        // The text before a `=` is shown only where it is surely no part of a value.
        let text = self.text.lines().nth(line - 1).unwrap_or("");
        let name = text.split('=').next().unwrap_or("").trim();
        let key = if keys::is_name(name) { name } else { "TOML" };
        Mistake { kind: MistakeKind::Syntax, line, key: key.into(), expected: format!("expected TOML: {message}") }
    }

    fn entries(&self, table: &DeTable<'_>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(name, value)| Entry {
                name: name.get_ref().to_string(),
                line: self.line(name.span().start),
                value: self.written(value.get_ref()),
            })
            .collect();
        entries.sort_by_key(|entry| entry.line);
        entries
    }

    fn written(&self, value: &DeValue<'_>) -> Written {
        match value {
            DeValue::Boolean(value) => Written::Boolean(*value),
            DeValue::Integer(value) => integer(value),
            DeValue::Float(value) => value.as_str().parse().map_or(Written::Other("a number"), Written::Float),
            DeValue::String(text) => Written::Text(text.to_string()),
            DeValue::Array(items) => Written::List(self.items(items)),
            DeValue::Table(table) => Written::Table(self.entries(table)),
            DeValue::Datetime(_) => Written::Other("a date"),
        }
    }

    fn items(&self, items: &DeArray<'_>) -> Vec<Item> {
        let item = |value: &Spanned<DeValue<'_>>| Item {
            line: self.line(value.span().start),
            value: self.written(value.get_ref()),
        };
        items.iter().map(item).collect()
    }
}

fn integer(value: &DeInteger<'_>) -> Written {
    match i64::from_str_radix(value.as_str(), value.radix()) {
        Ok(number) => Written::Integer { value: number, radix: value.radix() },
        Err(_) => Written::Other("an integer beyond 64 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_lines_and_their_order() {
        let (entries, mistakes) = parse("# one\n[b]\nz = 1\na = [\n  \"x\",\n  0o17,\n]\n[a.c]\n");
        assert_eq!(mistakes, []);
        let names: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.line)).collect();
        assert_eq!(names, [("b", 2), ("a", 8)]);
        let Written::Table(inner) = &entries[0].value else { panic!("[b] is a table") };
        assert_eq!(inner[0].value, Written::Integer { value: 1, radix: 10 });
        let items = vec![
            Item { line: 5, value: Written::Text("x".into()) },
            Item { line: 6, value: Written::Integer { value: 15, radix: 8 } },
        ];
        assert_eq!(inner[1].value, Written::List(items));
    }

    #[test]
    fn mistakes_have_lines_and_show_no_value() {
        let table = [
            ("a = 1\na = 2\n", 2, "a"),
            ("[t]\n[u]\n[t]\n", 3, "t"),
            ("[t]\npassword = \"hush\n", 2, "password"),
            ("[t]\npassword \"hush\"\n", 2, "TOML"),
            ("verbose = 5 hush\n", 1, "verbose"),
            ("hush = 5 hush\n", 1, "TOML"),
        ];
        for (text, line, key) in table {
            let (_, mistakes) = parse(text);
            let first = mistakes.first().expect("a mistake");
            assert_eq!((first.line, first.key.as_str()), (line, key), "{text}");
            assert!(mistakes.iter().all(|mistake| !mistake.expected.contains("hush")), "{mistakes:?}");
        }
    }
}
