//! [pure] What pgbench, strace and /proc print, as values.

/// A line of `pgbench -P 1 --progress-timestamp`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds since the epoch, to the millisecond.
    pub at: f64,
    /// Since the line before.
    pub tps: f64,
}

impl Progress {
    /// `progress: 1700000001.123 s, 12345.6 tps, lat 0.123 ms stddev 0.045, 0 failed`
    pub fn parse(line: &str) -> Option<Progress> {
        let mut parts = line.strip_prefix("progress: ")?.split(", ");
        let at = parts.next()?.strip_suffix(" s")?.parse().ok()?;
        let tps = parts.next()?.strip_suffix(" tps")?.parse().ok()?;
        Some(Progress { at, tps })
    }
}

/// A line of pgbench's transaction log: when it ended (seconds since the epoch), and how long it took (µs).
/// None for a transaction that failed, where a word stands in place of the time.
pub fn logged(line: &str) -> Option<(f64, f64)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_client, _number, took, _script, seconds, micros, ..] = fields[..] else { return None };
    let at = seconds.parse::<f64>().ok()? + micros.parse::<f64>().ok()? / 1e6;
    Some((at, took.parse().ok()?))
}

/// The calls by name of `strace -c`, most frequent first.
pub fn syscalls(table: &str) -> Vec<(String, u64)> {
    let mut calls: Vec<(String, u64)> = table.lines().filter_map(syscall).collect();
    calls.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    calls
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`
fn syscall(line: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let name = *fields.last()?;
    let numbers = fields.len() >= 5 && fields[0].parse::<f64>().is_ok();
    (numbers && name != "total").then_some((name.to_owned(), fields[3].parse().ok()?))
}

/// The first field of a task's schedstat: nanoseconds on a CPU.
pub fn nanoseconds_run(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The first line of /proc/stat: ticks in which any CPU worked (user, nice, system, irq, softirq).
pub fn busy_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

/// The private bytes of a smaps_rollup.
pub fn private_bytes(rollup: &str) -> u64 {
    let value = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let private = |line: &&str| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:");
    rollup.lines().filter(private).filter_map(value).sum::<u64>() * 1024
}

/// `PgBouncer 1.18.0` and the like: the first two numbers.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split('.');
    let minor = parts.clone().nth(1)?;
    let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((parts.next()?.parse().ok()?, minor[..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_told_from_others() {
        let line = "progress: 1700000001.123 s, 12345.6 tps, lat 0.123 ms stddev 0.045, 0 failed";
        assert_eq!(Progress::parse(line), Some(Progress { at: 1_700_000_001.123, tps: 12345.6 }));
        assert_eq!(Progress::parse("pgbench (15.18)"), None);
        assert_eq!(Progress::parse("progress: soon"), None);
    }

    #[test]
    fn a_log_line_has_an_end_and_a_time() {
        assert_eq!(logged("0 199 2241 0 1175850568 500000"), Some((1_175_850_568.5, 2241.0)));
        assert_eq!(logged("0 199 failed 0 1175850568 500000"), None);
        assert_eq!(logged(""), None);
    }

    #[test]
    fn straces_table_is_read_with_and_without_errors() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.100000           5     20000           sendto
 40.00    0.050000           2     30000        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.150000           3     50000        12 total
";
        assert_eq!(syscalls(table), [("recvfrom".to_owned(), 30000), ("sendto".to_owned(), 20000)]);
    }

    #[test]
    fn proc_files_give_numbers() {
        assert_eq!(nanoseconds_run("123456 789 3\n"), Some(123_456));
        assert_eq!(busy_ticks("cpu  10 1 20 1000 5 2 3 0 0 0\ncpu0 1 1 1\n"), Some(36));
        let rollup = "0-f ---p [rollup]\nRss: 99 kB\nPrivate_Clean:        4 kB\nPrivate_Dirty:      100 kB\n";
        assert_eq!(private_bytes(rollup), 104 * 1024);
    }

    #[test]
    fn versions_are_two_numbers() {
        assert_eq!(version("PgBouncer 1.18.0\nlibevent 2.1.12-stable"), Some((1, 18)));
        assert_eq!(version("PgBouncer 1.24dev"), Some((1, 24)));
        assert_eq!(version("HAProxy version 2.6.12-1+deb12u4 2026/10/17"), Some((2, 6)));
        assert_eq!(version("none"), None);
    }
}
