//! [pure] Why a batch runs where it runs: one name for each decision, as it is counted and shown.

use super::fit::Unfit;
use crate::sql::Why;

/// The reason of one routing decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To a standby: a single statement that is proven to be a read.
    Select,
    /// To a standby: the transaction is declared READ ONLY, and its first statement is proven.
    DeclaredReadOnly,
    /// To the primary: what the text is.
    Text(Why),
    /// The primary may be lost: transactions do not begin on a standby, which may have to take over.
    Lost,
    /// Too many re-runs: the standby rests for a moment.
    Benched,
    /// The client or the text asked for the primary.
    Chosen,
    /// Messages without an Execute: what a Describe says must be the primary's.
    DescribeOnly,
    /// A Flush stands in the batch.
    Flush,
    /// A server reads it as part of a transaction that is not declared READ ONLY.
    InTransaction,
    /// The batch is longer than what can be kept to be run again.
    Large,
    /// The standby's pool could not connect.
    NoConnection,
    /// No standby is fit: what is wrong with the one that comes nearest.
    NoStandby(Unfit),
    /// The split is off, or covers declared transactions only.
    Off,
    /// Other messages stand behind the batch already.
    Pipeline,
    /// The client's server stays with it.
    Pinned,
    /// A named statement is prepared, or closed.
    Prepare,
    /// A standby refused the batch: it ran on the primary instead, unseen.
    Rerun,
    /// A text that a standby refused before.
    Refused,
    /// The session's transactions are SERIALIZABLE.
    Serializable,
    /// The primary takes part in reads (`primary_reads = "share"`).
    Shared,
    /// No standby was new enough in time.
    TooStale,
}

impl Reason {
    /// All, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Reason> {
        let unfit = Unfit::ALL.into_iter().map(Reason::NoStandby);
        Reason::OWN.iter().copied().chain(unfit).chain(Why::ALL.into_iter().map(Reason::Text))
    }

    const OWN: [Reason; 19] = [
        Reason::Select,
        Reason::DeclaredReadOnly,
        Reason::Benched,
        Reason::Chosen,
        Reason::DescribeOnly,
        Reason::Flush,
        Reason::InTransaction,
        Reason::Large,
        Reason::Lost,
        Reason::NoConnection,
        Reason::Off,
        Reason::Pipeline,
        Reason::Pinned,
        Reason::Prepare,
        Reason::Rerun,
        Reason::Refused,
        Reason::Serializable,
        Reason::Shared,
        Reason::TooStale,
    ];

    /// A number below `COUNT`, for tables of counters.
    pub fn number(self) -> usize {
        match self {
            Reason::NoStandby(unfit) => Reason::OWN.len() + place(&Unfit::ALL, unfit),
            Reason::Text(why) => Reason::OWN.len() + Unfit::ALL.len() + place(&Why::ALL, why),
            own => place(&Reason::OWN, own),
        }
    }

    pub const COUNT: usize = Reason::OWN.len() + Unfit::ALL.len() + Why::ALL.len();

    /// As it stands in metrics, in the console and in notices.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Select => "select",
            Reason::DeclaredReadOnly => "declared_read_only",
            Reason::Text(why) => why.label(),
            Reason::Benched => "standby_benched",
            Reason::Chosen => "chosen",
            Reason::DescribeOnly => "describe_only",
            Reason::Flush => "flush",
            Reason::InTransaction => "in_transaction",
            Reason::Large => "large",
            Reason::Lost => "primary_lost",
            Reason::NoConnection => "no_connection",
            Reason::NoStandby(unfit) => unfit.label(),
            Reason::Off => "off",
            Reason::Pipeline => "pipeline",
            Reason::Pinned => "pinned",
            Reason::Prepare => "prepare",
            Reason::Rerun => "rerun",
            Reason::Refused => "refused_before",
            Reason::Serializable => "serializable",
            Reason::Shared => "primary_shares",
            Reason::TooStale => "too_stale",
        }
    }
}

fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_each_reasons_own() {
        let labels: std::collections::HashSet<_> = Reason::all().map(Reason::label).collect();
        assert_eq!((labels.len(), Reason::all().count()), (Reason::COUNT, Reason::COUNT));
        for (number, reason) in Reason::all().enumerate() {
            assert_eq!(reason.number(), number, "{reason:?}");
        }
    }
}
