//! Random clients over few servers, against a model of PostgreSQL: each client must get what a connection of its own
//! would have given it, in order, and a server goes back clean or not at all.
//!
//! `MODEL_SEED=n` runs one seed and prints what happens; `MODEL_RUNS=n` runs more of them.

mod pure;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir::config::PoolMode;
use pgweir::session::ServerState;
use pgweir::session::settings::Settings;
use pure::Dice;
use pure::backend::Backend;
use pure::talk::{Out, Table, Talk, frames};
use pure::text::{self, From};

/// What runs for how long by default: a second or two in a debug build.
const RUNS: u64 = 1500;

enum Line {
    Send(Vec<u8>),
    /// Until everything before is answered.
    Wait,
}

struct Client {
    talk: Talk,
    script: Vec<Line>,
    at: usize,
    /// A connection of its own, given the same frames.
    direct: Backend,
    got: Vec<String>,
    server: Option<usize>,
}

struct Server {
    backend: Backend,
    state: ServerState,
    /// Written by us, not read by the backend yet.
    inbound: Vec<Vec<u8>>,
}

struct World {
    dice: Dice,
    clients: Vec<Client>,
    servers: Vec<Server>,
    committed: Vec<String>,
    limit: usize,
    loud: bool,
    excused: bool,
    /// Clients send a batch before the one before it is answered.
    pipelines: bool,
    /// Of the table that changes.
    version: u32,
    table: Arc<Table>,
}

const BASE: [(&str, &str); 2] = [("TimeZone", "UTC"), ("application_name", "pool")];

