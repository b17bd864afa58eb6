//! [pure] What the files of this room share: a line's flaw, and text between double quotes.
//!
//! A flaw is a line number and what was expected there. It never quotes the line, which may hold a secret.

use std::fmt;
use zeroize::Zeroizing;

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Counted from 1.
    pub line: usize,
    pub expected: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

/// Reads every line that holds more than blanks and a comment, with its number, and collects all flaws instead of
/// stopping at one.
pub(super) fn each<E: Into<String>>(
    text: &str,
    comments: &[char],
    mut read: impl FnMut(usize, &str) -> Result<(), E>,
) -> Result<(), Vec<Flaw>> {
    let mut flaws = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(comments) {
            continue;
        }
        if let Err(expected) = read(index + 1, line) {
            flaws.push(Flaw { line: index + 1, expected: expected.into() });
        }
    }
    if flaws.is_empty() { Ok(()) } else { Err(flaws) }
}

/// The text between the double quotes that open `line`, and what follows; a doubled quote inside stands for one.
///
/// The text may be a secret, so it is wiped when dropped.
pub(super) fn quoted(line: &str) -> Option<(Zeroizing<String>, &str)> {
    let mut rest = line.strip_prefix('"')?;
    // Large enough for every outcome: growing would leave a copy behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(rest.len()));
    loop {
        let (part, after) = rest.split_once('"')?;
        text.push_str(part);
        let Some(doubled) = after.strip_prefix('"') else {
            return Some((text, after));
        };
        text.push('"');
        rest = doubled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            (r#""a" b"#, Some(("a", " b"))),
            (r#""""#, Some(("", ""))),
            (r#""a""b"c"#, Some((r#"a"b"#, "c"))),
            (r#""""""#, Some((r#"""#, ""))),
            (r#""a\"b"#, Some((r"a\", "b"))),
            (r#""a"#, None),
            (r#""a"""#, None),
            ("a", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let read = quoted(line);
            assert_eq!(read.as_ref().map(|(text, rest)| (text.as_str(), *rest)), *expected, "{line}");
        }
    }

    #[test]
    fn all_flaws_are_collected_with_their_lines() {
        let read = |_, line: &str| if line == "bad" { Err("better") } else { Ok(()) };
        let flaws = each("ok\r\n\r\nbad\n  # bad\n;bad\n bad ", &['#', ';'], read).unwrap_err();
        assert_eq!(flaws.iter().map(|flaw| flaw.line).collect::<Vec<_>>(), [3, 6]);
        assert_eq!(flaws[0].to_string(), "line 3: expected better");
    }
}
