//! [pure] What a statement's rows look like, as far as PostgreSQL would refuse a cached plan for a change of it.
//!
//! `plancache.c` compares the columns' number, names, types, type modifiers and collations; of these RowDescription has
//! all but the collations, which change nothing about how a client reads a row. Parameter types are compared too: a
//! statement's are fixed in PostgreSQL, but another server may infer others from a changed table, and would read the
//! client's values by them. Kept as a hash, so that a description costs a statement 16 bytes.

use std::num::NonZeroU64;

use sha2::{Digest, Sha256};

use crate::wire::cstr;

/// The rows of one plan, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number, names and types of the columns.
    columns: u64,
    /// Their type modifiers, and the parameters' types; None where a portal was described, whose plan may know its type
    /// modifiers better than the statement does.
    details: Option<NonZeroU64>,
}

/// How what a client was told compares with what a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    Changed,
    Same,
    /// A description of the statement itself must tell.
    Unknown,
}

impl Shape {
    /// What the description of a portal says: the body of RowDescription, or None for NoData. No shape where the body is
    /// broken.
    pub fn of_portal(rows: Option<&[u8]>) -> Option<Shape> {
        let (columns, _) = hashes(rows, b"")?;
        Some(Shape { columns, details: None })
    }

    /// What the description of a statement says, with the body of its ParameterDescription.
    pub fn of_statement(rows: Option<&[u8]>, parameters: &[u8]) -> Option<Shape> {
        let (columns, details) = hashes(rows, parameters)?;
        Some(Shape { columns, details: NonZeroU64::new(details.max(1)) })
    }

    /// Whether a statement was described, not only a portal.
    pub fn is_full(&self) -> bool {
        self.details.is_some()
    }

    /// This is what a client was told.
    pub fn compared_with(&self, has: &Shape) -> Likeness {
        match (self.details, has.details) {
            _ if self.columns != has.columns => Likeness::Changed,
            (None, _) => Likeness::Same,
            (Some(_), None) => Likeness::Unknown,
            (told, has) if told == has => Likeness::Same,
            _ => Likeness::Changed,
        }
    }
}

/// Of names and types, and of the rest.
fn hashes(rows: Option<&[u8]>, parameters: &[u8]) -> Option<(u64, u64)> {
    let (mut columns, mut details) = (Sha256::new(), Sha256::new());
    details.update(parameters);
    if let Some(body) = rows {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        columns.update(count);
        for _ in 0..u16::from_be_bytes(*count) {
            // The table's oid (4) and the column's number (2), type (4), length (2), type modifier (4), format (2).
            let (name, after) = cstr(rest)?;
            let (fixed, after) = after.split_first_chunk::<18>()?;
            columns.update(name);
            columns.update([0]);
            columns.update(fixed.get(6..10)?);
            details.update(fixed.get(12..16)?);
            rest = after;
        }
    }
    Some((short(columns), short(details)))
}

fn short(hash: Sha256) -> u64 {
    hash.finalize().iter().take(8).fold(0, |short, byte| short << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns as (name, table, type, type modifier, format).
    fn rows(columns: &[(&str, u32, u32, i32, u16)]) -> Vec<u8> {
        let mut body = (columns.len() as u16).to_be_bytes().to_vec();
        for (name, table, oid, typmod, format) in columns {
            body.extend(name.as_bytes());
            body.push(0);
            body.extend(table.to_be_bytes());
            body.extend([0, 1]);
            body.extend(oid.to_be_bytes());
            body.extend([0, 4]);
            body.extend(typmod.to_be_bytes());
            body.extend(format.to_be_bytes());
        }
        body
    }

    #[test]
    fn what_postgresql_compares_is_compared() {
        let told = Shape::of_statement(Some(&rows(&[("a", 7, 23, -1, 0)])), b"\0\0").expect("a shape");
        let against = |body: &[u8], parameters: &[u8]| {
            told.compared_with(&Shape::of_statement(Some(body), parameters).expect("a shape"))
        };
        assert_eq!(against(&rows(&[("a", 8, 23, -1, 1)]), b"\0\0"), Likeness::Same, "the table and the format are not");
        let changed = [
            rows(&[]),
            rows(&[("a", 7, 23, -1, 0), ("b", 7, 23, -1, 0)]),
            rows(&[("b", 7, 23, -1, 0)]),
            rows(&[("a", 7, 20, -1, 0)]),
            rows(&[("a", 7, 23, 14, 0)]),
        ];
        for body in changed {
            assert_eq!(against(&body, b"\0\0"), Likeness::Changed, "{body:?}");
        }
        assert_eq!(against(&rows(&[("a", 7, 23, -1, 0)]), b"\0\x01\0\0\0\x17"), Likeness::Changed);
        let none = Shape::of_statement(None, b"\0\0").expect("a shape");
        assert_eq!(told.compared_with(&none), Likeness::Changed);
        assert_eq!(none.compared_with(&Shape::of_statement(Some(b"\0\0"), b"\0\0").unwrap()), Likeness::Changed);
    }

    #[test]
    fn a_portal_tells_no_type_modifiers() {
        let statement = Shape::of_statement(Some(&rows(&[("a", 7, 1043, -1, 0)])), b"\0\0").expect("a shape");
        let portal = Shape::of_portal(Some(&rows(&[("a", 7, 1043, 14, 1)]))).expect("a shape");
        assert_eq!(portal.compared_with(&statement), Likeness::Same);
        assert_eq!(statement.compared_with(&portal), Likeness::Unknown);
        let other = Shape::of_portal(Some(&rows(&[("a", 7, 25, 14, 1)]))).expect("a shape");
        assert_eq!(other.compared_with(&statement), Likeness::Changed);
        assert_eq!(Shape::of_portal(Some(b"\0\x01a")), None);
    }
}