fn server(limit: usize) -> Server {
    let mut base = Settings::default();
    BASE.iter().for_each(|(name, value)| base.set(name, value));
    Server { backend: Backend::new(&BASE), state: ServerState::new(Arc::new(base), limit), inbound: Vec::new() }
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let table = Arc::new(Table::default());
        table.share_after.store(dice.below(3) as u64, Ordering::Relaxed);
        let pipelines = dice.one_in(2);
        let limit = 1 + dice.below(4);
        let mut clients = Vec::new();
        for n in 0..1 + dice.below(4) {
            let app = format!("app{}", n / 2);
            let wants = [("TimeZone", *["UTC", "CET"].get(dice.below(2)).unwrap()), ("application_name", &*app)];
            let mut settings = Settings::default();
            wants.iter().for_each(|(name, value)| settings.set(name, value));
            clients.push(Client {
                talk: Talk::new(PoolMode::Transaction, true, &Arc::new(settings), &table),
                script: script(&mut dice, pipelines),
                at: 0,
                direct: Backend::new(&wants),
                got: Vec::new(),
                server: None,
            });
        }
        let servers = (0..1 + dice.below(2)).map(|_| server(limit)).collect();
        let (committed, version) = (Vec::new(), 0);
        World { dice, clients, servers, committed, limit, loud: false, excused: false, pipelines, version, table }
    }

    fn run(&mut self) {
        while self.clients.iter().any(|client| client.at < client.script.len() || client.server.is_some()) {
            if self.excused {
                return;
            }
            self.ddl();
            let mut tried = Vec::new();
            let count = 2 * self.clients.len() + self.servers.len();
            loop {
                let choice = self.dice.below(count);
                let moved = match choice {
                    n if n < self.clients.len() => self.client_sends(n),
                    n if n < 2 * self.clients.len() => self.client_gets(n - self.clients.len()),
                    n => self.server_works(n - 2 * self.clients.len()),
                };
                if moved {
                    break;
                }
                if !tried.contains(&choice) {
                    tried.push(choice);
                }
                assert!(tried.len() < count, "nobody can move: {}", self.picture());
            }
        }
        for server in &mut self.servers {
            self.committed.append(&mut server.backend.committed);
        }
        for n in 0..self.clients.len() {
            self.compare(n);
            for text in &self.clients[n].direct.committed {
                let times = |all: &[String]| all.iter().filter(|other| *other == text).count();
                assert_eq!(times(&self.committed), times(&self.clients[n].direct.committed), "{text} of client {n}");
            }
        }
    }

    /// Somebody else changes a table, while nobody is in the middle of a batch.
    fn ddl(&mut self) {
        let open = |client: &Client| match client.at.checked_sub(1).and_then(|at| client.script.get(at)) {
            Some(Line::Send(frame)) => frame[0] != b'S',
            _ => false,
        };
        let busy = self.servers.iter().any(|server| server.backend.is_in_batch());
        if !self.dice.one_in(20) || busy || self.clients.iter().any(open) {
            return;
        }
        self.version += 1;
        self.note(|| "a table changes".to_owned());
        if self.dice.one_in(2) {
            self.table.age.fetch_add(1, Ordering::Relaxed);
        }
        let servers = self.servers.iter_mut().map(|server| &mut server.backend);
        let backends = servers.chain(self.clients.iter_mut().map(|client| &mut client.direct));
        backends.for_each(|backend| backend.version = self.version);
    }

    fn picture(&self) -> String {
        let client = |c: &Client| {
            let expected: Vec<_> = c.direct.out.iter().map(|frame| text::decode(From::Server, frame)).collect();
            format!("at {} of {} with {:?}\n got {:#?}\n expects {expected:#?}", c.at, c.script.len(), c.server, c.got)
        };
        self.clients.iter().map(client).collect::<Vec<_>>().join("\n")
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.loud {
            println!("{}", what());
        }
    }

    fn client_sends(&mut self, n: usize) -> bool {
        let client = &mut self.clients[n];
        match client.script.get(client.at) {
            None => return false,
            Some(Line::Wait) if client.got.len() < expected(&client.direct).len() => return false,
            Some(Line::Wait) => {
                client.at += 1;
                return true;
            }
            Some(Line::Send(_)) => {}
        }
        let Line::Send(frame) = &client.script[client.at] else { return false };
        let frame = frame.clone();
        if client.server.is_none() && client.talk.session.wants_server(frame[0]) {
            return self.lend(n);
        }
        self.note(|| format!("client {n}> {}", text::decode(From::Client, &frame)));
        let behind = self.behind(n);
        let client = &mut self.clients[n];
        client.at += 1;
        if frame[0] != b'X' {
            client.direct.feed(&frame);
        }
        let out = match client.server {
            Some(at) => client.talk.client(&frame, &behind, &mut self.servers[at].state).expect("a good client"),
            None => client.talk.unattended(&frame),
        };
        self.put(n, out);
        true
    }

    /// What has come of what this client sends behind its present frame: its batch, at the least.
    fn behind(&mut self, n: usize) -> Vec<u8> {
        let mut behind = Vec::new();
        for line in &self.clients[n].script[self.clients[n].at + 1..] {
            let Line::Send(frame) = line else { break };
            behind.extend(frame);
            if frame[0] == b'S' && self.dice.one_in(2) {
                break;
            }
        }
        behind
    }

    fn lend(&mut self, n: usize) -> bool {
        let free: Vec<usize> =
            (0..self.servers.len()).filter(|at| self.clients.iter().all(|client| client.server != Some(*at))).collect();
        if free.is_empty() {
            return false;
        }
        let at = free[self.dice.below(free.len())];
        self.note(|| format!("lend {at} to client {n}"));
        self.clients[n].server = Some(at);
        let out = self.clients[n].talk.attach(&mut self.servers[at].state);
        self.pass(n, &out);
        true
    }

    fn put(&mut self, n: usize, out: Out) {
        if out.terminated {
            return self.leave(n);
        }
        self.pass(n, &out);
        self.release(n);
    }

    fn pass(&mut self, n: usize, out: &Out) {
        for frame in frames(&out.to_server) {
            let at = self.clients[n].server.expect("bytes for a server go to one that is held");
            self.note(|| format!("    -> server {at} {}", text::decode(From::Client, frame)));
            self.servers[at].inbound.push(frame.to_vec());
        }
        for frame in frames(&out.to_client) {
            self.note(|| format!("    -> client {n} {}", text::decode(From::Server, frame)));
            if shown(frame) {
                self.clients[n].got.push(text::decode(From::Server, frame));
                self.compare_last(n);
            }
        }
    }

    /// Whatever the session proves must be so.
    fn release(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let Some(at) = client.server else { return };
        let server = &mut self.servers[at];
        if client.talk.session.settled().is_none() {
            return;
        }
        // What is left of a COPY that failed, and Flush, have no answer and no effect.
        let idle = |frame: &Vec<u8>| b"dcfH".contains(&frame[0]);
        assert!(server.inbound.iter().all(idle), "released with {} frames unread", server.inbound.len());
        assert!(server.backend.out.is_empty(), "released with {} answers unread", server.backend.out.len());
        assert!(server.backend.is_clean(), "released dirty: {:?}", server.backend);
        assert!(server.backend.names().all(|name| name.starts_with("pgweir_")), "released with {:?}", server.backend);
        // A Close that was skipped leaves one too many until the next Parse.
        assert!(server.backend.names().count() <= self.limit + 8, "{:?}", server.backend);
        client.talk.session.detach();
        client.server = None;
        self.note(|| format!("    release {at}"));
    }

    /// A client that leaves with its server unsettled costs the server.
    fn leave(&mut self, n: usize) {
        if let Some(at) = self.clients[n].server.take() {
            let mut gone = std::mem::replace(&mut self.servers[at], server(self.limit));
            self.servers[at].backend.version = self.version;
            self.committed.append(&mut gone.backend.committed);
        }
    }

    fn server_works(&mut self, at: usize) -> bool {
        let server = &mut self.servers[at];
        if server.inbound.is_empty() {
            return false;
        }
        let frame = server.inbound.remove(0);
        server.backend.feed(&frame);
        true
    }

    fn client_gets(&mut self, n: usize) -> bool {
        let Some(at) = self.clients[n].server else { return false };
        let server = &mut self.servers[at];
        if server.backend.out.is_empty() {
            return false;
        }
        let frame = server.backend.out.remove(0);
        self.note(|| format!("server {at}< {}", text::decode(From::Server, &frame)));
        let out = self.clients[n].talk.server(&frame, &mut self.servers[at].state).expect("a good server");
        self.put(n, out);
        true
    }

    /// Known to differ: a batch that was sent before the error of an earlier one was seen. A statement whose Parse
    /// was skipped is unknown to PostgreSQL, while here the later batch brings it along; a name is free again there,
    /// and taken here. And a server that has forgotten a statement cannot be taught it in a failed transaction, where PostgreSQL
    /// still describes it. And behind a DISCARD ALL, in its batch, the server has its own login's settings, not the client's. The
    /// run ends at the first difference.
    fn excuse(&self, client: &Client, got: Option<&String>, expected: Option<&String>) -> bool {
        let discards = |line: &Line| match line {
            Line::Send(frame) => frame.windows(11).any(|text| text == b"discard all"),
            Line::Wait => false,
        };
        let of_pool = got.is_some_and(|row| BASE.iter().any(|(_, value)| *row == format!("DataRow ({value})")));
        let discarded = of_pool && client.script[..client.at].iter().any(discards);
        let begins = |text: Option<&String>, with: &str| text.is_some_and(|text| text.starts_with(with));
        let forgotten = begins(got, "ErrorResponse 25P02") && begins(expected, "ParameterDescription");
        self.pipelines || forgotten || discarded
    }

    fn compare_last(&mut self, n: usize) {
        let client = &self.clients[n];
        let expected = expected(&client.direct);
        let last = client.got.len() - 1;
        if expected.get(last) != client.got.last() && self.excuse(client, client.got.last(), expected.get(last)) {
            self.excused = true;
        } else if expected.get(last) != client.got.last() && !self.excused {
            panic!("client {n} got {:?} and not {:?}\n{}", client.got.last(), expected.get(last), self.picture());
        }
    }

    fn compare(&self, n: usize) {
        assert_eq!(self.clients[n].got, expected(&self.clients[n].direct), "client {n}");
    }
}

