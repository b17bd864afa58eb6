//! The read/write split: what it costs the proxy, what it takes off the primary, and whether anybody notices.
//!
//! pgweir stands before a primary and its standby, once with the split off and once on. Which server ran how much is
//! PostgreSQL's own count. Staleness is counted by clients that tell each other what was acknowledged to them: an
//! answer that is older than that, at the moment in which its read was sent, is stale.

use super::cases::{Case, Choice};
use super::client::Client;
use super::measure::{Background, Clock};
use super::numbers::{Spread, text_of};
use super::peers::Peers;
use super::pgbench;
use super::stage::{DATABASE, Stage};
use super::stop::Stopper;
use pgweir::demo::{Cluster, Problem, Result, Trying, run, wait_until};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What one run showed.
struct Cost {
    cpu: f64,
    tps: f64,
    /// The primary's part of all transactions.
    primary: f64,
}

/// All three tables as Markdown.
pub fn measure(
    peers: &Peers,
    stage: &Stage,
    background: Background,
    rounds: u32,
    seconds: u64,
    stop: &Stopper,
) -> Result<String> {
    let standby = stage.standby()?;
    let ground = Ground { peers, stage, standby: &standby, background, seconds, stop };
    let mut text = String::from("## split: reads on a standby, pgbench -S, 16 clients\n\n");
    text.push_str(
        "|  | split | proxy CPU µs/tx | tps | primary's share % | CPU on / off |\n|---|---|--:|--:|--:|--:|\n",
    );
    for case in &Choice::parse("simple-16,extended-16,prepared-16").unwrap_or_default().cases {
        text.push_str(&ground.costs(case, rounds)?);
    }
    writeln!(text, "\nTPC-B through the split and straight: {}.\n", ground.balances()?).trying(|| "writing".into())?;
    text.push_str("| reads | writes/s | reads/s | on the standby % | stale | own stale |\n|---|--:|--:|--:|--:|--:|\n");
    for level in [Level::Straight, Level::At("session"), Level::At("pool"), Level::At("strict")] {
        text.push_str(&ground.staleness(level)?);
    }
    text.push('\n');
    Ok(text)
}

struct Ground<'a> {
    peers: &'a Peers,
    stage: &'a Stage,
    standby: &'a Cluster,
    background: Background,
    seconds: u64,
    stop: &'a Stopper,
}

