//! [pure] Results as Markdown.

use super::cases::Case;
use super::numbers::{Spread, plain, text_of};
use std::fmt::Write;

/// What one peer showed in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// CPU time of the proxy for each transaction, µs; None where there is no proxy.
    pub cpu: Option<f64>,
    /// The same of client, proxy and server together; None where connections come and go.
    pub all: Option<f64>,
    /// CPU time of the whole machine for each transaction, µs, less the idle background; None where others were at work.
    pub machine: Option<f64>,
    pub tps: f64,
    /// Milliseconds; None where too little was logged.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// One peer in one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub peer: &'static str,
    /// None for a round that failed.
    pub rounds: Vec<Option<Figures>>,
    /// Why rounds are missing.
    pub note: Option<String>,
}

type Column = fn(&Figures) -> Option<f64>;

const COLUMNS: [(&str, Column); 6] = [
    ("proxy CPU µs/tx", |figures| figures.cpu),
    ("machine CPU µs/tx", |figures| figures.machine),
    ("all CPU µs/tx", |figures| figures.all),
    ("tps", |figures| Some(figures.tps)),
    ("p50 ms", |figures| figures.p50),
    ("p99 ms", |figures| figures.p99),
];

/// The table of one case: each figure as median and range, and its ratio to the measure round by round.
pub fn case(case: &Case, rows: &[Row], measures: &[&str], load: &str) -> String {
    let ran = |row: &&Row| row.rounds.iter().any(Option::is_some);
    let measure = measures.iter().find_map(|name| rows.iter().filter(ran).find(|row| row.peer == *name));
    let plural = if case.clients == 1 { "" } else { "s" };
    let mut text = format!("## {}: {}, {} client{plural}\n\n", case.name(), case.what, case.clients);
    if let Some(measure) = measure {
        let _infallible = writeln!(text, "× is the ratio to {}. Load average: {load}\n", measure.peer);
    }
    if rows.iter().any(|row| ran(&row)) {
        let heads: Vec<String> = COLUMNS.iter().map(|(head, _)| format!("{head} | ×")).collect();
        table_head(&mut text, &heads, COLUMNS.len() * 2);
        for row in rows.iter().filter(ran) {
            let cells: Vec<String> = COLUMNS.iter().map(|(_, column)| cell(row, measure, *column)).collect();
            let _infallible = writeln!(text, "| {} | {} |", row.peer, cells.join(" | "));
        }
        text.push('\n');
    }
    for (peer, note) in rows.iter().filter_map(|row| Some((row.peer, row.note.as_ref()?))) {
        let _infallible = writeln!(text, "- {peer}: {}", note.replace('\n', "\n  "));
    }
    if rows.iter().any(|row| row.note.is_some()) {
        text.push('\n');
    }
    text
}

fn cell(row: &Row, measure: Option<&Row>, column: Column) -> String {
    let figure = |round: &Option<Figures>| round.as_ref().and_then(column);
    let value = Spread::of(row.rounds.iter().filter_map(figure));
    let ratios = measure.into_iter().flat_map(|measure| {
        row.rounds.iter().zip(&measure.rounds).filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?))
    });
    let ratio = if measure.is_some_and(|measure| measure.peer == row.peer) { None } else { Spread::of(ratios) };
    format!("{} | {}", text_of(value), text_of(ratio))
}

/// Private bytes for each idle client: after the login, after a query, after a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRow {
    pub peer: &'static str,
    pub clients: usize,
    pub tls: bool,
    pub bytes: Result<[Option<f64>; 3], String>,
}

pub fn memory(rows: &[MemoryRow]) -> String {
    let mut text = String::from("## memory: private bytes for each idle client\n\n");
    let heads = ["clients", "TLS", "after login", "after a query", "after a prepared statement"].map(str::to_owned);
    table_head(&mut text, &heads, heads.len());
    for row in rows {
        let (clients, tls) = (plain(row.clients as f64), if row.tls { "yes" } else { "no" });
        let cells = match &row.bytes {
            Ok(bytes) => bytes.map(|bytes| bytes.map_or_else(|| "–".to_owned(), plain)).join(" | "),
            Err(note) => format!("{} | – | –", in_a_cell(note)),
        };
        let _infallible = writeln!(text, "| {} | {clients} | {tls} | {cells} |", row.peer);
    }
    text.push('\n');
    text
}