/// ParameterStatus may come or not, as servers change.
fn shown(frame: &[u8]) -> bool {
    frame[0] != b'S'
}

fn expected(direct: &Backend) -> Vec<String> {
    direct.out.iter().filter(|frame| shown(frame)).map(|frame| text::decode(From::Server, frame)).collect()
}

const NAMES: &[&str] = &["s1", "s2", "s3"];
const TEXTS: &[&str] = &[
    "select a",
    "select b",
    "select three",
    "select c",
    "fail",
    "show application_name",
    "show TimeZone",
    "begin",
    "commit",
    "rollback",
    "copy t to stdout",
];
const RARE: &[&str] = &[
    "",
    "syntax",
    "deallocate s1",
    "deallocate s9",
    "deallocate all",
    "discard all",
    "reset all",
    "set application_name to x",
    "set TimeZone to y",
    "create temp table mine (x int)",
    "select d from mine",
    "select 1; fail; select 2",
    "begin; select 1",
    "select 1; commit; select 2",
];

fn script(dice: &mut Dice, pipelines: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut unique = dice.roll();
    for _ in 0..1 + dice.below(8) {
        match dice.below(12) {
            0..=2 => simple(dice, &mut unique, &mut lines),
            10..=11 => by_sql(dice, &mut unique, &mut lines),
            3 => copy_in(dice, &mut lines),
            4..=6 => unnamed(dice, &mut lines),
            _ => batch(dice, &mut unique, &mut lines),
        }
        if !pipelines || !dice.one_in(3) {
            lines.push(Line::Wait);
        }
    }
    for end in ["Sync", "Query rollback"] {
        push(&mut lines, end);
        lines.push(Line::Wait);
    }
    push(&mut lines, "Terminate");
    lines
}

