//! [pure] What servers answer to a monitor's questions, from rows of text to values. Nothing of it is trusted to be
//! there.

use super::judge::Look;
use crate::error::Error;
use crate::route::freshness::normalised;
use crate::route::topology::Identity;

/// The columns of one row, as text; `None`: NULL.
pub type Row = Vec<Option<String>>;

/// What changes from one moment to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub in_recovery: bool,
    lsn: Option<u64>,
    paused: bool,
}

/// The answer to the whole question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub position: Position,
    /// Without the version, which the login reports.
    pub identity: Identity,
    /// Bytes of a page and of a segment of WAL.
    pub page: u64,
    pub segment: u64,
    /// synchronous_standby_names is set: commits wait for standbys.
    pub is_synchronous: bool,
}

impl Position {
    /// A primary's position is normalised by the sizes of WAL's pages and segments.
    pub fn look(&self, at: u64, page: u64, segment: u64) -> Look {
        let normal = |lsn| if self.in_recovery { lsn } else { normalised(lsn, page, segment) };
        let (in_recovery, paused) = (self.in_recovery, self.paused);
        Look { at, in_recovery, position: self.lsn.map(normal), paused, identity: None }
    }
}

/// A row of the role alone.
pub fn role(row: &Row) -> Result<bool, Error> {
    match column(row, 0) {
        Some("t") => Ok(true),
        Some("f") => Ok(false),
        _ => Err(Error::desync("no role in a probe's answer")),
    }
}

/// A row of role, position and pause.
pub fn position(row: &Row) -> Result<Position, Error> {
    Ok(Position { in_recovery: role(row)?, lsn: column(row, 1).and_then(lsn), paused: column(row, 2) == Some("t") })
}

/// A row of all.
pub fn whole(row: &Row) -> Result<Answer, Error> {
    let number = |n| column(row, n).and_then(|text| text.parse::<u64>().ok());
    // The identifier is unsigned, but int8 in SQL.
    let system = column(row, 3).and_then(|text| text.parse::<i64>().ok()).map(i64::cast_unsigned);
    let timeline = column(row, 4).and_then(|text| u32::from_str_radix(text, 16).ok());
    Ok(Answer {
        position: position(row)?,
        identity: Identity { system, timeline, major: None },
        page: number(5).unwrap_or(0),
        segment: number(6).unwrap_or(0),
        is_synchronous: column(row, 7).is_some_and(|names| !names.trim().is_empty()),
    })
}

/// The first part of the version that a login reported.
pub fn major(reported: &[(String, String)]) -> Option<u32> {
    let (_, version) = reported.iter().find(|(name, _)| name == "server_version")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A position as PostgreSQL writes it: two halves in hexadecimal.
pub fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let half = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u64::from);
    Some(half(high)? << 32 | half(low)?)
}

/// The body of a DataRow.
pub fn columns(body: &[u8]) -> Result<Row, Error> {
    let short = || Error::desync("a DataRow that ends early");
    let (count, mut rest) = body.split_first_chunk().ok_or_else(short)?;
    let mut row = Row::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (len, after) = rest.split_first_chunk().ok_or_else(short)?;
        let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
            row.push(None);
            rest = after;
            continue;
        };
        let (value, after) = after.split_at_checked(len).ok_or_else(short)?;
        row.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = after;
    }
    Ok(row)
}

pub fn column(row: &Row, n: usize) -> Option<&str> {
    row.get(n)?.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[&str]) -> Row {
        columns.iter().map(|text| (*text != "NULL").then(|| (*text).to_owned())).collect()
    }

    #[test]
    fn positions_are_two_halves() {
        let table = [
            ("0/0", Some(0)),
            ("16/B374D848", Some(0x16_b374_d848)),
            ("FFFFFFFF/FFFFFFFF", Some(u64::MAX)),
            ("1/", None),
            ("1", None),
            ("1/100000000", None),
            ("x/1", None),
        ];
        for (text, expected) in table {
            assert_eq!(lsn(text), expected, "{text}");
        }
    }

    #[test]
    fn a_data_row_is_read_to_its_end_and_no_further() {
        let body = [0, 3, 0, 0, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(columns(&body).ok(), Some(vec![Some("t".to_owned()), None, Some(String::new())]));
        for end in 0..body.len() {
            assert!(columns(&body[..end]).is_err(), "{end}");
        }
        assert!(columns(&[0, 1, 0x7f, 0xff, 0xff, 0xff, b'x']).is_err());
    }

    #[test]
    fn a_primary_and_a_standby_answer() {
        let primary = row(&["f", "0/1000028", "f", "-2", "00000002", "8192", "16777216", " a, b "]);
        let answer = whole(&primary).expect("an answer");
        assert_eq!(answer.identity, Identity { system: Some(u64::MAX - 1), timeline: Some(2), major: None });
        assert!(answer.is_synchronous);
        let look = answer.position.look(5, answer.page, answer.segment);
        let expected = Look { at: 5, in_recovery: false, position: Some(0x100_0000), paused: false, identity: None };
        assert_eq!(look, expected, "40 behind a segment's start is behind its header");
        assert_eq!(answer.position.look(5, 8192, 64 << 20).position, Some(0x100_0028));

        let standby = row(&["t", "0/2018", "t", "7", "a", "8192", "16777216", ""]);
        let answer = whole(&standby).expect("an answer");
        assert_eq!((answer.identity.timeline, answer.is_synchronous), (Some(10), false));
        let look = answer.position.look(5, answer.page, answer.segment);
        assert_eq!((look.position, look.paused), (Some(0x2018), true), "replay reports no header");
    }

    #[test]
    fn what_is_missing_is_not_known() {
        let answer = whole(&row(&["t", "NULL", "NULL", "NULL", "NULL"])).expect("an answer");
        assert_eq!((answer.identity, answer.position.lsn), (Identity::default(), None));
        assert!(whole(&row(&["NULL"])).is_err() && whole(&row(&[])).is_err() && role(&row(&["true"])).is_err());
    }

    #[test]
    fn a_version_has_a_first_part() {
        let reported = |version: &str| [("server_version".to_owned(), version.to_owned())];
        assert_eq!(major(&reported("15.20 (Debian 15.20-1)")), Some(15));
        assert_eq!(major(&reported("19beta1")), Some(19));
        assert_eq!((major(&reported("devel")), major(&[])), (None, None));
    }
}
