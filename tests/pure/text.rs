//! Messages as text, in both directions, by the manual's names: `Bind "" s1 (7 null)`, `ErrorResponse 42601 "no"`.

use std::fmt::Write;

/// Client messages as they stand in a transcript, by tag.
const FRONT: &[(u8, &str, &str)] = &[
    (b'B', "Bind", "ssv"),
    (b'C', "Close", "ks"),
    (b'D', "Describe", "ks"),
    (b'E', "Execute", "sn"),
    (b'F', "FunctionCall", "n"),
    (b'H', "Flush", ""),
    (b'P', "Parse", "sso"),
    (b'Q', "Query", "s"),
    (b'S', "Sync", ""),
    (b'X', "Terminate", ""),
    (b'c', "CopyDone", ""),
    (b'd', "CopyData", "r"),
    (b'f', "CopyFail", "s"),
];

/// Server messages.
const BACK: &[(u8, &str, &str)] = &[
    (b'1', "ParseComplete", ""),
    (b'2', "BindComplete", ""),
    (b'3', "CloseComplete", ""),
    (b'A', "NotificationResponse", "nss"),
    (b'C', "CommandComplete", "s"),
    (b'D', "DataRow", "c"),
    (b'E', "ErrorResponse", "e"),
    (b'G', "CopyInResponse", "f"),
    (b'H', "CopyOutResponse", "f"),
    (b'I', "EmptyQueryResponse", ""),
    (b'N', "NoticeResponse", "e"),
    (b'S', "ParameterStatus", "ss"),
    (b'T', "RowDescription", "d"),
    (b'V', "FunctionCallResponse", "n"),
    (b'W', "CopyBothResponse", "f"),
    (b'Z', "ReadyForQuery", "r"),
    (b'c', "CopyDone", ""),
    (b'd', "CopyData", "r"),
    (b'n', "NoData", ""),
    (b's', "PortalSuspended", ""),
    (b't', "ParameterDescription", "o"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

impl From {
    fn table(self) -> &'static [(u8, &'static str, &'static str)] {
        match self {
            From::Client => FRONT,
            From::Server => BACK,
        }
    }
}

/// A word of a transcript line: a bare word, a quoted string, or a list in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Plain(String),
    List(Vec<String>),
    End,
}

/// Splits a line into words; `;` separates messages.
pub fn words(line: &str) -> Vec<Word> {
    let mut chars = line.chars().peekable();
    let mut all = Vec::new();
    let mut list: Option<Vec<String>> = None;
    while let Some(&c) = chars.peek() {
        let word = match c {
            ' ' => {
                chars.next();
                continue;
            }
            ';' => {
                chars.next();
                all.push(Word::End);
                continue;
            }
            '(' => {
                chars.next();
                list = Some(Vec::new());
                continue;
            }
            ')' => {
                chars.next();
                all.push(Word::List(list.take().expect("a list was opened")));
                continue;
            }
            '"' => {
                chars.next();
                quoted(&mut chars)
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek().filter(|c| !" ;()".contains(**c)) {
                    word.push(c);
                    chars.next();
                }
                word
            }
        };
        match &mut list {
            Some(list) => list.push(word),
            None => all.push(Word::Plain(word)),
        }
    }
    all
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => return word,
            '\\' => word.push(match chars.next() {
                Some('n') => '\n',
                Some('0') => '\0',
                Some(c) => c,
                None => panic!("a quoted word ends in a backslash"),
            }),
            _ => word.push(c),
        }
    }
    panic!("a quoted word is not closed")
}

/// Reads the messages of one line into frames.
pub fn encode(from: From, line: &str) -> Vec<Vec<u8>> {
    let words = words(line);
    words.split(|word| *word == Word::End).filter(|m| !m.is_empty()).map(|m| encode_one(from, m)).collect()
}

fn encode_one(from: From, words: &[Word]) -> Vec<u8> {
    let plain = |at: usize| match words.get(at) {
        Some(Word::Plain(text)) => text.as_str(),
        other => panic!("word {at} of {words:?} is {other:?}"),
    };
    // `Large 100000 Parse …`: only the head of a message that says it is that long.
    if plain(0) == "Large" {
        let mut head = encode_one(from, &words[2..]);
        let len: u32 = plain(1).parse().expect("a length");
        head.splice(1..5, len.to_be_bytes());
        return head;
    }
    let (tag, _, shape) = *from.table().iter().find(|row| row.1 == plain(0)).unwrap_or_else(|| panic!("{words:?}"));
    let mut body = Vec::new();
    for (at, field) in (1..).zip(shape.bytes()) {
        match field {
            b's' => {
                body.extend(plain(at).as_bytes());
                body.push(0);
            }
            b'k' => body.extend(plain(at).as_bytes()),
            b'r' => body.extend(plain(at).as_bytes()),
            b'n' => body.extend(plain(at).parse::<i32>().expect("a number").to_be_bytes()),
            b'e' => error(&mut body, &words[at..]),
            b'f' => body.extend([0, 0, 0]),
            _ => list(&mut body, field, words.get(at)),
        }
    }
    frame(tag, &body)
}

