//! Which ports the servers and the proxy get: free, and outside the range from which the kernel takes the ports of
//! outgoing connections, where a port that is free now may be somebody's a moment later.
//!
//! A port is claimed by binding the abstract unix socket of its name, so that test processes that look at the same
//! time do not choose the same one. The kernel drops the claim with the process; nothing is left on disk.

use super::problem::{Problem, Result, Trying};
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The next `n` free ports from `base` on, claimed for the life of this process.
pub fn free_ports(base: u16, n: usize) -> Result<Vec<u16>> {
    let ephemeral = ephemeral_range()?;
    let claims: Vec<Claim> =
        (base..=u16::MAX).filter(|port| !ephemeral.contains(port)).filter_map(Claim::take).take(n).collect();
    if claims.len() < n {
        return Err(Problem::new(format!("looking for {n} free ports from {base} on"), outside(&ephemeral)));
    }
    let ports = claims.iter().map(|claim| claim.port).collect();
    claims.into_iter().for_each(Claim::keep);
    Ok(ports)
}

/// The ports of one demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub primary: u16,
    pub standby: u16,
    pub proxy: u16,
    pub http: u16,
}

impl Ports {
    /// 5432, 5433, 6432 and 9632 for a base of 5432.
    pub(super) fn at(base: u16) -> Option<Ports> {
        let above = |more| base.checked_add(more);
        Some(Ports { primary: base, standby: above(1)?, proxy: above(1000)?, http: above(4200)? })
    }

    /// The first free set at `base` or a multiple of ten above it, claimed for the life of this process.
    pub(super) fn free(base: u16) -> Result<Ports> {
        let ephemeral = ephemeral_range()?;
        let (ports, claims) = Ports::sets(base, &ephemeral)
            .find_map(|ports| Some((ports, ports.each().iter().copied().map(Claim::take).collect::<Option<Vec<_>>>()?)))
            .ok_or_else(|| Problem::new(format!("looking for free ports from {base} on"), outside(&ephemeral)))?;
        claims.into_iter().for_each(Claim::keep);
        Ok(ports)
    }

    fn sets(base: u16, ephemeral: &RangeInclusive<u16>) -> impl Iterator<Item = Ports> {
        (base..=u16::MAX)
            .step_by(STEP)
            .filter_map(Ports::at)
            .filter(move |ports| !ports.each().iter().any(|port| ephemeral.contains(port)))
    }

    fn each(&self) -> [u16; 4] {
        [self.primary, self.standby, self.proxy, self.http]
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {} and {}", self.primary, self.standby, self.proxy, self.http)
    }
}

struct Claim {
    port: u16,
    name: UnixListener,
}

impl Claim {
    fn take(port: u16) -> Option<Claim> {
        let address = SocketAddr::from_abstract_name(format!("pgweir-port-{port}")).ok()?;
        let name = UnixListener::bind_addr(&address).ok()?;
        // The wildcard address meets every listener on the port, whatever its address.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
        Some(Claim { port, name })
    }

    /// Holds the claim until the process ends.
    fn keep(self) {
        std::mem::forget(self.name);
    }
}

fn ephemeral_range() -> Result<RangeInclusive<u16>> {
    let text = std::fs::read_to_string(EPHEMERAL).trying(|| format!("reading {EPHEMERAL}"))?;
    parse_range(&text).ok_or_else(|| Problem::new(format!("reading {EPHEMERAL}"), format!("it says {text:?}")))
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut bounds = text.split_whitespace().map(str::parse);
    Some(bounds.next()?.ok()?..=bounds.next()?.ok()?)
}

fn outside(ephemeral: &RangeInclusive<u16>) -> String {
    let (low, high) = (ephemeral.start(), ephemeral.end());
    format!("none are left outside the kernel's range for outgoing connections, {low} to {high}")
}

const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const STEP: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_names_four_ports() {
        assert_eq!(Ports::at(5432), Some(Ports { primary: 5432, standby: 5433, proxy: 6432, http: 9632 }));
        assert_eq!(Ports::at(65000), None);
    }

    #[test]
    fn sets_step_over_the_ephemeral_range() {
        let bases = |base, range| Ports::sets(base, &range).map(|ports| ports.primary).take(3).collect::<Vec<_>>();
        assert_eq!(bases(5432, 32768..=60999), [5432, 5442, 5452]);
        assert_eq!(bases(28560, 32768..=60999), [28560, 61000, 61010], "28570 would put the page on 32770");
        assert_eq!(bases(5432, 1024..=65535), Vec::<u16>::new());
    }

    #[test]
    fn the_kernels_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range("32768"), None);
        assert_eq!(parse_range("a b"), None);
    }

    #[test]
    fn ports_differ_and_taken_ones_are_passed_over() {
        let first = free_ports(21_000, 3).expect("ports are left");
        let second = free_ports(21_000, 3).expect("ports are left");
        assert!(first.iter().all(|port| !second.contains(port)), "{first:?} {second:?}");
        let _taken = TcpListener::bind(("127.0.0.1", second[2] + 1));
        assert!(!free_ports(21_000, 1).expect("ports are left").contains(&(second[2] + 1)));
    }
}