fn push(lines: &mut Vec<Line>, messages: &str) {
    lines.extend(text::encode(From::Client, messages).into_iter().map(Line::Send));
}

fn pick_text(dice: &mut Dice, unique: &mut u64) -> String {
    *unique += 1;
    match dice.below(8) {
        0 => format!("insert {unique}"),
        1 => dice.pick(RARE).to_owned(),
        _ => dice.pick(TEXTS).to_owned(),
    }
}

fn simple(dice: &mut Dice, unique: &mut u64, lines: &mut Vec<Line>) {
    if dice.one_in(12) {
        return push(lines, "FunctionCall 1");
    }
    let text = pick_text(dice, unique);
    let alone = alone(&text);
    if alone {
        // Outside a transaction, too.
        push(lines, "Sync; Query rollback");
        lines.push(Line::Wait);
    }
    push(lines, &format!("Query \"{text}\""));
    if alone {
        lines.push(Line::Wait);
    }
}

/// Prepared statements by SQL, under the names that the protocol has too.
fn by_sql(dice: &mut Dice, unique: &mut u64, lines: &mut Vec<Line>) {
    *unique += 1;
    let (name, other) = (dice.pick(NAMES), dice.pick(NAMES));
    let body = match dice.below(4) {
        0 => format!("insert {unique}"),
        1 => "select d from mine".to_owned(),
        _ => dice.pick(&["select a", "select three", "select b", "fail"]).to_owned(),
    };
    let prepare = format!("prepare {name} as {body}");
    match dice.below(12) {
        0..=2 => push(lines, &format!("Query \"{prepare}\"")),
        3..=5 => push(lines, &format!("Query \"execute {name}\"")),
        6 => push(lines, &format!("Query \"execute {name}; execute {other}\"")),
        7 => push(lines, &format!("Query \"begin; execute {name}\"")),
        // Known to differ: a name that is a command's by the protocol (`deallocate s9`) is free for such a text.
        8 => push(lines, &format!("Query \"prepare s4 as {body}; execute {other}\"")),
        9 => push(
            lines,
            &format!(
                "Parse \"\" \"{prepare}\" (); Bind \"\" \"\" (); Execute \"\" 0; Bind \"\" {name} (); Execute \"\" 0; Sync"
            ),
        ),
        10 => push(
            lines,
            &format!(
                "Parse \"\" \"execute {name}\" (); Bind \"\" \"\" (); Describe P \"\"; Execute \"\" 2; Execute \"\" 0; Sync"
            ),
        ),
        _ => push(lines, &format!("Parse {other} \"execute {name}\" (); Bind \"\" {other} (); Execute \"\" 0; Sync")),
    }
}

fn alone(text: &str) -> bool {
    ["deallocate", "discard", "reset"].iter().any(|word| text.starts_with(word))
}

