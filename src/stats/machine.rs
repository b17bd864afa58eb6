//! What the kernel says of this process: CPU time, memory, descriptors.

use std::fs;

/// Zero where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_fds: usize,
    pub max_fds: u64,
}

impl Machine {
    /// As it is now, by Linux's /proc.
    pub fn look() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cpu_seconds: cpu_seconds(&read("/proc/self/stat")),
            resident_bytes: resident_bytes(&read("/proc/self/status")),
            // The one that is being read is among them.
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1)),
            max_fds: max_fds(&read("/proc/self/limits")),
        }
    }
}

/// Ticks of `stat`; the kernel's unit for user space is a hundredth of a second on every architecture that we run on.
const TICKS: f64 = 100.0;

/// User and system time: the 14th and 15th field. The second one is a name in parentheses, with whatever in it.
fn cpu_seconds(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS
}

fn resident_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The soft limit.
fn max_fds(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_they_are_written() {
        let stat = "42 (pg) weir) S 1 42 42 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu_seconds(stat), 2.0);
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), 2 << 20);
        assert_eq!(max_fds("Limit  Soft\nMax open files            1024                 4096   files\n"), 1024);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let now = Machine::look();
        assert!(now.resident_bytes > 0 && now.open_fds > 0 && now.max_fds > 0);
    }
}
