//! Conversations as text: each file of `tests/transcripts` says what comes in, and what must come of it.
//!
//! A line is a comment (`#`), the start of a scenario (`== name`), something that happens, or, indented, what comes
//! of it. `UPDATE_TRANSCRIPTS=1 cargo test --test transcripts` writes the outcomes anew: read the difference.
//!
//! ```text
//! client NAME [session|statement] [unprepared] [warns|forbids] [Name=value …]   a client, in transaction mode unless said
//! server NAME [limit=N] [Name=value …]                          a server, as it stands after login
//! share after N               unnamed statements that were parsed so often
//! time passes                 servers learn anew what is shared
//! lend SERVER to CLIENT       take SERVER from CLIENT           (whether settled or not)
//! CLIENT> Parse s1 "select 1" (); Sync                          what a client sends
//! SERVER< ParseComplete; ReadyForQuery I                        what a server sends
//! refuse CLIENT Query "select 1"                               its server cannot be had
//!   -> NAME …        a message that goes out
//!   release | held | pinned REASON | hold | terminate | error KIND: text
//! ```
//!
//! A server is released as soon as its client is settled, as in the relay.

mod pure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir::config::{Pinning, PoolMode};
use pgweir::session::ServerState;
use pgweir::session::settings::Settings;
use pure::talk::{Out, Table, Talk, frames};
use pure::text::{self, From};

struct Client {
    talk: Talk,
    server: Option<String>,
    /// What was last said about its server.
    standing: String,
}

/// Why a request is refused here.
const REFUSED: pgweir::error::Kind = pgweir::error::Kind::CancelledWait;

#[derive(Default)]
struct Stage {
    table: Arc<Table>,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, ServerState>,
    outcome: Vec<String>,
}

impl Stage {
    fn line(&mut self, line: &str) {
        if let Some((name, messages)) = line.split_once("> ").filter(|(name, _)| !name.contains(' ')) {
            let all = text::encode(From::Client, messages);
            for (n, frame) in all.iter().enumerate() {
                self.client_says(name, frame, &all[n + 1..].concat());
            }
        } else if let Some((name, messages)) = line.split_once("< ").filter(|(name, _)| !name.contains(' ')) {
            for frame in text::encode(From::Server, messages) {
                self.server_says(name, &frame);
            }
        } else {
            self.direct(&line.split(' ').collect::<Vec<_>>());
        }
    }

    fn direct(&mut self, words: &[&str]) {
        match words {
            ["client", name, rest @ ..] => {
                let mode = match rest {
                    _ if rest.contains(&"session") => PoolMode::Session,
                    _ if rest.contains(&"statement") => PoolMode::Statement,
                    _ => PoolMode::Transaction,
                };
                let settings = Arc::new(settings(rest));
                let mut talk = Talk::new(mode, !rest.contains(&"unprepared"), &settings, &self.table);
                talk.session.set_pinning(match rest {
                    _ if rest.contains(&"warns") => Pinning::Warn,
                    _ if rest.contains(&"forbids") => Pinning::Forbid,
                    _ => Pinning::Allow,
                });
                let client = Client { talk, server: None, standing: String::new() };
                self.clients.insert((*name).to_owned(), client);
            }
            ["server", name, rest @ ..] => {
                let limit =
                    rest.iter().find_map(|word| word.strip_prefix("limit=")).map_or(100, |n| n.parse().unwrap());
                self.servers.insert((*name).to_owned(), ServerState::new(Arc::new(settings(rest)), limit));
            }
            ["share", "after", uses] => self.table.share_after.store(uses.parse().unwrap(), Ordering::Relaxed),
            ["time", "passes"] => _ = self.table.age.fetch_add(1, Ordering::Relaxed),
            ["lend", server, "to", client] => self.lend(server, client),
            // The frame that waits is refused, as the relay does when its server cannot be had.
            ["refuse", client, messages @ ..] => {
                let frame = &text::encode(From::Client, &messages.join(" "))[0];
                let error = pgweir::error::Error::new(REFUSED, pgweir::error::Side::Proxy);
                let it = self.clients.get_mut(*client).expect("a client");
                let out = it.talk.refuse(frame[0], &error);
                self.put(client, None, Ok(out));
            }
            ["take", server, "from", client] => {
                let it = self.clients.get_mut(*client).expect("a client");
                assert_eq!(it.server.take().as_deref(), Some(*server));
                it.talk.session.detach();
            }
            _ => panic!("not a line of a transcript: {words:?}"),
        }
    }

    fn lend(&mut self, server: &str, client: &str) {
        assert!(self.holder(server).is_none(), "{server} is lent already");
        let it = self.clients.get_mut(client).expect("a client");
        assert!(it.server.is_none(), "{client} has a server");
        it.server = Some(server.to_owned());
        it.standing.clear();
        let out = it.talk.attach(self.servers.get_mut(server).expect("a server"));
        self.put(client, Some(server), Ok(out));
    }

