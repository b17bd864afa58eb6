//! Addresses of servers by name, from the system's resolver.
//!
//! It tells no TTL, so that answers are kept for `dns_max_ttl`, and refusals for `dns_nxdomain_ttl`. A name is looked up once
//! for all who ask at the same time, by a task of its own: who has a shorter deadline than the resolver finds the answer
//! the next time. While a new answer is on its way, or none comes, the last one serves.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Global;

/// How long a new answer is waited for where there is an old one.
const PATIENCE: Duration = Duration::from_millis(50);

/// A name whose server cannot be reached is looked up again, but no more often.
const SPARING: Duration = Duration::from_secs(1);

/// How long answers and refusals are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    pub found: Duration,
    pub missing: Duration,
}

impl Ttl {
    pub fn of(global: &Global) -> Ttl {
        Ttl { found: global.dns_max_ttl, missing: global.dns_nxdomain_ttl }
    }
}

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// All names that servers are known by.
pub struct Names {
    resolve: fn(String) -> Found,
    known: Mutex<HashMap<String, Arc<Lookup>>>,
}

impl Default for Names {
    fn default() -> Names {
        Names::by(system)
    }
}

fn system(name: String) -> Found {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|at| at.ip()).collect()) })
}

/// One question to the resolver.
struct Lookup {
    begun: Instant,
    /// Nobody answered at these addresses.
    doubted: AtomicBool,
    answer: watch::Receiver<Option<Answer>>,
    before: Arc<[IpAddr]>,
}

#[derive(Clone)]
struct Answer {
    /// Those of before where the resolver failed.
    addresses: Arc<[IpAddr]>,
    /// What the resolver said.
    error: Option<Arc<str>>,
}

impl Names {
    fn by(resolve: fn(String) -> Found) -> Names {
        Names { resolve, known: Mutex::default() }
    }

    /// The addresses of a host, in the resolver's order; an error where there is none. Cancel-safe.
    pub async fn find(&self, host: &str, ttl: Ttl) -> io::Result<Arc<[IpAddr]>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Arc::from([address]));
        }
        let lookup = self.lookup(bare, ttl);
        let mut answer = lookup.answer.clone();
        let known = answer.wait_for(Option::is_some);
        let known = match lookup.before.is_empty() {
            true => known.await,
            false => match tokio::time::timeout(PATIENCE, known).await {
                Ok(known) => known,
                Err(_) => return Ok(Arc::clone(&lookup.before)),
            },
        };
        let gone = || io::Error::other("the look-up ended without an answer");
        let answer = known.map_err(|_| gone())?.clone().ok_or_else(gone)?;
        match answer.error {
            Some(error) if answer.addresses.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, error.to_string()))
            }
            _ => Ok(answer.addresses),
        }
    }

    /// Nobody answered at any address of this host: it is looked up anew before it is dialled again.
    pub fn doubt(&self, host: &str) {
        if let Some(lookup) = self.known.lock().get(host) {
            lookup.doubted.store(true, Ordering::Relaxed);
        }
    }

    /// The present question, or a new one.
    fn lookup(&self, name: &str, ttl: Ttl) -> Arc<Lookup> {
        let mut known = self.known.lock();
        let before = known.get(name);
        if let Some(lookup) = before.filter(|lookup| !lookup.is_due(ttl)) {
            return Arc::clone(lookup);
        }
        let before = before.map(|lookup| lookup.addresses()).unwrap_or_default();
        let (told, answer) = watch::channel(None);
        let (found, name) = ((self.resolve)(name.to_owned()), name.to_owned());
        let last = Arc::clone(&before);
        let of = name.clone();
        tokio::spawn(async move { told.send_replace(Some(answered(&of, found.await, last))) });
        let lookup = Lookup { begun: Instant::now(), doubted: AtomicBool::new(false), answer, before };
        let lookup = Arc::new(lookup);
        known.insert(name, Arc::clone(&lookup));
        lookup
    }
}

fn answered(name: &str, found: io::Result<Vec<IpAddr>>, before: Arc<[IpAddr]>) -> Answer {
    match found {
        Ok(found) if !found.is_empty() => Answer { addresses: found.into(), error: None },
        found => {
            let error = found.err().map_or_else(|| "the name has no address".to_owned(), |error| error.to_string());
            tracing::warn!(name, kept = before.len(), "name of a server not found: {error}");
            Answer { addresses: before, error: Some(error.into()) }
        }
    }
}

impl Lookup {
    fn is_due(&self, ttl: Ttl) -> bool {
        let (age, answer) = (self.begun.elapsed(), self.answer.borrow());
        match &*answer {
            // Still asked; unless the asking task is gone.
            None => self.answer.has_changed().is_err(),
            Some(_) if self.doubted.load(Ordering::Relaxed) && age >= SPARING => true,
            Some(answer) => age >= if answer.error.is_some() { ttl.missing } else { ttl.found },
        }
    }

    /// The last ones that are known.
    fn addresses(&self) -> Arc<[IpAddr]> {
        self.answer.borrow().as_ref().map_or_else(|| Arc::clone(&self.before), |answer| Arc::clone(&answer.addresses))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::*;

    const TTL: Ttl = Ttl { found: Duration::from_secs(15), missing: Duration::from_secs(5) };

    /// The names say what becomes of a question; each answer is another address.
    fn fake(name: String) -> Found {
        static ASKED: AtomicU8 = AtomicU8::new(0);
        Box::pin(async move {
            let n = ASKED.fetch_add(1, Ordering::Relaxed);
            if name.contains("slow") && n > 0 {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            if name.contains("missing") {
                return Err(io::Error::other("no such name"));
            }
            Ok(vec![IpAddr::from([10, 0, 0, n])])
        })
    }

    async fn find(names: &Names, name: &str) -> Option<IpAddr> {
        names.find(name, TTL).await.ok()?.first().copied()
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_its_ttl_and_shared() {
        let names = Names::by(fake);
        let (one, other) = tokio::join!(find(&names, "db"), find(&names, "db"));
        assert!(one.is_some() && one == other);
        pass(14).await;
        assert_eq!(find(&names, "db").await, one);
        pass(1).await;
        assert_ne!(find(&names, "db").await, one);
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_nobody_is_looked_up_again_but_sparingly() {
        let names = Names::by(fake);
        let first = find(&names, "db").await;
        names.doubt("db");
        assert_eq!(find(&names, "db").await, first);
        pass(1).await;
        let second = find(&names, "db").await;
        assert_ne!(second, first);
        pass(1).await;
        assert_eq!(find(&names, "db").await, second, "the doubt was of the answer before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_kept_and_an_old_answer_serves_meanwhile() {
        let names = Names::by(fake);
        assert_eq!(find(&names, "missing").await, None);
        let first = find(&names, "slow").await;
        pass(20).await;
        assert_eq!(find(&names, "slow").await, first, "the new one takes too long");
        pass(4).await;
        assert_ne!(find(&names, "slow").await, first);
        let known = find(&names, "db").await;
        let lost = Names { resolve: |_| Box::pin(async { Err(io::Error::other("down")) }), ..names };
        pass(20).await;
        assert_eq!(find(&lost, "db").await, known, "better than none");
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let names = Names::by(|_| Box::pin(async { Err(io::Error::other("nobody asks")) }));
        assert_eq!(find(&names, "[::1]").await, Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert_eq!(find(&names, "127.0.0.1").await, Some(IpAddr::from([127, 0, 0, 1])));
    }
}