/// System calls of the proxy for each transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct SyscallRow {
    pub peer: &'static str,
    pub mode: &'static str,
    /// By name, most frequent first.
    pub calls: Result<Vec<(String, f64)>, String>,
}

pub fn syscalls(rows: &[SyscallRow], clients: u32) -> String {
    let mut text =
        format!("## syscalls: system calls of the proxy for each transaction, pgbench -S, {clients} clients\n\n");
    table_head(&mut text, &["mode", "all", "by name"].map(str::to_owned), 3);
    for row in rows {
        let (all, names) = match &row.calls {
            Ok(calls) => (plain(calls.iter().map(|(_, calls)| calls).sum()), by_name(calls)),
            Err(note) => ("–".to_owned(), in_a_cell(note)),
        };
        let _infallible = writeln!(text, "| {} | {} | {all} | {names} |", row.peer, row.mode);
    }
    text.push('\n');
    text
}

/// A table's cell has one line, and bars are its walls.
fn in_a_cell(note: &str) -> String {
    note.trim_end().replace('\n', " ").replace('|', "/")
}

fn by_name(calls: &[(String, f64)]) -> String {
    let seen = calls.iter().filter(|(_, calls)| *calls >= RARELY);
    seen.map(|(name, calls)| format!("{name} {calls:.2}")).collect::<Vec<_>>().join(", ")
}

fn table_head(text: &mut String, heads: &[String], columns: usize) {
    let _infallible = writeln!(text, "|  | {} |\n|---|{}", heads.join(" | "), "--:|".repeat(columns));
}

/// Calls more seldom than this are a timer's or a login's, not a transaction's.
const RARELY: f64 = 0.005;

#[cfg(test)]
mod tests {
    use super::super::cases::Choice;
    use super::*;

    fn figures(cpu: f64) -> Option<Figures> {
        Some(Figures { cpu: Some(cpu), all: None, machine: Some(50.0), tps: 1000.0, p50: Some(1.0), p99: None })
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let first = Choice::parse("simple-16").expect("it is known").cases[0];
        let rows = [
            Row { peer: "HAProxy", rounds: vec![figures(10.0), figures(20.0), None], note: None },
            Row { peer: "pgweir", rounds: vec![figures(11.0), figures(18.0), figures(1.0)], note: None },
            Row { peer: "PgBouncer", rounds: vec![None], note: Some("not running".into()) },
        ];
        let text = case(&first, &rows, &["PgBouncer", "HAProxy"], "0.10");
        assert!(text.starts_with("## simple-16: pgbench -S -M simple, 16 clients\n"), "{text}");
        assert!(text.contains("× is the ratio to HAProxy. Load average: 0.10\n"), "{text}");
        assert!(text.contains("\n| HAProxy | 15.0 (10.0–20.0) | – | 50.0 | – |"), "{text}");
        assert!(text.contains("\n| pgweir | 11.0 (1.0–18.0) | 1.00 (0.90–1.10) | 50.0 | 1.00 |"), "{text}");
        assert!(text.contains("\n- PgBouncer: not running\n") && !text.contains("| PgBouncer"), "{text}");
    }

    #[test]
    fn every_line_of_a_table_has_the_same_columns() {
        let first = Choice::parse("simple-16").expect("it is known").cases[0];
        let row = Row { peer: "direct", rounds: vec![figures(1.0)], note: None };
        let texts = [
            case(&first, &[row], &["HAProxy"], ""),
            memory(&[
                MemoryRow { peer: "a", clients: 2000, tls: true, bytes: Ok([Some(1300.0), None, None]) },
                MemoryRow { peer: "b", clients: 2000, tls: false, bytes: Err("not\nrunning".into()) },
            ]),
            syscalls(
                &[
                    SyscallRow { peer: "a", mode: "simple", calls: Ok(vec![("recvfrom".into(), 2.0)]) },
                    SyscallRow { peer: "b", mode: "simple", calls: Err("no strace".into()) },
                ],
                8,
            ),
        ];
        for text in texts {
            let bars: Vec<usize> =
                text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
            assert!(bars.len() >= 3 && bars.iter().all(|count| *count == bars[0]), "{text}");
        }
    }

    #[test]
    fn rare_calls_are_counted_but_not_named() {
        let calls = vec![("recvfrom".to_owned(), 2.0), ("mmap".to_owned(), 0.004)];
        assert_eq!(by_name(&calls), "recvfrom 2.00");
    }
}
