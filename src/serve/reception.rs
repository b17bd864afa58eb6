//! Where clients come in: one task for each listener, which takes connections and gives each to a worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::workers::Crew;
use crate::admin;
use crate::client::login::{self, Arrival, Guest};
use crate::client::{Client, House};
use crate::control::Phase;
use crate::net::ends::Ends;
use crate::net::listen::{self, Listener};
use crate::net::stream::Stream;
use crate::pool::home::{self, Home};

/// How long handshakes that are under way may take to arrive at a port that others listen on too, before its listener is
/// closed: a round trip, and what the network may add.
const ARRIVAL: Duration = Duration::from_millis(250);

/// Whether connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Yes,
    /// They stay in the sockets' queues.
    NotNow,
    /// By the unix socket only: the console is open for as long as clients stay.
    Locally,
    /// Never again.
    Over,
}

/// All listeners, and who takes connections from them.
pub struct Reception {
    listeners: Mutex<Vec<Arc<Listener>>>,
    taking: watch::Sender<Taking>,
    /// Another process may listen on the same port.
    shares: bool,
}

impl Reception {
    /// Begins to take clients. Must run inside the runtime of the first worker.
    pub fn open(listeners: Vec<Listener>, house: &Arc<House>, crew: &Arc<Crew>) -> Reception {
        let shares = house.backends.ground().config.global.so_reuseport;
        let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        let taking = watch::Sender::new(Taking::Yes);
        let ids = Arc::new(AtomicU64::new(1));
        for listener in &listeners {
            let (house, crew) = (Arc::clone(house), Arc::clone(crew));
            tokio::spawn(accept(Arc::clone(listener), taking.subscribe(), house, crew, Arc::clone(&ids)));
        }
        Reception { listeners: Mutex::new(listeners), taking, shares }
    }

    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.listeners.lock().clone()
    }

    /// Takes nobody for now.
    pub fn stand_still(&self) {
        self.turn(Taking::NotNow);
    }

    pub fn go_on(&self) {
        self.turn(Taking::Yes);
    }

    fn turn(&self, to: Taking) {
        let ends = |taking: &Taking| matches!(taking, Taking::Locally | Taking::Over);
        self.taking.send_if_modified(|taking| !ends(taking) && std::mem::replace(taking, to) != to);
    }

    /// Another process listens on the same sockets now: they are closed here, and their files stay.
    pub fn leave(&self) {
        self.listeners.lock().iter().for_each(|listener| listener.leave());
        self.shut();
    }

    /// Closes the listeners but for the unix socket, where administrators still come in. On a port that is shared nobody is lost by it: whoever has connected is taken before, and
    /// whoever has not goes to another process.
    pub async fn close(&self) {
        let listeners = self.listeners();
        for listener in listeners.iter().filter(|_| self.shares) {
            if let Err(error) = listener.turn_away() {
                tracing::warn!("connections that arrive now may be reset: {error}");
            }
        }
        if self.shares && !listeners.is_empty() {
            tokio::time::sleep(ARRIVAL).await;
        }
        drop(listeners);
        self.turn(Taking::Locally);
        self.listeners.lock().retain(|listener| matches!(**listener, Listener::Unix { .. }));
    }

    /// At once.
    pub fn shut(&self) {
        self.taking.send_replace(Taking::Over);
        self.listeners.lock().clear();
    }
}

/// Takes connections from one listener until that is over.
async fn accept(
    listener: Arc<Listener>,
    mut taking: watch::Receiver<Taking>,
    house: Arc<House>,
    crew: Arc<Crew>,
    ids: Arc<AtomicU64>,
) {
    loop {
        let now = *taking.borrow_and_update();
        let accepted = match now {
            Taking::Over => return,
            Taking::Locally if matches!(*listener, Listener::Tcp(_)) => return,
            Taking::NotNow => {
                let _ = taking.changed().await;
                continue;
            }
            Taking::Locally | Taking::Yes => tokio::select! {
                biased;
                changed = taking.changed() => if changed.is_err() { return } else { continue },
                accepted = next(&listener) => accepted,
            },
        };
        match accepted {
            Ok((stream, ends)) => {
                if let Stream::Tcp(tcp) = &stream {
                    let _ = listen::tune(tcp, &house.backends.ground().config.global);
                }
                let in_time = *house.phase.borrow() == Phase::Running;
                let arrival = Arrival { ends, id: ids.fetch_add(1, Ordering::Relaxed), in_time };
                crew.place().attend(attend(Arc::clone(&house), stream, arrival, Arc::clone(&crew)));
            }
            Err(error) => {
                // Out of descriptors, most likely: the backlog holds those who knock.
                tracing::error!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection's login, and then its life in a task of its own, whose size is not the login's.
async fn attend(house: Arc<House>, mut stream: Stream, arrival: Arrival, crew: Arc<Crew>) {
    if home::here() != Home::default() {
        // Where that fails (no descriptor is left) its events come by way of the first worker.
        let _ = stream.watch_here();
    }
    match login::login(&house, stream, arrival).await {
        Some(Guest::Client(client)) => crew.at(home::here()).attend(live(client, Arc::clone(&crew))),
        // Not among those whom a shutdown waits for.
        Some(Guest::Operator(operator)) => drop(tokio::spawn(admin::run(operator))),
        None => {}
    }
}

/// A client's life, from worker to worker. Each part of it is a task of its own on the worker.
fn live(client: Box<Client>, crew: Arc<Crew>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Some(mut client) = client.run().await {
            let next = Arc::clone(&crew);
            crew.place().attend(async move {
                let _ = client.conversation.stream.watch_here();
                next.at(home::here()).attend(live(client, Arc::clone(&next)));
            });
        }
    })
}

async fn next(listener: &Listener) -> std::io::Result<(Stream, Ends)> {
    match listener {
        Listener::Tcp(listener) => {
            let (tcp, from) = listener.accept().await?;
            let to = tcp.local_addr()?;
            Ok((Stream::Tcp(tcp), Ends::Tcp { from, to }))
        }
        Listener::Unix { listener, .. } => {
            let (unix, _) = listener.accept().await?;
            let peer = unix.peer_cred().ok();
            let ends = Ends::Unix { uid: peer.map(|peer| peer.uid()), pid: peer.and_then(|peer| peer.pid()) };
            Ok((Stream::Unix(unix), ends))
        }
    }
}
