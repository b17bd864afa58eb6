//! A client's session and the servers that it is lent, driven as the relay drives them, but by bytes in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pgweir::config::PoolMode;
use pgweir::error::Error;
use pgweir::session::outbox::Outbox;
use pgweir::session::prepared::{Intern, Statement};
use pgweir::session::repeats::{Repeating, Said, Ticket, Use};
use pgweir::session::settings::Settings;
use pgweir::session::{Frame, FromClient, FromServer, Origin, ServerState, Session};
use pgweir::sql::End;
use pgweir::wire::frame;

/// A statement's text and types, and the settings that it was parsed under.
type Text = (Vec<u8>, Vec<u8>);

/// One table of shared statements for all clients of a test.
#[derive(Default)]
pub struct Table {
    shared: Mutex<HashMap<Text, Arc<Statement>>>,
    last: AtomicU64,
    /// How often unnamed statements were parsed.
    said: Mutex<HashMap<Text, u64>>,
    /// They are shared after so many uses, answered or not; 0: never.
    pub share_after: AtomicU64,
    /// Servers learn shared ones anew when it rises.
    pub age: AtomicU64,
}

impl Intern for Table {
    fn shared(&self, rest: &[u8], scope: &[u8], make: &mut dyn FnMut(u64) -> Statement) -> Arc<Statement> {
        let mut shared = self.shared.lock().unwrap();
        let key = (rest.to_vec(), scope.to_vec());
        Arc::clone(shared.entry(key).or_insert_with(|| Arc::new(make(self.private_id()))))
    }

    fn private_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Repeating for Table {
    fn shares(&self) -> bool {
        self.share_after.load(Ordering::Relaxed) > 0
    }

    fn repeated(&self, said: &Said<'_>, fits: &dyn Fn() -> Option<End>) -> Use {
        let mut scope = vec![0];
        said.settings.plan_scope().for_each(|(name, value)| scope.extend(format!("{name}={value};").bytes()));
        let uses = {
            let mut all = self.said.lock().unwrap();
            let uses = all.entry((said.rest.to_vec(), scope.clone())).or_default();
            *uses += 1;
            *uses
        };
        let end = if uses > self.share_after.load(Ordering::Relaxed) { fits() } else { None };
        let Some(end) = end else { return Use::Alone };
        let statement = self.shared(said.rest, &scope, &mut |id| Statement::lasting(id, said.rest, end));
        Use::Shared { ticket: Ticket::default(), statement, age: self.age.load(Ordering::Relaxed) }
    }
}

/// What one step put on each side.
#[derive(Debug, Default)]
pub struct Out {
    pub to_server: Vec<u8>,
    pub to_client: Vec<u8>,
    /// The step ended the client's conversation.
    pub terminated: bool,
}

impl Out {
    fn add(&mut self, other: Out) {
        self.to_server.extend(other.to_server);
        self.to_client.extend(other.to_client);
        self.terminated |= other.terminated;
    }
}

/// The client's side of the relay.
pub struct Talk {
    pub session: Session,
    /// Frames of the client that wait while `Session::holds_client`.
    held: Vec<Vec<u8>>,
}

impl Talk {
    pub fn new(mode: PoolMode, prepared: bool, settings: &Arc<Settings>, table: &Arc<Table>) -> Talk {
        let intern: Arc<dyn Intern> = Arc::clone(table) as Arc<dyn Intern>;
        let origin = Origin {
            mode,
            settings: Arc::clone(settings),
            intern,
            wishes: Default::default(),
            forgiving: false,
            clustered: false,
            pinning: pgweir::config::Pinning::Allow,
            prepared,
        };
        Talk { session: Session::new(origin), held: Vec::new() }
    }

    pub fn attach(&mut self, server: &mut ServerState) -> Out {
        let mut out = Out::default();
        self.session.attach(server, &mut Outbox::new(&mut out.to_server, &[]));
        out
    }

    /// A client's frame, or its first bytes only: `frame` may end before its length says. `behind`: what is there already of
    /// what the client sends next.
    pub fn client(&mut self, frame: &[u8], behind: &[u8], server: &mut ServerState) -> Result<Out, Error> {
        if self.waits() {
            self.held.push(frame.to_vec());
            return Ok(Out::default());
        }
        if frame[0] == b'P' {
            self.session.foresee(&[frame, behind].concat(), 0);
        }
        let mut out = Out::default();
        let view = view(frame);
        let verdict = self.session.client(
            view,
            server,
            &mut Outbox::new(&mut out.to_server, &[]),
            &mut Outbox::new(&mut out.to_client, &[]),
        )?;
        match verdict {
            FromClient::Forward => out.to_server.extend_from_slice(frame),
            FromClient::Replaced { taken } => out.to_server.extend_from_slice(frame.get(taken..).unwrap_or_default()),
            FromClient::Swallow => {}
            FromClient::Terminate => out.terminated = true,
            FromClient::Wait => self.held.push(frame.to_vec()),
        }
        Ok(out)
    }

    /// A frame of a client that has no server and needs none.
    pub fn unattended(&mut self, frame: &[u8]) -> Out {
        let mut out = Out::default();
        let verdict = self.session.unattended(view(frame), &mut Outbox::new(&mut out.to_client, &[]));
        out.terminated = verdict == FromClient::Terminate;
        out
    }

    /// The client's frame of this tag finds no server.
    pub fn refuse(&mut self, tag: u8, error: &Error) -> Out {
        let mut out = Out::default();
        self.session.refuse(tag, error, &mut Outbox::new(&mut out.to_client, &[]));
        out
    }

    pub fn server(&mut self, frame: &[u8], server: &mut ServerState) -> Result<Out, Error> {
        let mut out = Out::default();
        let verdict = self.session.server(view(frame), server, &mut Outbox::new(&mut out.to_client, &[]))?;
        if verdict == FromServer::Forward {
            // What is authored goes in front of the frame.
            out.to_client.extend_from_slice(frame);
        }
        if self.session.fakes_due() {
            self.session.flush_fakes(&mut Outbox::new(&mut out.to_client, &[]));
        }
        if verdict == FromServer::Replay {
            let again = self.session.replayed();
            for frame in frames(&again) {
                out.add(self.client(frame, &[], server)?);
            }
        }
        if !self.waits() {
            let held = std::mem::take(&mut self.held);
            for (n, frame) in held.iter().enumerate() {
                out.add(self.client(frame, &held[n + 1..].concat(), server)?);
            }
        }
        Ok(out)
    }

    fn waits(&self) -> bool {
        self.session.holds_client() || self.session.awaits_answer()
    }

    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

fn view(bytes: &[u8]) -> Frame<'_> {
    let header = frame::scan(bytes, frame::MESSAGE_LIMIT).expect("the tests send sane lengths").expect("and headers");
    let body = bytes.get(frame::HEADER..header.len.min(bytes.len())).unwrap_or_default();
    Frame { header, body }
}

/// Cuts bytes into whole frames; the last one may be there in part.
pub fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Ok(Some(header)) = frame::scan(rest, frame::MESSAGE_LIMIT) {
        let (one, after) = rest.split_at(header.len.min(rest.len()));
        all.push(one);
        rest = after;
    }
    assert!(rest.is_empty(), "bytes that are no frame: {rest:?}");
    all
}