/// `CODE "text"` and further fields as `R=routine`.
fn error(body: &mut Vec<u8>, words: &[Word]) {
    let mut fields = vec![(b'S', "ERROR".to_owned())];
    for (at, word) in words.iter().enumerate() {
        let Word::Plain(word) = word else { panic!("{word:?}") };
        match at {
            0 => fields.push((b'C', word.clone())),
            1 => fields.push((b'M', word.clone())),
            _ => fields.push((word.as_bytes()[0], word[2..].to_owned())),
        }
    }
    for (kind, value) in fields {
        body.push(kind);
        body.extend(value.as_bytes());
        body.push(0);
    }
    body.push(0);
}

fn list(body: &mut Vec<u8>, kind: u8, word: Option<&Word>) {
    let empty = Vec::new();
    let items = match word {
        Some(Word::List(items)) => items,
        None => &empty,
        Some(other) => panic!("a list is expected, not {other:?}"),
    };
    // Bind: no parameter formats.
    body.extend(if kind == b'v' { &[0, 0][..] } else { &[] });
    body.extend((items.len() as u16).to_be_bytes());
    for item in items {
        match kind {
            b'o' => body.extend(item.parse::<u32>().expect("a type's oid").to_be_bytes()),
            b'd' => column(body, item),
            _ if item == "null" => body.extend((-1_i32).to_be_bytes()),
            _ => {
                body.extend((item.len() as u32).to_be_bytes());
                body.extend(item.as_bytes());
            }
        }
    }
    // And no result formats.
    body.extend(if kind == b'v' { &[0, 0][..] } else { &[] });
}

/// `name`, or `name:type:modifier`.
fn column(body: &mut Vec<u8>, item: &str) {
    let mut parts = item.split(':');
    let mut number = [0_i32; 2];
    body.extend(parts.next().unwrap_or_default().as_bytes());
    number.iter_mut().zip(parts).for_each(|(number, part)| *number = part.parse().expect("a number"));
    body.extend([0; 7]);
    body.extend(number[0].to_be_bytes());
    body.extend([0; 2]);
    body.extend(number[1].to_be_bytes());
    body.extend([0; 2]);
}

pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

/// A frame's body, field by field. Reads past the end as zeros: a large message is there in part only.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn cstr(&mut self) -> String {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn number(&mut self, size: usize) -> i64 {
        let value = self.bytes(size).iter().fold(0_i64, |n, b| n << 8 | i64::from(*b));
        if size == 4 { i64::from(value as i32) } else { value }
    }
}

/// Writes a frame as a transcript has it.
pub fn decode(from: From, bytes: &[u8]) -> String {
    let len = u32::from_be_bytes(bytes[1..5].try_into().expect("four bytes"));
    let Some((_, name, shape)) = from.table().iter().find(|row| row.0 == bytes[0]) else {
        return format!("unknown {:?} {:?}", bytes[0] as char, &bytes[5..]);
    };
    let mut out = String::new();
    if len as usize + 1 > bytes.len() {
        write!(out, "Large {len} ").expect("a String takes all");
    }
    out.push_str(name);
    let mut body = Reader(&bytes[5..]);
    for field in shape.bytes() {
        out.push(' ');
        match field {
            b's' => out.push_str(&quote(&body.cstr())),
            b'k' => out.push_str(&quote(&String::from_utf8_lossy(body.bytes(1)))),
            b'r' => out.push_str(&quote(&String::from_utf8_lossy(std::mem::take(&mut body.0)))),
            b'n' => out.push_str(&body.number(4).to_string()),
            b'e' => out.push_str(&error_text(body.0)),
            b'f' => _ = out.pop(),
            _ => out.push_str(&items(field, &mut body)),
        }
    }
    out
}

fn error_text(body: &[u8]) -> String {
    let mut fields: Vec<(u8, String)> =
        pgweir::wire::backend::fields(body).map(|(k, v)| (k, String::from_utf8_lossy(v).into_owned())).collect();
    let mut take = |kind| {
        let at = fields.iter().position(|(k, _)| *k == kind)?;
        Some(fields.remove(at).1)
    };
    let severity = take(b'S').unwrap_or_default();
    take(b'V');
    let mut out = format!("{} {}", quote(&take(b'C').unwrap_or_default()), quote(&take(b'M').unwrap_or_default()));
    if severity != "ERROR" {
        out = format!("{severity} {out}");
    }
    for (kind, value) in fields {
        write!(out, " {}={value}", kind as char).expect("a String takes all");
    }
    out
}

fn items(kind: u8, body: &mut Reader<'_>) -> String {
    let mut all = Vec::new();
    if kind == b'v' {
        let formats = body.number(2) as usize;
        body.bytes(2 * formats);
    }
    for _ in 0..body.number(2) {
        all.push(match kind {
            b'o' => body.number(4).to_string(),
            b'd' => {
                let mut column = quote(&body.cstr());
                body.bytes(6);
                let oid = body.number(4);
                body.bytes(2);
                let modifier = body.number(4);
                body.bytes(2);
                if (oid, modifier) != (0, 0) {
                    write!(column, ":{oid}:{modifier}").expect("a String takes all");
                }
                column
            }
            _ => match body.number(4) {
                -1 => "null".to_owned(),
                n => quote(&String::from_utf8_lossy(body.bytes(n as usize))),
            },
        });
    }
    format!("({})", all.join(" "))
}

/// Bare where it reads back as it is.
fn quote(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_.$-".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
