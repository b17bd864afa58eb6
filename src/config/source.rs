//! [pure] A file as it was written, and what the console's SET makes of it.

use super::draft::{Draft, Files, MistakeKind};
use super::keys::{self, Grammar, Reload, Table};
use super::value::{Entry, Written};
use super::{Outside, Parsed, Problem, build, read};

/// The entries of a file that was read; made again into a config without the file.
#[derive(Clone, PartialEq)]
pub struct Source {
    grammar: Grammar,
    entries: Vec<Entry>,
    files: Files,
}

/// Without its entries, among which are passwords.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("grammar", &self.grammar).field("files", &self.files).finish_non_exhaustive()
    }
}

/// What SET of a key comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// The source with the new value; not checked yet.
    Changed(Source),
    /// PgBouncer has the key, and here it has no effect, because of this.
    Passed(&'static str),
}

impl Source {
    /// The config of a draft; fails with everything that is wrong, in the order of lines.
    pub(crate) fn draft(draft: Draft, outside: &dyn Outside) -> Result<Parsed, Vec<Problem>> {
        let mut reader = read::Reader::new(draft.grammar, &draft.files, outside);
        // What follows a broken line is guesswork, and problems found there would mislead.
        let readable = draft.mistakes.iter().all(|mistake| mistake.kind == MistakeKind::Local);
        for mistake in draft.mistakes {
            reader.problem(mistake.line, &mistake.key, mistake.expected);
        }
        for doubt in draft.doubts {
            reader.warn(doubt.line, &doubt.key, doubt.text);
        }
        let config = readable.then(|| build::config(&mut reader, &draft.entries));
        let (config, warnings) = reader.end(config)?;
        let source = Source { grammar: draft.grammar, entries: draft.entries, files: draft.files };
        Ok(Parsed { config, warnings, source })
    }

    /// The config of these entries.
    pub fn parse(&self, outside: &dyn Outside) -> Result<Parsed, Vec<Problem>> {
        let Source { grammar, entries, files } = self.clone();
        Source::draft(Draft { grammar, entries, mistakes: Vec::new(), doubts: Vec::new(), files }, outside)
    }

    /// A key of `[pgweir]` with another value. Err says why it cannot have one: nobody knows it, or only a start reads it.
    pub fn put(&self, key: &str, value: &str) -> Result<Put, String> {
        if let Some(passed) = keys::passed(key) {
            return Ok(Put::Passed(passed.why));
        }
        let Some(known) = Table::Global.key(key) else {
            let near = Table::Global.nearest(key).map(|near| format!("; did you mean `{near}`?"));
            return Err(format!("expected a known key{}", near.unwrap_or_default()));
        };
        if known.reload == Reload::Restart {
            return Err("takes effect at the next start only".to_owned());
        }
        // What is typed at a console asks for no variable; an ini knows none.
        let value = match self.grammar {
            Grammar::Ini => value.to_owned(),
            Grammar::Toml => value.replace("${", "$${"),
        };
        let value = Written::Text(value);
        let mut source = self.clone();
        let entry = Entry { name: known.name.to_owned(), line: 0, value };
        match source.entries.iter_mut().find(|table| table.name == "pgweir") {
            Some(Entry { value: Written::Table(own), .. }) => {
                own.retain(|entry| Table::Global.key(&entry.name).is_none_or(|other| other.name != known.name));
                own.push(entry);
            }
            _ => source.entries.push(Entry { name: "pgweir".to_owned(), line: 0, value: Written::Table(vec![entry]) }),
        }
        Ok(Put::Changed(source))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Nowhere;
    use super::super::parse as read_file;
    use super::*;
    use crate::config::PoolMode;

    fn source(text: &str) -> Source {
        read_file(Path::new("p.toml"), text, &Nowhere).expect("a sound file").source
    }

    const FILE: &str = "[pgweir]\nauth_type = 'trust'\nquery_timeout = 3\n[databases.a]\nhost = 'h'\n";

    fn put(key: &str, value: &str) -> Result<Parsed, String> {
        match source(FILE).put(key, value)? {
            Put::Changed(source) => source.parse(&Nowhere).map_err(|problems| problems[0].to_string()),
            Put::Passed(why) => Err(why.to_owned()),
        }
    }

    #[test]
    fn a_value_is_put_in_the_place_of_the_files() {
        let seconds = |parsed: Parsed| parsed.config.global.query_timeout.map(|timeout| timeout.as_secs_f64());
        assert_eq!(put("query_timeout", "1.5").map(seconds), Ok(Some(1.5)));
        assert_eq!(put("query_timeout", "250ms").map(seconds), Ok(Some(0.25)));
        assert_eq!(put("query_timeout", "0").map(seconds), Ok(None));
        assert_eq!(put("max_client_conn", "7").map(|parsed| parsed.config.global.max_client_conn), Ok(7));
        let users = put("admin_users", "a, b").map(|parsed| parsed.config.global.admin_users);
        assert_eq!(users, Ok(vec!["a".to_owned(), "b".to_owned()]));
        let reset = put("server_reset_query", "${HOME}").map(|parsed| parsed.config.global.server_reset_query);
        assert_eq!(reset, Ok("${HOME}".to_owned()));
        assert_eq!(source(FILE).parse(&Nowhere).map(seconds), Ok(Some(3.0)));
        let ini = source("[pgbouncer]\nauth_type = trust\n[databases]\na = host=h\n");
        let Ok(Put::Changed(ini)) = ini.put("default_pool_size", "7") else { panic!("it is a key") };
        let config = ini.parse(&Nowhere).expect("it is sound").config;
        assert_eq!((config.global.default_pool_size, config.global.pool_mode), (7, PoolMode::Session));
        let ini = source("[pgbouncer]\nauth_type = trust\n[databases]\na = host=h password=hush\n");
        assert!(!format!("{ini:?}").contains("hush"));
        let Ok(Put::Changed(ini)) = ini.put("server_reset_query", "${HOME}") else { panic!("it is a key") };
        assert_eq!(ini.parse(&Nowhere).expect("it is sound").config.global.server_reset_query, "${HOME}");
    }

    #[test]
    fn what_cannot_be_put_says_why() {
        let said = |key: &str, value: &str| put(key, value).err().unwrap_or_default();
        assert_eq!(said("query_timeuot", "1"), "expected a known key; did you mean `query_timeout`?");
        assert_eq!(said("listen_port", "1"), "takes effect at the next start only");
        assert!(said("query_timeout", "soon").starts_with("p.toml:0: pgweir.query_timeout: expected a duration"));
        assert_eq!(said("pkt_buf", "8192"), "buffers have sizes of their own");
    }
}
