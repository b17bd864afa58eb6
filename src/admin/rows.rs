//! [pure] Results of the console: columns with PostgreSQL's types, and values in both of the protocol's formats.

use crate::wire::encode::{self, Field};

/// The types of columns, as PgBouncer's tables have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bytes,
    Int4,
    Int8,
    Numeric,
    Text,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub of: Type,
}

/// One value; it is written as its column's type says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Number(i128),
    Text(String),
}

pub type Row = Vec<Value>;

/// Rows under their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

impl Type {
    /// `pg_type.oid`.
    pub fn oid(self) -> u32 {
        match self {
            Type::Bytes => 17,
            Type::Int8 => 20,
            Type::Int4 => 23,
            Type::Text => 25,
            Type::Numeric => 1700,
        }
    }

    /// `pg_type.typlen`; -1: of any length.
    fn width(self) -> i16 {
        match self {
            Type::Int4 => 4,
            Type::Int8 => 8,
            Type::Bytes | Type::Numeric | Type::Text => -1,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl From<$number> for Value {
            fn from(number: $number) -> Value {
                Value::Number(number as i128)
            }
        })*
    };
}

numbers!(bool, i32, i64, u16, u32, u64, u128, usize);

/// Appends a RowDescription. `formats` is as Bind has it: none, one for all, or one for each.
pub fn describe(out: &mut Vec<u8>, columns: &[Column], formats: &[u16]) {
    let field = |(at, column): (usize, &Column)| Field {
        name: column.name,
        oid: column.of.oid(),
        width: column.of.width(),
        format: format_of(formats, at),
    };
    encode::row_description(out, columns.iter().enumerate().map(field));
}

/// Appends a DataRow. A row has as many values as there are columns.
pub fn write(out: &mut Vec<u8>, columns: &[Column], row: &Row, formats: &[u16]) {
    debug_assert_eq!(columns.len(), row.len());
    let values = columns.iter().zip(row).enumerate();
    encode::data_row(out, values.map(|(at, (column, value))| octets(column.of, value, format_of(formats, at) == 1)));
}

fn format_of(formats: &[u16], at: usize) -> u16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(at).copied().unwrap_or(0),
    }
}

fn octets(of: Type, value: &Value, binary: bool) -> Option<Vec<u8>> {
    let text = || match value {
        Value::Null => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    match (of, value) {
        (_, Value::Null) => None,
        // A number that its column cannot hold stands at its end, as in PgBouncer a wrapped one would mislead.
        (Type::Int4, Value::Number(number)) => {
            let number = (*number).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
            Some(if binary { number.to_be_bytes().to_vec() } else { number.to_string().into_bytes() })
        }
        (Type::Int8, Value::Number(number)) => {
            let number = (*number).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            Some(if binary { number.to_be_bytes().to_vec() } else { number.to_string().into_bytes() })
        }
        (Type::Numeric, Value::Number(number)) if binary => Some(numeric(*number)),
        _ => Some(text().into_bytes()),
    }
}

/// numeric's binary form (`numeric_send`): digits to the base of 10,000 without zeros at the end, the weight of the
/// first one, the sign, and no digits behind the point.
fn numeric(number: i128) -> Vec<u8> {
    const BASE: u128 = 10_000;
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        digits.push((rest % BASE) as u16);
        rest /= BASE;
    }
    let weight = (digits.len() as i16 - 1).max(0);
    digits.reverse();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let sign: u16 = if number < 0 { 0x4000 } else { 0 };
    let head = [digits.len() as u16, weight as u16, sign, 0];
    head.iter().chain(&digits).flat_map(|part| part.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_as_postgresql_sends_them() {
        // From `select numeric_send(x)`.
        let table: [(i128, &[u8]); 5] = [
            (0, &[0, 0, 0, 0, 0, 0, 0, 0]),
            (1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
            (10_000, &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            (123_456_789, &[0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 0x09, 0x29, 0x1a, 0x85]),
            (-5, &[0, 1, 0, 0, 0x40, 0, 0, 0, 0, 5]),
        ];
        for (number, bytes) in table {
            assert_eq!(numeric(number), bytes, "{number}");
        }
    }

    #[test]
    fn values_take_their_columns_type_and_format() {
        let of = |of, value: Value, binary| octets(of, &value, binary);
        assert_eq!(of(Type::Int4, 7.into(), true), Some(vec![0, 0, 0, 7]));
        assert_eq!(of(Type::Int4, u64::MAX.into(), false), Some(b"2147483647".to_vec()));
        assert_eq!(of(Type::Int8, (-1_i64).into(), true), Some(vec![0xff; 8]));
        assert_eq!(of(Type::Numeric, u64::MAX.into(), false), Some(b"18446744073709551615".to_vec()));
        assert_eq!(of(Type::Text, "x".into(), true), Some(b"x".to_vec()));
        assert_eq!(of(Type::Text, Value::from(None::<&str>), false), None);
        assert_eq!([format_of(&[], 3), format_of(&[1], 3), format_of(&[0, 1], 1), format_of(&[0, 1], 2)], [0, 1, 1, 0]);
    }
}
