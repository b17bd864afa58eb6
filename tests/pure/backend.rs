//! A small deterministic PostgreSQL backend: what its protocol state machine does (`postgres.c`), with a handful of
//! statements that it knows by their text. Session state, transactions, skip-until-Sync, portals and COPY are real;
//! there are no tables.

use std::collections::{BTreeMap, HashMap};

use super::text::{From, decode, frame};

type Refused = (&'static str, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    Block,
    Failed,
}

#[derive(Clone, Debug)]
struct Plan {
    text: String,
    /// The version of the one table when this was analysed.
    version: u32,
}

#[derive(Clone, Debug)]
struct Portal {
    text: String,
    /// As it was when it was bound.
    rows: bool,
    params: Vec<String>,
    sent: usize,
}

#[derive(Debug)]
enum Copy {
    Extended,
    /// The statements of the same Query that come after.
    Simple(Vec<String>),
}

#[derive(Debug)]
pub struct Backend {
    named: HashMap<String, Plan>,
    unnamed: Option<Plan>,
    portals: HashMap<String, Portal>,
    pub status: Status,
    skipping: bool,
    copy: Option<(String, Copy)>,
    /// Extended messages since the last Sync.
    open: bool,
    startup: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
    undo: BTreeMap<String, String>,
    temp: bool,
    pending: Vec<String>,
    pub committed: Vec<String>,
    /// Raised by DDL: plans of an older version are refused once their result type is asked for.
    pub version: u32,
    pub out: Vec<Vec<u8>>,
}

impl Backend {
    pub fn new(settings: &[(&str, &str)]) -> Backend {
        let settings: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Backend {
            named: HashMap::new(),
            unnamed: None,
            portals: HashMap::new(),
            status: Status::Idle,
            skipping: false,
            copy: None,
            open: false,
            startup: settings.clone(),
            reported: settings.clone(),
            undo: settings.clone(),
            settings,
            temp: false,
            pending: Vec::new(),
            committed: Vec::new(),
            version: 0,
            out: Vec::new(),
        }
    }

    /// What a pool asks of a server that it takes back.
    pub fn is_clean(&self) -> bool {
        self.status == Status::Idle && !self.skipping && self.copy.is_none() && !self.open && !self.temp
    }

    pub fn is_in_batch(&self) -> bool {
        self.open || self.skipping
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(|name| &**name)
    }

    pub fn feed(&mut self, frame: &[u8]) {
        let (tag, body) = (frame[0], &frame[5..]);
        if self.copy.is_some() {
            return self.copy_message(tag, body);
        }
        match tag {
            b'd' | b'c' | b'f' | b'H' => {}
            b'S' => self.sync(),
            _ if self.skipping => {}
            b'Q' => self.query(&cstr(&mut &body[..])),
            b'F' => self.function(),
            _ => self.extended(tag, body),
        }
    }

    fn send(&mut self, tag: u8, body: &[u8]) {
        self.out.push(frame(tag, body));
    }

    fn complete(&mut self, tag: &str) {
        self.send(b'C', format!("{tag}\0").as_bytes());
    }

    fn error(&mut self, (code, text): Refused) {
        let routine = if code == "0A000" { "RRevalidateCachedQuery\0" } else { "" };
        self.send(b'E', format!("SERROR\0C{code}\0M{text}\0{routine}\0").as_bytes());
        if self.status == Status::Idle {
            self.end(false);
        } else {
            self.status = Status::Failed;
        }
    }

    /// A transaction ends.
    fn end(&mut self, commit: bool) {
        let pending = std::mem::take(&mut self.pending);
        if commit {
            self.committed.extend(pending);
            self.undo = self.settings.clone();
        } else {
            self.settings = self.undo.clone();
        }
        self.status = Status::Idle;
        self.portals.clear();
    }

    fn ready(&mut self) {
        let changed: Vec<_> = self.settings.iter().filter(|(k, v)| self.reported.get(*k) != Some(v)).collect();
        let news: Vec<String> = changed.iter().map(|(k, v)| format!("{k}\0{v}\0")).collect();
        self.reported = self.settings.clone();
        news.iter().for_each(|news| self.send(b'S', news.as_bytes()));
        let status = match self.status {
            Status::Idle => b"I",
            Status::Block => b"T",
            Status::Failed => b"E",
        };
        self.send(b'Z', status);
    }

    fn sync(&mut self) {
        self.skipping = false;
        self.open = false;
        if self.status == Status::Idle {
            self.end(true);
        }
        self.ready();
    }

    fn function(&mut self) {
        match self.status {
            Status::Failed => self.error(aborted()),
            _ => self.send(b'V', &[0, 0, 0, 0]),
        }
        if self.status == Status::Idle {
            self.end(true);
        }
        self.ready();
    }

