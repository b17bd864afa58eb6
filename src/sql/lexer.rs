//! [pure] PostgreSQL's lexical rules (`scan.l`) as an iterator over bytes: every [`Token`] borrows the text.
//!
//! It finds where tokens begin and end, and no more: values are not decoded. It reads each byte at most a fixed
//! number of times, allocates nothing, and ends after the first [`Kind::Broken`], which reaches to the end of the
//! text. Where majors differ (`1FROM` is two tokens up to 14, `1_000` is one from 16 on) it follows whichever of
//! them accepts the text, and breaks off where both do and disagree.

use memchr::{memchr2, memmem};

use super::spans::*;
use Kind::*;

/// The settings of a session that decide how its texts are cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lexical {
    /// Whether a backslash in a plain `'…'` is a plain character.
    pub standard_conforming_strings: bool,
    /// Whether client_encoding has ASCII bytes inside its characters (SJIS, BIG5, GBK, …): a backslash or a letter
    /// may then be half a character, and a text with any byte above 0x7F cannot be read.
    pub opaque_encoding: bool,
}

impl Lexical {
    /// What a session has that changed nothing.
    pub const STANDARD: Self = Self { standard_conforming_strings: true, opaque_encoding: false };

    /// From the two values as ParameterStatus reports them.
    pub fn from_parameters(standard_conforming_strings: &[u8], client_encoding: &[u8]) -> Self {
        const CLEAR: [&[u8]; 7] = [b"UTF8", b"LATIN", b"WIN", b"ISO_", b"KOI8", b"EUC_", b"SQL_ASCII"];
        let clear =
            |name: &&[u8]| client_encoding.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        Self {
            standard_conforming_strings: standard_conforming_strings == b"on",
            opaque_encoding: !CLEAR.iter().any(clear),
        }
    }
}

impl Default for Lexical {
    fn default() -> Self {
        Self::STANDARD
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An identifier or keyword without quotes.
    Word,
    /// `"…"`.
    Quoted,
    /// `U&"…"`: its name is not what it looks like.
    UnicodeQuoted,
    /// `'…'` with any prefix and its continuations on further lines, or a dollar-quoted string.
    Str,
    Number,
    /// `$1`.
    Param,
    Op,
    /// One of `( ) , ; . [ ] :`, or `::`, `:=`, `..`.
    Punct,
    /// What no lexer of PostgreSQL accepts, up to the end of the text.
    Broken,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    /// As written, quotes and prefix included.
    pub text: &'a [u8],
    /// Where it begins in the whole text.
    pub start: usize,
}

impl Token<'_> {
    /// Whether this is the unquoted keyword `word`, in any case.
    pub fn is_word(&self, word: &[u8]) -> bool {
        self.kind == Word && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_punct(&self, punct: &[u8]) -> bool {
        self.kind == Punct && self.text == punct
    }
}

/// A place in a text; a clone looks ahead.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    lexical: Lexical,
    /// Up to here each byte is a `+` or `-` that stands alone: the tail of an operator run that was cut. Knowing it
    /// keeps a long run of signs linear.
    signs: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], lexical: Lexical) -> Self {
        Self { text, at: 0, lexical, signs: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes blanks and comments. `None`: a comment does not end.
    #[inline]
    fn skip_blank(&mut self) -> Option<()> {
        // Mostly there is one space, or nothing.
        if let [b' ', ..] = self.rest() {
            self.at += 1;
        }
        match self.rest() {
            [first, ..] if !matches!(class(*first) & START, 0 | START_OP | START_BLANK) => Some(()),
            _ => self.skip_blanks(),
        }
    }

    fn skip_blanks(&mut self) -> Option<()> {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C, ..] => self.at += 1,
                [b'-', b'-', rest @ ..] => self.at += 2 + memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()),
                rest @ [b'/', b'*', ..] => self.at += block_comment(rest)?,
                _ => return Some(()),
            }
        }
    }

    /// The kind of the token at the head of `rest`, and its length. `None`: broken.
    fn cut(&mut self, rest: &[u8]) -> Option<(Kind, usize)> {
        let first = *rest.first()?;
        match class(first) & START {
            START_WORD => self.word(first, rest),
            START_NUMBER => number(rest).map(|len| (Number, len)),
            START_OP => Some((Op, self.operator(rest))),
            START_PUNCT => punct(rest),
            START_QUOTE => match first {
                b'\'' => string(rest, 1, self.plain()).map(|len| (Str, len)),
                b'"' => name(rest, 1).map(|len| (Quoted, len)),
                _ => dollar(rest),
            },
            _ => None,
        }
    }

    /// An identifier, or a string with a letter in front.
    fn word(&self, first: u8, rest: &[u8]) -> Option<(Kind, usize)> {
        let len = run(rest, WORD);
        if len > 1 {
            return Some((Word, len));
        }
        match (first | 0x20, rest) {
            (b'e', [_, b'\'', ..]) => string(rest, 2, Escapes::Backslash).map(|len| (Str, len)),
            (b'n', [_, b'\'', ..]) => string(rest, 2, self.plain()).map(|len| (Str, len)),
            (b'b' | b'x', [_, b'\'', ..]) => string(rest, 2, Escapes::None).map(|len| (Str, len)),
            (b'u', [_, b'&', b'"', ..]) => name(rest, 3).map(|len| (UnicodeQuoted, len)),
            // PostgreSQL refuses it unless standard_conforming_strings is on.
            (b'u', [_, b'&', b'\'', ..]) if !self.lexical.standard_conforming_strings => None,
            (b'u', [_, b'&', b'\'', ..]) => string(rest, 3, Escapes::Doubling).map(|len| (Str, len)),
            _ => Some((Word, len)),
        }
    }

    fn plain(&self) -> Escapes {
        if self.lexical.standard_conforming_strings { Escapes::Doubling } else { Escapes::Backslash }
    }

    /// The longest run of operator characters, cut before a comment; and before trailing signs, unless a character
    /// that SQL's own operators lack stands before them (so that `=-1` is `=` and `-1`).
    fn operator(&mut self, rest: &[u8]) -> usize {
        if self.at < self.signs {
            return 1;
        }
        let mut free = false;
        let mut len = 0;
        let mut unsigned = 1;
        while let Some(&byte) = rest.get(len) {
            if class(byte) & OP == 0 || matches!(rest.get(len..), Some([b'-', b'-', ..] | [b'/', b'*', ..])) {
                break;
            }
            len += 1;
            free |= class(byte) & FREE != 0;
            if !matches!(byte, b'+' | b'-') {
                unsigned = len;
            }
        }
        if free {
            return len;
        }
        self.signs = self.at + len;
        unsigned
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let blank = self.skip_blank();
        let start = self.at;
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let (kind, len) = blank.and_then(|()| self.cut(rest)).unwrap_or((Broken, rest.len()));
        self.at += len;
        Some(Token { kind, text: rest.get(..len).unwrap_or(rest), start })
    }
}