fn copy_in(dice: &mut Dice, lines: &mut Vec<Line>) {
    let text = dice.pick(&["copy t from stdin", "copy bad from stdin"]);
    let extended = dice.one_in(2);
    if extended {
        push(lines, &format!("Parse \"\" \"{text}\" (); Bind \"\" \"\" (); Execute \"\" 0"));
        push(lines, dice.pick(&["Sync", "Flush", "Sync"]));
    } else {
        push(lines, &format!("Query \"{text}\""));
    }
    // What comes with an extended COPY's Sync must not be sent before its CopyInResponse.
    if extended || dice.one_in(2) {
        lines.push(Line::Wait);
    }
    for _ in 0..dice.below(4) {
        push(lines, "CopyData x");
        if dice.one_in(4) {
            lines.push(Line::Wait);
        }
    }
    push(lines, dice.pick(&["CopyDone", "CopyDone", "CopyFail no"]));
    if extended {
        // Nobody executes it again without the data.
        push(lines, "Sync; Close S \"\"; Sync");
    }
}

/// What a driver sends that prepares nothing: always the same few texts.
fn unnamed(dice: &mut Dice, lines: &mut Vec<Line>) {
    let text = dice.pick(&["select a", "select $1", "select e from ddl", "fail", "syntax"]);
    let params = if text.contains("$1") { dice.pick(&["7", "7", "bad", ""]) } else { "" };
    let describe = dice.pick(&["Describe P \"\"; ", "Describe P \"\"; ", ""]);
    let all = dice.pick(&["", "", "Describe S \"\"; "]);
    let bind = format!("Bind \"\" \"\" ({params})");
    push(lines, &format!("Parse \"\" \"{text}\" (); {all}{bind}; {describe}Execute \"\" 0; Sync"));
    // Known to differ: what a later batch uses is parsed again behind DDL.
    if text.contains("ddl") {
        push(lines, "Close S \"\"; Sync");
    } else if dice.one_in(4) {
        lines.push(Line::Wait);
        push(lines, &format!("{bind}; Execute \"\" 0; Sync"));
    }
}

fn batch(dice: &mut Dice, unique: &mut u64, lines: &mut Vec<Line>) {
    for _ in 0..1 + dice.below(3) {
        let name = if dice.one_in(3) { "\"\"" } else { dice.pick(NAMES) };
        let portal = if dice.one_in(6) { "p" } else { "\"\"" };
        // Known to differ: RESET ALL with something beside it leads to the server's defaults and not the startup packet's.
        let text = Some(pick_text(dice, unique)).filter(|text| !text.starts_with("reset")).unwrap_or_default();
        let params = if text.contains("$1") { "7" } else { "" };
        let limit = if dice.one_in(4) { 2 } else { 0 };
        match dice.below(12) {
            0..=3 => push(
                lines,
                &format!("Parse {name} \"{text}\" (); Bind {portal} {name} ({params}); Execute {portal} {limit}"),
            ),
            4..=6 => push(lines, &format!("Bind {portal} {name} (); Describe P {portal}; Execute {portal} {limit}")),
            7 => push(lines, &format!("Parse {name} \"{text}\" (); Describe S {name}")),
            8 => push(lines, &format!("Close S {name}")),
            9 => push(lines, &format!("Describe S {name}")),
            10 => push(lines, &format!("Close S {name}; Parse {name} \"{text}\" ()")),
            _ => push(lines, &format!("Execute {portal} 1")),
        }
        if dice.one_in(8) {
            push(lines, "Flush");
            if dice.one_in(2) {
                lines.push(Line::Wait);
            }
        }
        // Known to differ: what comes behind it in its batch finds the server's defaults.
        if text.starts_with("discard") {
            break;
        }
        if dice.one_in(20) {
            simple(dice, unique, lines);
        }
    }
    push(lines, "Sync");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_client_gets_what_a_connection_of_its_own_would_give() {
    if let Some(seed) = number("MODEL_SEED") {
        let mut world = World::new(seed);
        world.loud = true;
        return world.run();
    }
    let runs = number("MODEL_RUNS").unwrap_or(RUNS);
    let mut excused = 0;
    for seed in 0..runs {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.excused
        });
        excused += u64::from(run.unwrap_or_else(|_| panic!("run with MODEL_SEED={seed}")));
    }
    assert!(excused * 5 < runs, "{excused} of {runs} runs ended early");
}