    fn holder(&self, server: &str) -> Option<String> {
        let mut clients = self.clients.iter();
        clients.find(|(_, client)| client.server.as_deref() == Some(server)).map(|(name, _)| name.clone())
    }

    fn client_says(&mut self, name: &str, frame: &[u8], behind: &[u8]) {
        let client = self.clients.get_mut(name).unwrap_or_else(|| panic!("no client {name}"));
        let server = client.server.clone();
        let out = match &server {
            Some(server) => client.talk.client(frame, behind, self.servers.get_mut(server).expect("a server")),
            None if client.talk.session.wants_server(frame[0]) => {
                return self.outcome.push("wants a server".to_owned());
            }
            None => Ok(client.talk.unattended(frame)),
        };
        if client.talk.holds() {
            self.outcome.push("hold".to_owned());
        }
        self.put(name, server.as_deref(), out);
        self.stand(name, false);
    }

    fn server_says(&mut self, name: &str, frame: &[u8]) {
        let holder = self.holder(name).unwrap_or_else(|| panic!("nobody holds {name}"));
        let client = self.clients.get_mut(&holder).expect("the holder");
        let out = client.talk.server(frame, self.servers.get_mut(name).expect("a server"));
        self.put(&holder, Some(name), out);
        self.stand(&holder, frame[0] == b'Z');
    }

    fn put(&mut self, client: &str, server: Option<&str>, out: Result<Out, pgweir::error::Error>) {
        let out = match out {
            Ok(out) => out,
            Err(error) => return self.outcome.push(format!("error {}: {error}", error.kind.label())),
        };
        for (name, from, bytes) in
            [(server.unwrap_or("nobody"), From::Client, &out.to_server), (client, From::Server, &out.to_client)]
        {
            for frame in frames(bytes) {
                self.outcome.push(format!("-> {name} {}", text::decode(from, frame)));
            }
        }
        if out.terminated {
            self.outcome.push("terminate".to_owned());
        }
    }

    /// Says whether the server goes or why it stays, when that changed or a request ended.
    fn stand(&mut self, name: &str, always: bool) {
        let client = self.clients.get_mut(name).expect("a client");
        if client.server.is_none() {
            return;
        }
        let session = &client.talk.session;
        let standing = match (session.settled(), session.pin()) {
            (Some(_), _) => "release".to_owned(),
            (None, Some(pin)) => format!("pinned {}", pin.label()),
            (None, None) => "held".to_owned(),
        };
        if always || standing != client.standing {
            self.outcome.push(standing.clone());
        }
        if standing == "release" {
            client.server = None;
            client.talk.session.detach();
        }
        client.standing = standing;
    }
}

fn settings(words: &[&str]) -> Settings {
    let mut all = Settings::default();
    for (name, value) in words.iter().filter_map(|word| word.split_once('=')).filter(|(name, _)| *name != "limit") {
        all.set(name, value);
    }
    all
}

/// The file with its outcomes as they are now.
fn play(source: &str) -> String {
    let mut played = String::new();
    let mut stage = Stage::default();
    for line in source.lines().filter(|line| !line.starts_with("  ")) {
        played.push_str(line);
        played.push('\n');
        if line.starts_with("== ") {
            stage = Stage::default();
        } else if !line.is_empty() && !line.starts_with('#') {
            stage.line(line);
        }
        for outcome in stage.outcome.drain(..) {
            played.push_str("  ");
            played.push_str(&outcome);
            played.push('\n');
        }
    }
    played
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the folder").map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_transcript_plays_as_it_is_written() {
    let mut wrong = Vec::new();
    for path in files() {
        let source = std::fs::read_to_string(&path).expect("a transcript");
        let played = play(&source);
        if played == source {
            continue;
        }
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, played).expect("a writable transcript");
            continue;
        }
        let at = source.lines().zip(played.lines()).take_while(|(a, b)| a == b).count();
        let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
        wrong.push(format!("{}:{}:\n  is {}\n  not {}", path.display(), at + 1, line(&played), line(&source)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages_read_back_as_they_are_written() {
    let lines = [
        (From::Client, r#"Parse s1 "select $1" (23)"#),
        (From::Client, r#"Bind "" s1 ("a \"b\"" null 7)"#),
        (From::Client, r#"Execute "" 0"#),
        (From::Client, r#"Large 100000 Query select"#),
        (From::Server, r#"ErrorResponse 42601 "no; (good)" R=parse"#),
        (From::Server, "RowDescription (a b:23:-1)"),
        (From::Server, "DataRow (1 null)"),
        (From::Server, "NotificationResponse 1 a b"),
    ];
    for (from, line) in lines {
        let frames = text::encode(from, line);
        assert_eq!(text::decode(from, &frames[0]), line);
    }
}
