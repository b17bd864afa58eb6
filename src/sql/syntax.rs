//! [pure] The words of SQL's grammar that may stand before a parenthesis without being called.

/// In order, for the search. Each either cannot be a function's name without quotes, or is looked up as one too: only
/// a name that no unsafe function of the database has is taken for grammar. `treat` is missing on purpose:
/// `treat(x AS nextval)` calls `nextval`.
const WORDS: [&[u8]; 126] = [
    b"all",
    b"and",
    b"any",
    b"array",
    b"as",
    b"asymmetric",
    b"between",
    b"bit",
    b"both",
    b"by",
    b"case",
    b"cast",
    b"char",
    b"character",
    b"coalesce",
    b"columns",
    b"cube",
    b"current_time",
    b"current_timestamp",
    b"dec",
    b"decimal",
    b"distinct",
    b"else",
    b"escape",
    b"except",
    b"exclude",
    b"exists",
    b"extract",
    b"fetch",
    b"filter",
    b"first",
    b"float",
    b"following",
    b"for",
    b"from",
    b"greatest",
    b"group",
    b"grouping",
    b"groups",
    b"having",
    b"ilike",
    b"in",
    b"intersect",
    b"interval",
    b"is",
    b"isnull",
    b"join",
    b"json",
    b"json_array",
    b"json_arrayagg",
    b"json_exists",
    b"json_object",
    b"json_objectagg",
    b"json_query",
    b"json_scalar",
    b"json_serialize",
    b"json_table",
    b"json_value",
    b"lateral",
    b"leading",
    b"least",
    b"like",
    b"limit",
    b"localtime",
    b"localtimestamp",
    b"materialized",
    b"nchar",
    b"nested",
    b"next",
    b"normalize",
    b"not",
    b"notnull",
    b"nullif",
    b"numeric",
    b"offset",
    b"on",
    b"only",
    b"operator",
    b"or",
    b"over",
    b"overlaps",
    b"overlay",
    b"partition",
    b"passing",
    b"placing",
    b"position",
    b"range",
    b"returning",
    b"rollup",
    b"row",
    b"rows",
    b"select",
    b"sets",
    b"similar",
    b"some",
    b"substring",
    b"symmetric",
    b"then",
    b"time",
    b"timestamp",
    b"to",
    b"trailing",
    b"trim",
    b"union",
    b"using",
    b"values",
    b"varchar",
    b"variadic",
    b"varying",
    b"when",
    b"where",
    b"window",
    b"with",
    b"within",
    b"xmlattributes",
    b"xmlconcat",
    b"xmlelement",
    b"xmlexists",
    b"xmlforest",
    b"xmlnamespaces",
    b"xmlparse",
    b"xmlpi",
    b"xmlroot",
    b"xmlserialize",
    b"xmltable",
    b"zone",
];

/// Whether a word without quotes is one of them.
pub(super) fn takes_parenthesis(word: &[u8]) -> bool {
    const LONGEST: usize = 17;
    let mut buffer = [0; LONGEST];
    let Some(lower) = buffer.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    WORDS.binary_search(&&*lower).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_order_and_found() {
        assert!(WORDS.is_sorted() && WORDS.iter().all(|word| word.len() <= 17));
        for word in ["in", "IN", "Coalesce", "current_timestamp", "zone"] {
            assert!(takes_parenthesis(word.as_bytes()), "{word}");
        }
        for word in ["treat", "nextval", "current_timestamps_are_long", "update", "execute"] {
            assert!(!takes_parenthesis(word.as_bytes()), "{word}");
        }
    }
}