/// Where reads go.
#[derive(Clone, Copy)]
enum Level {
    /// Past pgweir, to the standby: what nobody should do, and what shows that the count can fail.
    Straight,
    /// Through pgweir, at this read_consistency.
    At(&'static str),
}

impl Ground<'_> {
    fn costs(&self, case: &Case, rounds: u32) -> Result<String> {
        let mut all = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in [round % 2, (round + 1) % 2] {
                let mode = MODES[turn as usize];
                let cost = self.cost(case, mode)?;
                self.stop.check()?;
                eprintln!(
                    "{}, split {mode}: {:.1} µs, {:.0} tps, {:.1} %",
                    case.name(),
                    cost.cpu,
                    cost.tps,
                    cost.primary
                );
                all[turn as usize].push(cost);
            }
        }
        let figure = |at: usize, figure: fn(&Cost) -> f64| text_of(Spread::of(all[at].iter().map(figure)));
        let ratio = all[1].iter().zip(&all[0]).map(|(on, off)| on.cpu / off.cpu);
        let ratios = ["–".to_owned(), text_of(Spread::of(ratio))];
        let row = |at: usize| {
            let figures = [figure(at, |cost| cost.cpu), figure(at, |cost| cost.tps), figure(at, |cost| cost.primary)];
            format!("| {} | {} | {} | {} |\n", case.name(), MODES[at], figures.join(" | "), ratios[at])
        };
        Ok(row(0) + &row(1))
    }

    fn cost(&self, case: &Case, mode: &str) -> Result<Cost> {
        self.stage.settle();
        let before = self.transactions()?;
        let lines = format!("read_write_split = \"{mode}\"");
        let running = self.peers.start_split(self.stage, self.standby.port(), &lines)?;
        self.until_known(running.port, mode == "off")?;
        let clock = Clock::of(running.pid(), self.background);
        let figures = pgbench::measure(self.stage, case, running.port, clock, self.seconds, self.stop)?;
        drop(running);
        self.stage.settle();
        // A server tells its counts at its end.
        self.stop.within(WARM_UP)?;
        let after = self.transactions()?;
        let [primary, standby] = [0, 1].map(|at| after[at].saturating_sub(before[at]) as f64);
        let cpu = figures.cpu.ok_or_else(|| Problem::new("measuring pgweir", "there is no CPU time"))?;
        Ok(Cost { cpu, tps: figures.tps, primary: 100.0 * primary / (primary + standby) })
    }

    /// Of the primary, and of the standby.
    fn transactions(&self) -> Result<[u64; 2]> {
        let sql = format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{DATABASE}'");
        let [primary, standby] = [self.stage.ask(&sql)?, self.standby.psql("postgres", &sql)?];
        let number = |text: String| text.parse().trying(|| format!("reading {text}"));
        Ok([number(primary)?, number(standby)?])
    }

    /// The same random transactions twice: the same money in the same places.
    fn balances(&self) -> Result<&'static str> {
        let straight = self.tpc_b(self.stage.postgres_port())?;
        let running = self.peers.start_split(self.stage, self.standby.port(), "read_write_split = \"auto\"")?;
        self.until_known(running.port, false)?;
        let split = self.tpc_b(running.port)?;
        Ok(if split == straight { "the same balances" } else { "OTHER BALANCES" })
    }

    fn tpc_b(&self, port: u16) -> Result<String> {
        self.stage.ask(RESET)?;
        let mut pgbench = self.stage.pgbench(port, false);
        pgbench.args(["--no-vacuum", "--builtin=tpcb-like", "--random-seed=42", "--client=16", "--transactions=100"]);
        run(&mut pgbench, "")?;
        self.stage.ask(BALANCES)
    }

    fn staleness(&self, level: Level) -> Result<String> {
        self.stage.ask(HOT)?;
        let (name, lines) = match level {
            Level::Straight => ("straight to the standby", "read_write_split = \"off\"".to_owned()),
            Level::At(level) => (level, format!("read_consistency = \"{level}\"")),
        };
        let running = self.peers.start_split(self.stage, self.standby.port(), &lines)?;
        let reads = if matches!(level, Level::Straight) { self.standby.port() } else { running.port };
        self.until_known(running.port, matches!(level, Level::Straight))?;
        let board = Arc::new(Board::default());
        let mut threads = Vec::new();
        for number in 0..CALLERS {
            let [writes, reads] = [running.port, reads].map(|port| self.client(port, number));
            let caller = Caller { writes: writes?, reads: reads?, number, board: Arc::clone(&board) };
            threads.push(std::thread::spawn(move || caller.run()));
        }
        let ended = self.stop.within(Duration::from_secs(self.seconds));
        board.over.store(true, Ordering::SeqCst);
        let mut sum = Seen::default();
        for thread in threads {
            let seen = thread.join().map_err(|_| Problem::new("reading and writing", "it panicked"))?;
            sum.add(&seen.trying(|| format!("reading at {name}"))?);
        }
        ended?;
        let standby = if matches!(level, Level::Straight) { sum.reads } else { sum.offloaded };
        let per_second = |count: usize| count as f64 / self.seconds as f64;
        let share = 100.0 * standby as f64 / sum.reads as f64;
        eprintln!("{name}: {:.0} writes/s, {share:.1} % on the standby, {} stale", per_second(sum.writes), sum.stale);
        Ok(format!(
            "| {name} | {:.0} | {:.0} | {share:.1} | {} | {} |\n",
            per_second(sum.writes),
            per_second(sum.reads),
            sum.stale,
            sum.own
        ))
    }

    /// The standby and the catalog are: reads leave the primary, unless the split is off.
    fn until_known(&self, port: u16, is_off: bool) -> Result<()> {
        self.stop.within(WARM_UP)?;
        let mut client = self.client(port, 0)?;
        let leaves = || client.value(LOOKUP).is_ok() && client.offloaded() > 0;
        match is_off || wait_until(PATIENCE, leaves) {
            true => Ok(()),
            false => Err(Problem::new("splitting reads", "none leaves the primary")),
        }
    }

    fn client(&self, port: u16, number: usize) -> Result<Client> {
        let mut client = None;
        let login = self.stage.login(port, false);
        // The standby learns the table a moment later.
        let ready = wait_until(PATIENCE, || {
            client = Client::login(&login, number).ok();
            client
                .as_mut()
                .is_some_and(|client| client.query("SET pgweir.explain = on").is_ok() && client.value(LOOKUP).is_ok())
        });
        let client = client.filter(|_| ready);
        client.ok_or_else(|| Problem::new("logging in", format!("nobody answers on port {port}")))
    }
}