/// `$1`, or a string between two equal `$tag$`.
fn dollar(rest: &[u8]) -> Option<(Kind, usize)> {
    let digits = run(rest.get(1..)?, DIGIT);
    if digits > 0 {
        return Some((Param, 1 + digits));
    }
    let open = 2 + run(rest.get(1..)?, TAG);
    let (tag, body) = rest.split_at_checked(open)?;
    if !tag.ends_with(b"$") {
        return None;
    }
    memmem::find(body, tag).map(|end| (Str, open + end + open))
}

fn punct(rest: &[u8]) -> Option<(Kind, usize)> {
    match rest {
        [b':', b':' | b'=', ..] | [b'.', b'.', ..] => Some((Punct, 2)),
        [b'.', b'0'..=b'9', ..] => long_number(rest).map(|len| (Number, len)),
        _ => Some((Punct, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFF: Lexical = Lexical { standard_conforming_strings: false, opaque_encoding: false };

    /// Tokens as `kind:text`, apart by blanks.
    fn cut(text: &[u8], lexical: Lexical) -> String {
        let show = |token: Token<'_>| format!("{:?}:{}", token.kind, String::from_utf8_lossy(token.text));
        Lexer::new(text, lexical).map(show).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn table(lexical: Lexical, rows: &[(&str, &str)]) {
        for (text, tokens) in rows {
            assert_eq!(cut(text.as_bytes(), lexical), *tokens, "{text}");
        }
    }

    #[test]
    fn words_numbers_and_names() {
        table(
            Lexical::STANDARD,
            &[
                ("", ""),
                (" \t\r\n\x0b\x0c", ""),
                ("select a$1_b", "Word:select Word:a$1_b"),
                ("a$$b$$c", "Word:a$$b$$c"),
                ("für\u{a0}x", "Word:für\u{a0}x"),
                (r#""a ""b"" c".d"#, r#"Quoted:"a ""b"" c" Punct:. Word:d"#),
                (r#"U&"d\0061t" u&x"#, r#"UnicodeQuoted:U&"d\0061t" Word:u Op:& Word:x"#),
                ("1 1.5 .5 1. 1e5 1.5E-3", "Number:1 Number:1.5 Number:.5 Number:1. Number:1e5 Number:1.5E-3"),
                ("1..2", "Number:1 Punct:.. Number:2"),
                ("1from", "Number:1 Word:from"),
                ("1e 1e+ 1E'\\''", "Number:1 Word:e Number:1 Word:e Op:+ Number:1 Str:E'\\''"),
                (
                    "1_000 1__0 0xFFg 0o17 0b12",
                    "Number:1_000 Number:1 Word:__0 Number:0xFF Word:g Number:0o17 Number:0b1 Number:2",
                ),
                ("0or 0between", "Number:0 Word:or Number:0 Word:between"),
                ("1$$a$$", "Number:1 Str:$$a$$"),
                ("1_0$$a$$", "Broken:1_0$$a$$"),
                ("$1 $12a", "Param:$1 Param:$12 Word:a"),
                ("a::b := [c]", "Word:a Punct::: Word:b Punct::= Punct:[ Word:c Punct:]"),
            ],
        );
    }

    #[test]
    fn strings() {
        table(
            Lexical::STANDARD,
            &[
                ("'it''s' x", "Str:'it''s' Word:x"),
                (r"'\' x", r"Str:'\' Word:x"),
                (r"E'\'' x", r"Str:E'\'' Word:x"),
                (r"e'\\' x", r"Str:e'\\' Word:x"),
                (r"N'\' x", r"Str:N'\' Word:x"),
                (r"U&'\0027' x", r"Str:U&'\0027' Word:x"),
                (r"b'01''1' X'1F'", r"Str:b'01' Str:'1' Str:X'1F'"),
                ("'a'\n'b' 'c'", "Str:'a'\n'b' Str:'c'"),
                ("'a' --x'\n\t'b'", "Str:'a' --x'\n\t'b'"),
                ("'a' /*\n*/ 'b'", "Str:'a' Str:'b'"),
                ("E'a'\r\n'\\'b'", "Str:E'a'\r\n'\\'b'"),
                ("$$a'b$$ $x$ $$ $y$ $x$ z", "Str:$$a'b$$ Str:$x$ $$ $y$ $x$ Word:z"),
                ("$ü1$a$ü1$", "Str:$ü1$a$ü1$"),
                ("$a$$a$$a$", "Str:$a$$a$ Broken:$a$"),
                ("$$$ $$$", "Str:$$$ $$ Broken:$"),
            ],
        );
        table(
            OFF,
            &[
                (r"'\'' x", r"Str:'\'' Word:x"),
                (r"N'\'' x", r"Str:N'\'' Word:x"),
                (r"B'\' x", r"Str:B'\' Word:x"),
                (r#"U&'a'"#, r#"Broken:U&'a'"#),
                (r#"U&"a""#, r#"UnicodeQuoted:U&"a""#),
            ],
        );
    }

    #[test]
    fn operators_and_comments() {
        table(
            Lexical::STANDARD,
            &[
                ("a=-1", "Word:a Op:= Op:- Number:1"),
                ("a@-1", "Word:a Op:@- Number:1"),
                ("a<>+-b", "Word:a Op:<> Op:+ Op:- Word:b"),
                ("+-+=", "Op:+-+="),
                ("a*--b\nc", "Word:a Op:* Word:c"),
                ("a</*b*/c", "Word:a Op:< Word:c"),
                ("a@/*b*/c", "Word:a Op:@ Word:c"),
                ("a-/b", "Word:a Op:-/ Word:b"),
                ("/* /* */ ' */ a", "Word:a"),
                ("/**/a/***/", "Word:a"),
                ("/*/**/*/a", "Word:a"),
                ("/*/*/ a", "Broken:/*/*/ a"),
                ("for/**/update", "Word:for Word:update"),
                ("a--b", "Word:a"),
                ("a--b\r;", "Word:a Punct:;"),
                ("a ?| b -> '$.x'", "Word:a Op:?| Word:b Op:-> Str:'$.x'"),
            ],
        );
    }

    #[test]
    fn broken_to_the_end() {
        for text in [
            "'a", "\"a", "/* a", "$$a", "$a b", "$", "E'a\\'", "E'\\", "\0a", "\\d", "{", "X'1", "U&\"a", "U&'a",
            "'a'\n'b",
        ] {
            let last = Lexer::new(text.as_bytes(), Lexical::STANDARD).last().map(|token| token.kind);
            assert_eq!(last, Some(Broken), "{text:?}");
        }
    }

    #[test]
    fn encodings() {
        for (name, opaque) in [("UTF8", false), ("LATIN1", false), ("EUC_JP", false), ("SJIS", true), ("GBK", true)] {
            assert_eq!(Lexical::from_parameters(b"on", name.as_bytes()).opaque_encoding, opaque, "{name}");
        }
        assert!(!Lexical::from_parameters(b"off", b"UTF8").standard_conforming_strings);
    }

    #[test]
    fn a_long_run_of_signs_is_linear() {
        let text = b"+-".repeat(200_000);
        assert_eq!(Lexer::new(&text, Lexical::STANDARD).count(), 400_000);
    }

    fn spans_are_sound(text: &[u8], lexical: Lexical) {
        let mut end = 0;
        for token in Lexer::new(text, lexical) {
            assert!(token.start >= end && !token.text.is_empty());
            end = token.start + token.text.len();
            assert_eq!(text.get(token.start..end), Some(token.text));
        }
        assert!(end <= text.len());
    }

    proptest! {
        #[test]
        fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..300), standard: bool) {
            spans_are_sound(&text, Lexical { standard_conforming_strings: standard, ..Lexical::STANDARD });
        }

        #[test]
        fn any_soup(text in "[-+*/'\"$eEuUbx&\\\\a1_.:; \n]{0,60}", standard: bool) {
            spans_are_sound(text.as_bytes(), Lexical { standard_conforming_strings: standard, ..Lexical::STANDARD });
        }
    }
}
