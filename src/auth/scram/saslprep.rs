//! [pure] SASLprep (RFC 4013) as PostgreSQL does it: a password that cannot be prepared is used as it is.
//!
//! PostgreSQL looks for prohibited, unassigned and bidirectional characters *before* it normalizes, not after; the
//! `stringprep` crate's own `saslprep` follows the RFC and so derives other keys from a few passwords. Hence these
//! steps by hand, from the crate's tables.

use std::borrow::Cow;
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes that go into the key derivation.
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    match std::str::from_utf8(password).ok().and_then(normalize) {
        Some(prepared) => Cow::Owned(prepared.into_bytes()),
        None => Cow::Borrowed(password),
    }
}

fn normalize(password: &str) -> Option<String> {
    let mapped: Zeroizing<String> = Zeroizing::new(
        password
            .chars()
            .map(|c| if tables::non_ascii_space_character(c) { ' ' } else { c })
            .filter(|&c| !tables::commonly_mapped_to_nothing(c))
            .collect(),
    );
    let acceptable = !mapped.is_empty() && !mapped.chars().any(is_prohibited) && bidi_is_sound(&mapped);
    acceptable.then(|| mapped.nfkc().collect())
}

/// RFC 4013, sections 2.3 and 2.5.
fn is_prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// RFC 3454, section 6.
fn bidi_is_sound(text: &str) -> bool {
    !text.contains(tables::bidi_r_or_al)
        || (!text.contains(tables::bidi_l)
            && text.starts_with(tables::bidi_r_or_al)
            && text.ends_with(tables::bidi_r_or_al))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let cases: &[(&str, &str)] = &[
            // RFC 4013, section 3; the last two are prohibited there, and raw here.
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("\u{7}", "\u{7}"),
            ("\u{627}1", "\u{627}1"),
            // Spaces, and what is mapped to nothing.
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("a\u{200b}b", "a b"),
            ("\u{ad}\u{feff}", "\u{ad}\u{feff}"),
            ("", ""),
            // Normalized.
            ("e\u{301}", "\u{e9}"),
            ("\u{ff21}", "A"),
            // A prohibited character leaves the whole as it is.
            ("\u{ff21}\u{7}", "\u{ff21}\u{7}"),
            ("\u{ff21}\u{e000}", "\u{ff21}\u{e000}"),
            // Right to left.
            ("\u{627}\u{fb50}", "\u{627}\u{671}"),
            ("\u{627}a\u{fb50}", "\u{627}a\u{fb50}"),
            // PostgreSQL's order: unassigned or deprecated in the input, though not in the output.
            ("\u{1f130}", "\u{1f130}"),
            ("a\u{341}", "a\u{341}"),
        ];
        for (password, prepared) in cases {
            assert_eq!(prepare(password.as_bytes()), prepared.as_bytes(), "{}", password.escape_unicode());
        }
    }

    #[test]
    fn what_is_not_utf8_is_left_alone() {
        for raw in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
            assert_eq!(prepare(raw), raw);
        }
    }
}