/// What clients tell each other.
#[derive(Default)]
struct Board {
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

struct Caller {
    writes: Client,
    reads: Client,
    number: usize,
    board: Arc<Board>,
}

#[derive(Default)]
struct Seen {
    writes: usize,
    reads: usize,
    offloaded: usize,
    stale: usize,
    own: usize,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.writes += other.writes;
        self.reads += other.reads;
        self.offloaded += other.offloaded;
        self.stale += other.stale;
        self.own += other.own;
    }
}

impl Caller {
    /// Each tenth turn writes; turns begin at fixed times.
    fn run(mut self) -> std::io::Result<Seen> {
        let (begin, mut seen, mut own) = (Instant::now(), Seen::default(), 0);
        let before = self.reads.offloaded();
        for turn in 0.. {
            let due = begin + PACE * turn + PACE * self.number as u32 / CALLERS as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.board.over.load(Ordering::SeqCst) {
                break;
            }
            if turn as usize % 10 == self.number {
                own = number(self.writes.value(WRITE)?)?;
                self.board.acknowledged.fetch_max(own, Ordering::SeqCst);
                seen.writes += 1;
            } else {
                let acknowledged = self.board.acknowledged.load(Ordering::SeqCst);
                let answer = number(self.reads.value(READ)?)?;
                seen.reads += 1;
                seen.stale += usize::from(answer < acknowledged);
                seen.own += usize::from(answer < own);
            }
        }
        seen.offloaded = self.reads.offloaded() - before;
        Ok(seen)
    }
}

fn number(text: String) -> std::io::Result<usize> {
    text.parse().map_err(std::io::Error::other)
}

const MODES: [&str; 2] = ["off", "auto"];
/// Eight callers, each with a turn in 16 ms: 50 writes and 450 reads a second.
const CALLERS: usize = 8;
const PACE: Duration = Duration::from_millis(16);
const WARM_UP: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const HOT: &str =
    "DROP TABLE IF EXISTS hot; CREATE TABLE hot (id int PRIMARY KEY, n int8); INSERT INTO hot VALUES (1, 0)";
const WRITE: &str = "UPDATE hot SET n = n + 1 WHERE id = 1 RETURNING n";
const LOOKUP: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 1";
const READ: &str = "SELECT n FROM hot WHERE id = 1";
const RESET: &str = "UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0; UPDATE pgbench_tellers SET tbalance = 0; \
                     UPDATE pgbench_branches SET bbalance = 0; TRUNCATE pgbench_history";
const BALANCES: &str = "SELECT (SELECT md5(string_agg(aid || ':' || abalance, ',' ORDER BY aid)) FROM pgbench_accounts \
                        WHERE abalance <> 0), (SELECT md5(string_agg(tid || ':' || tbalance, ',' ORDER BY tid)) FROM \
                        pgbench_tellers), (SELECT md5(string_agg(bid || ':' || bbalance, ',' ORDER BY bid)) FROM \
                        pgbench_branches), (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)";
