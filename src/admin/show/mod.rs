//! The tables' contents: PgBouncer's columns from our values. Each table is put together when it is asked for.

use crate::admin::extended::Answer;
use crate::admin::rows::{Row, Table};
use crate::admin::tables::Show;
use crate::client::House;

mod config;
mod counters;
mod help;
mod live;
mod ours;

/// The answer to a SHOW.
pub fn answer(house: &House, show: Show) -> Answer {
    if show == Show::Help {
        return Answer { notice: Some(("Console usage", help::text())), ..Answer::tag("SHOW") };
    }
    let table = Table { columns: show.columns().to_vec(), rows: rows(house, show) };
    Answer { table: Some(table), ..Answer::tag("SHOW") }
}

fn rows(house: &House, show: Show) -> Vec<Row> {
    match show {
        // Names are looked up by the system, which shows none; descriptors are handed on by another way.
        Show::DnsHosts | Show::DnsZones | Show::Fds | Show::Help => Vec::new(),
        Show::ActiveSockets => live::sockets(house, true),
        Show::Clients => live::clients(house),
        Show::Config => config::config(house),
        Show::Databases => config::databases(house),
        Show::Hba => ours::hba(house),
        Show::Lists => config::lists(house),
        Show::Mem => config::memory(house),
        Show::PeerPools => config::peer_pools(house),
        Show::Peers => config::peers(house),
        Show::Pinned => ours::pinned(house),
        Show::Pins => ours::pins(house),
        Show::Pools => live::pools(house),
        Show::Routes => ours::routes(house),
        Show::Servers => live::servers(house),
        Show::Shared => ours::shared(house),
        Show::Sockets => live::sockets(house, false),
        Show::State => config::state(house),
        Show::Stats => counters::stats(&house.snapshot()),
        Show::StatsAverages => counters::averages(&house.snapshot()),
        Show::StatsTotals => counters::totals(&house.snapshot()),
        Show::Topology => ours::topology(house),
        Show::Totals => counters::sums(&house.snapshot()),
        Show::Users => config::users(house),
        Show::Version => vec![vec![help::version().into()]],
        Show::Waits => ours::waits(house),
    }
}

/// Values of several types as one row.
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$($crate::admin::rows::Value::from($value)),*] };
}
use row;