    fn query(&mut self, text: &str) {
        self.unnamed = None;
        self.portals.remove("");
        if text.contains("syntax") {
            self.error(syntax());
            return self.ready();
        }
        let statements: Vec<String> =
            text.split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
        if statements.is_empty() {
            self.send(b'I', b"");
            return self.query_done();
        }
        self.statements(statements);
    }

    fn statements(&mut self, mut statements: Vec<String>) {
        let alone = statements.len() == 1;
        while !statements.is_empty() {
            let text = statements.remove(0);
            if let Err(refused) = self.may_run(&text, alone) {
                self.error(refused);
                return self.ready();
            }
            if is_copy_in(&text) {
                self.send(b'G', &[0, 0, 0]);
                self.copy = Some((text, Copy::Simple(statements)));
                return;
            }
            if self.yields(&text) {
                self.send(b'T', b"\0\x01c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            }
            match self.run(&text, &[], 0, 0) {
                Ok(_) => {}
                Err(refused) => {
                    self.error(refused);
                    return self.ready();
                }
            }
        }
        self.query_done();
    }

    fn query_done(&mut self) {
        if self.status == Status::Idle {
            self.end(true);
        }
        self.ready();
    }

    fn copy_message(&mut self, tag: u8, body: &[u8]) {
        let refused = match (tag, self.copy.as_ref().map(|copy| copy.0.contains("bad"))) {
            (b'S' | b'H', _) => return,
            (b'd', Some(true)) => Some(("22P04", "bad copy data".to_owned())),
            (b'd', _) => return,
            (b'c', _) => None,
            (b'f', _) => Some(("57014", format!("COPY from stdin failed: {}", cstr(&mut &body[..])))),
            _ => Some(("08P01", format!("unexpected message type 0x{tag:02X} during COPY from stdin"))),
        };
        let (_, copy) = self.copy.take().expect("a COPY runs");
        match (refused, copy) {
            (None, Copy::Extended) => self.complete("COPY 1"),
            (None, Copy::Simple(rest)) => {
                self.complete("COPY 1");
                if rest.is_empty() { self.query_done() } else { self.statements(rest) }
            }
            (Some(refused), Copy::Extended) => {
                self.error(refused);
                self.skipping = true;
            }
            (Some(refused), Copy::Simple(_)) => {
                self.error(refused);
                self.ready();
            }
        }
    }

    fn extended(&mut self, tag: u8, body: &[u8]) {
        self.open = true;
        let mut body = body;
        let done = match tag {
            b'P' => self.parse(&cstr(&mut body), &cstr(&mut body)),
            b'B' => self.bind(&cstr(&mut body), &cstr(&mut body), body),
            b'D' => self.describe(body[0], &cstr(&mut &body[1..])),
            b'E' => self.execute(&cstr(&mut body), u32::from_be_bytes(body[..4].try_into().expect("a limit"))),
            b'C' => {
                self.close(body[0], &cstr(&mut &body[1..]));
                Ok(())
            }
            _ => panic!("the model got {}", decode(From::Client, &frame(tag, body))),
        };
        if let Err(refused) = done {
            self.error(refused);
            self.skipping = true;
        }
    }

    fn parse(&mut self, name: &str, text: &str) -> Result<(), Refused> {
        if name.is_empty() {
            self.unnamed = None;
        }
        if text.contains("syntax") {
            return Err(syntax());
        }
        if text.contains(';') {
            return Err(("42601", "cannot insert multiple commands into a prepared statement".to_owned()));
        }
        if self.status == Status::Failed && !is_exit(text) && !text.is_empty() {
            return Err(aborted());
        }
        let plan = Plan { text: text.to_owned(), version: self.version };
        if name.is_empty() {
            self.unnamed = Some(plan);
        } else if self.named.contains_key(name) {
            return Err(("42P05", format!("prepared statement \"{name}\" already exists")));
        } else {
            self.named.insert(name.to_owned(), plan);
        }
        self.send(b'1', b"");
        Ok(())
    }

    fn plan(&self, name: &str) -> Result<Plan, Refused> {
        match name {
            "" => self.unnamed.clone().ok_or(("26000", "unnamed prepared statement does not exist".to_owned())),
            _ => {
                let gone = || ("26000", format!("prepared statement \"{name}\" does not exist"));
                self.named.get(name).cloned().ok_or_else(gone)
            }
        }
    }

    fn current(&self, plan: &Plan) -> Result<(), Refused> {
        if plan.version != self.version && plan.text.contains("from ddl") {
            return Err(("0A000", "cached plan must not change result type".to_owned()));
        }
        Ok(())
    }

    fn bind(&mut self, portal: &str, statement: &str, mut body: &[u8]) -> Result<(), Refused> {
        let plan = self.plan(statement)?;
        let params = bind_params(&mut body);
        let wanted = usize::from(plan.text.contains("$1"));
        if params.len() != wanted {
            let requires = format!("but prepared statement \"{statement}\" requires {wanted}");
            return Err(("08P01", format!("bind message supplies {} parameters, {requires}", params.len())));
        }
        if self.status == Status::Failed && (!is_exit(&plan.text) || wanted > 0) {
            return Err(aborted());
        }
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(("42P03", format!("cursor \"{portal}\" already exists")));
        }
        if params.iter().any(|param| param == "bad") {
            return Err(("22P02", "invalid input syntax".to_owned()));
        }
        self.current(&plan)?;
        let rows = self.yields(&plan.text);
        self.portals.insert(portal.to_owned(), Portal { text: plan.text, rows, params, sent: 0 });
        self.send(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &str) -> Result<(), Refused> {
        let (text, rows) = match kind {
            b'S' => {
                let plan = self.plan(name)?;
                let rows = self.yields(&plan.text);
                if !(self.status == Status::Failed && rows) {
                    self.current(&plan)?;
                }
                (plan.text, rows)
            }
            _ => {
                let gone = || ("34000", format!("portal \"{name}\" does not exist"));
                let portal = self.portals.get(name).ok_or_else(gone)?;
                (portal.text.clone(), portal.rows)
            }
        };
        if self.status == Status::Failed && rows {
            return Err(aborted());
        }
        if kind == b'S' {
            let count = u16::from(text.contains("$1"));
            let mut body = count.to_be_bytes().to_vec();
            body.extend(std::iter::repeat_n([0, 0, 0, 25], count.into()).flatten());
            self.send(b't', &body);
        }
        match rows {
            true => self.send(b'T', b"\0\x01c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            false => self.send(b'n', b""),
        }
        Ok(())
    }

    fn execute(&mut self, name: &str, limit: u32) -> Result<(), Refused> {
        let gone = || ("34000", format!("portal \"{name}\" does not exist"));
        let portal = self.portals.get(name).cloned().ok_or_else(gone)?;
        if portal.text.is_empty() {
            self.send(b'I', b"");
            return Ok(());
        }
        self.may_run(&portal.text, false)?;
        if is_copy_in(&portal.text) {
            self.send(b'G', &[0, 0, 0]);
            self.copy = Some((portal.text, Copy::Extended));
            return Ok(());
        }
        let sent = self.run(&portal.text, &portal.params, portal.sent, limit as usize)?;
        if let Some(portal) = self.portals.get_mut(name) {
            portal.sent = sent;
        }
        Ok(())
    }

    fn close(&mut self, kind: u8, name: &str) {
        match (kind, name) {
            (b'S', "") => self.unnamed = None,
            (b'S', name) => _ = self.named.remove(name),
            (_, name) => _ = self.portals.remove(name),
        }
        self.send(b'3', b"");
    }

    fn may_run(&self, text: &str, alone: bool) -> Result<(), Refused> {
        if self.status == Status::Failed && !is_exit(text) {
            return Err(aborted());
        }
        let in_block = self.status != Status::Idle || !alone && !self.open;
        if text == "discard all" && in_block {
            return Err(("25001", "DISCARD ALL cannot run inside a transaction block".to_owned()));
        }
        Ok(())
    }

    /// Runs a statement; says how many rows of it are sent by now.
    fn run(&mut self, text: &str, params: &[String], sent: usize, limit: usize) -> Result<usize, Refused> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let lower = text.to_ascii_lowercase();
        match lower.split_whitespace().next().unwrap_or_default() {
            "begin" => {
                self.status = Status::Block;
                self.complete("BEGIN");
            }
            "commit" | "rollback" => {
                let commit = lower == "commit" && self.status != Status::Failed;
                self.end(commit);
                self.complete(if commit { "COMMIT" } else { "ROLLBACK" });
            }
            "fail" => return Err(("22012", "division by zero".to_owned())),
            "insert" => {
                self.pending.push(text.to_owned());
                self.complete("INSERT 0 1");
            }
            "create" => {
                self.temp = true;
                self.complete("CREATE TABLE");
            }
            "set" => self.set(words[1], words[3]),
            "reset" => {
                match lower.split_whitespace().nth(1) {
                    Some("all") => self.settings = self.startup.clone(),
                    name => self.reset(name.expect("a name")),
                }
                self.complete("RESET");
            }
            "discard" => {
                self.named.clear();
                self.unnamed = None;
                self.portals.clear();
                self.settings = self.startup.clone();
                self.temp = false;
                self.complete("DISCARD ALL");
            }
            "prepare" => self.prepare(words[1].trim_matches('"'), text.split_once(" as ").expect("a body").1)?,
            "execute" => {
                let plan = self.executed(words[1])?;
                return self.run(&plan.text, params, sent, limit);
            }
            "deallocate" => return self.deallocate(words[1].trim_matches('"')).map(|()| 0),
            "copy" => {
                self.send(b'H', &[0, 0, 0]);
                self.send(b'd', b"1\n");
                self.send(b'c', b"");
                self.complete("COPY 1");
            }
            "show" => {
                let value = self.settings.get(words[1]).cloned().unwrap_or_default();
                self.row(&value);
                self.complete("SHOW");
            }
            _ => return self.select(text, params, sent, limit),
        }
        Ok(0)
    }

    /// SQL's PREPARE: it is not undone with its transaction.
    fn prepare(&mut self, name: &str, body: &str) -> Result<(), Refused> {
        self.may_select(body)?;
        if self.named.contains_key(name) {
            return Err(("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        self.named.insert(name.to_owned(), Plan { text: body.to_owned(), version: self.version });
        self.complete("PREPARE");
        Ok(())
    }

    /// The plan of an EXECUTE. Known to differ: one of a command is not found through the proxy, and here neither.
    fn executed(&self, name: &str) -> Result<Plan, Refused> {
        let name = name.trim_matches('"');
        let plan = self.plan(name)?;
        match ["fail", "insert", "select", "show"].iter().any(|verb| plan.text.starts_with(verb)) {
            true => Ok(plan),
            false => Err(("26000", format!("prepared statement \"{name}\" does not exist"))),
        }
    }

    /// Whether a text yields rows, or executes what does.
    fn yields(&self, text: &str) -> bool {
        match text.to_ascii_lowercase().strip_prefix("execute ") {
            Some(name) => self.executed(name).is_ok_and(|plan| returns_rows(&plan.text)),
            None => returns_rows(text),
        }
    }

    fn may_select(&self, text: &str) -> Result<(), Refused> {
        match text.contains("from mine") && !self.temp {
            true => Err(("42P01", "relation \"mine\" does not exist".to_owned())),
            false => Ok(()),
        }
    }

    fn select(&mut self, text: &str, params: &[String], sent: usize, limit: usize) -> Result<usize, Refused> {
        self.may_select(text)?;
        let total = if text.contains("three") { 3 } else { 1 };
        let upto = if limit == 0 { total } else { total.min(sent + limit) };
        for n in sent..upto {
            self.row(&format!("{text} {params:?} {n}"));
        }
        if limit != 0 && upto - sent == limit {
            self.send(b's', b"");
        } else {
            self.complete(&format!("SELECT {}", upto - sent));
        }
        Ok(upto)
    }

    fn row(&mut self, value: &str) {
        let mut body = vec![0, 1];
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(value.as_bytes());
        self.send(b'D', &body);
    }

    fn set(&mut self, name: &str, value: &str) {
        let name = self.settings.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned().unwrap_or(name.into());
        self.settings.insert(name, value.trim_matches('\'').to_owned());
        self.complete("SET");
    }

    fn reset(&mut self, name: &str) {
        let default = self.startup.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((name, value)) = default {
            self.settings.insert(name.clone(), value.clone());
        }
    }

    fn deallocate(&mut self, name: &str) -> Result<(), Refused> {
        if name == "all" {
            self.named.clear();
            self.complete("DEALLOCATE ALL");
            return Ok(());
        }
        let gone = ("26000", format!("prepared statement \"{name}\" does not exist"));
        self.named.remove(name).ok_or(gone)?;
        self.complete("DEALLOCATE");
        Ok(())
    }
}

fn bind_params(body: &mut &[u8]) -> Vec<String> {
    let mut take = |n: usize| {
        let (head, rest) = body.split_at(n);
        *body = rest;
        head
    };
    let formats = u16::from_be_bytes(take(2).try_into().expect("two bytes"));
    take(2 * usize::from(formats));
    let count = u16::from_be_bytes(take(2).try_into().expect("two bytes"));
    let mut params = Vec::new();
    for _ in 0..count {
        let len = i32::from_be_bytes(take(4).try_into().expect("four bytes"));
        params.push(String::from_utf8_lossy(take(len.max(0) as usize)).into_owned());
    }
    params
}

fn cstr(body: &mut &[u8]) -> String {
    let end = body.iter().position(|b| *b == 0).expect("a NUL");
    let text = String::from_utf8_lossy(&body[..end]).into_owned();
    *body = &body[end + 1..];
    text
}

fn is_exit(text: &str) -> bool {
    matches!(text, "commit" | "rollback")
}

fn is_copy_in(text: &str) -> bool {
    text.starts_with("copy") && text.ends_with("from stdin")
}

fn returns_rows(text: &str) -> bool {
    ["select", "show", "SELECT"].iter().any(|word| text.starts_with(word))
}

fn aborted() -> Refused {
    ("25P02", "current transaction is aborted".to_owned())
}

fn syntax() -> Refused {
    ("42601", "syntax error".to_owned())
}
