//! A client's cancel key.

/// A cancel key's secret part: four bytes, but for clients of protocol 3.2.
pub enum Secret {
    Short([u8; 4]),
    Long(Box<[u8]>),
}

impl Secret {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Secret::Short(bytes) => bytes,
            Secret::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Secret {
        bytes.try_into().map_or_else(|_| Secret::Long(bytes.into()), Secret::Short)
    }
}

/// A cancel key.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Random and positive: pgjdbc takes no negative one (PROTOCOL 24).
    pub pid: i32,
    pub secret: &'a [u8],
}
