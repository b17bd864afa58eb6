//! placeholder
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Taint {
    Set,
    Currval,
    Reset,
}
impl Taint {
    pub fn label(self) -> &'static str {
        "set"
    }
}
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Special<'a> {
    None,
    Deallocate(&'a [u8]),
    DeallocateAll,
    DiscardAll,
    ResetAll,
}
#[derive(Clone, Copy, Debug)]
pub struct Lexical {
    pub standard_conforming_strings: bool,
}
pub struct Statement<'a> {
    pub taint: Option<Taint>,
    pub special: Special<'a>,
    pub empty: bool,
    pub statements: usize,
    pub transaction: bool,
}
pub fn classify(_t: &[u8], _l: Lexical) -> Statement<'_> {
    Statement { taint: None, special: Special::None, empty: false, statements: 1, transaction: false }
}
pub fn fold_identifier(t: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    t.into()
}
