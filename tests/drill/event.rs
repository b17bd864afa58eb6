//! What befalls the servers, what a failover tool does about it at once, and how the lost one comes back.

use std::time::{Duration, Instant};

use pgweir::demo::Stop;
use rustix::process::{Pid, Signal, kill_process};

use super::field::Field;
use super::load::Load;
use super::tally::Tally;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    FastStop,
    ImmediateStop,
    KillPostmaster,
    FreezeAll,
    FreezePostmaster,
    Partition,
    SplitBrain,
    KillBackend,
    BothDown,
    StandbyLost,
    ReplayPaused,
}

/// What came of one.
pub struct Outcome {
    pub tally: Tally,
    pub faults: Vec<String>,
    /// From the event to the first write behind the pause that it made.
    pub until_written: Duration,
    /// From the event to the new primary, where there is one.
    pub until_promoted: Option<Duration>,
}

/// How long writers may be stuck before the drill goes on without them, and names them.
const STUCK: Duration = Duration::from_secs(20);

/// What was sent before has its answer by then.
const MOMENT: Duration = Duration::from_millis(300);

impl Event {
    pub const ALL: [Event; 11] = [
        Event::FastStop,
        Event::ImmediateStop,
        Event::KillPostmaster,
        Event::FreezeAll,
        Event::FreezePostmaster,
        Event::Partition,
        Event::SplitBrain,
        Event::KillBackend,
        Event::BothDown,
        Event::StandbyLost,
        Event::ReplayPaused,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Event::FastStop => "fast stop",
            Event::ImmediateStop => "immediate stop",
            Event::KillPostmaster => "kill -9 of the postmaster",
            Event::FreezeAll => "SIGSTOP of all",
            Event::FreezePostmaster => "SIGSTOP of the postmaster",
            Event::Partition => "network partition",
            Event::SplitBrain => "promotion beside a living primary",
            Event::KillBackend => "kill -9 of a backend",
            Event::BothDown => "both down and back",
            Event::StandbyLost => "standby lost and back",
            Event::ReplayPaused => "replay paused",
        }
    }

    /// Whether another server takes over.
    pub fn promotes(self) -> bool {
        !matches!(self, Event::KillBackend | Event::BothDown | Event::StandbyLost | Event::ReplayPaused)
    }

    /// Whether anything that a client asks for is lost with it.
    pub fn touches_the_primary(self) -> bool {
        !matches!(self, Event::StandbyLost | Event::ReplayPaused)
    }

    /// The event under this load, to its end: a primary and a standby again. `repoint` is told the new primary's place.
    pub async fn run(self, field: &mut Field, load: &mut Load, repoint: &dyn Fn(usize)) -> Outcome {
        let mut faults = Vec::new();
        load.renew().await;
        if self == Event::StandbyLost {
            field.wait_for_commits(false).await;
        }
        note(&mut faults, load.write_some(10, STUCK).await, "before");
        drop(load.take().await);

        let (old, at) = (field.primary(), Instant::now());
        self.fire(field).await;
        let promoted = if self.promotes() { Some(field.promote().await) } else { None };
        if promoted.is_some() {
            repoint(field.primary());
        }
        note(&mut faults, load.write_some(25, STUCK).await, "after it");
        self.bring_back(field, old).await;
        if self.promotes() {
            tokio::time::sleep(MOMENT).await;
            let given = field.given(old).await;
            note(&mut faults, load.write_some(25, STUCK).await, "beside the old primary");
            if field.given(old).await != given {
                faults.push("the old primary was given writes".to_owned());
            }
            field.rebuild().await;
        }
        note(&mut faults, load.write_some(10, STUCK).await, "at the end");
        let tally = load.take().await;
        faults.extend(tally.faults(&field.counts().await));
        let until_written = tally.until_written(at);
        Outcome { tally, faults, until_written, until_promoted: promoted.map(|then| then.duration_since(at)) }
    }

    async fn fire(self, field: &mut Field) {
        let (primary, standby) = (field.primary(), field.standby());
        match self {
            Event::FastStop => field.stop(primary, Stop::Fast),
            Event::ImmediateStop => field.stop(primary, Stop::Immediate),
            Event::KillPostmaster => field.stop(primary, Stop::Kill),
            Event::FreezeAll => field.signal(primary, Signal::STOP, true),
            Event::FreezePostmaster => field.signal(primary, Signal::STOP, false),
            Event::Partition => field.links[primary].cut(),
            Event::SplitBrain => {}
            Event::KillBackend => {
                let one = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' ORDER BY state_change DESC LIMIT 1";
                let pid = field.ask(primary, one).await.parse().expect("a process id");
                kill_process(Pid::from_raw(pid).expect("not 0"), Signal::KILL).expect("it is there");
            }
            Event::BothDown => {
                field.stop(primary, Stop::Fast);
                field.stop(standby, Stop::Fast);
                tokio::time::sleep(MOMENT).await;
                field.start(primary);
                field.start(standby);
            }
            Event::StandbyLost => field.stop(standby, Stop::Immediate),
            Event::ReplayPaused => {
                field.ask(standby, "SELECT pg_wal_replay_pause()").await;
                field.until(standby, "SELECT pg_get_wal_replay_pause_state()", "paused").await;
            }
        }
    }

    /// The old primary is as it was before, and believes itself to be one.
    async fn bring_back(self, field: &mut Field, old: usize) {
        let standby = field.standby();
        match self {
            Event::FastStop | Event::ImmediateStop | Event::KillPostmaster => field.start(old),
            Event::FreezeAll => field.signal(old, Signal::CONT, true),
            Event::FreezePostmaster => field.signal(old, Signal::CONT, false),
            Event::Partition => field.links[old].mend(),
            Event::SplitBrain | Event::KillBackend | Event::BothDown => {}
            Event::StandbyLost => {
                field.start(standby);
                field.wait_for_commits(true).await;
            }
            Event::ReplayPaused => {
                field.ask(standby, "SELECT pg_wal_replay_resume()").await;
            }
        }
    }
}

fn note(faults: &mut Vec<String>, written: bool, when: &str) {
    if !written {
        faults.push(format!("some writers are stuck {when}"));
    }
}
