//! [pure] The reasons for which a server's session is not as the pool left it, and their names.

/// Why a server's session is no longer as the pool knows it, the strongest reason first: of several the strongest
/// is kept, so that a caller who forgives a weak one misses nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taint {
    /// A lexical error, a NUL, a `U&"…"` name, or an encoding that hides bytes.
    Unreadable,
    Do,
    Call,
    /// Also any name that begins with `pg_temp`.
    TempTable,
    HoldCursor,
    AdvisoryLock,
    Listen,
    Load,
    /// A function that ties something else to the session: `dblink_connect`, `pg_backup_start`, a slot, an origin.
    SessionFunction,
    /// SQL's own PREPARE.
    Prepare,
    SetSeed,
    /// SET ROLE, SET SESSION AUTHORIZATION, and their RESET.
    Role,
    /// `set_config` but for a transaction, and what amounts to it.
    SetConfig,
    Set,
    /// Back to a default that each server has for itself: RESET, SET … TO DEFAULT.
    Reset,
    /// A DEALLOCATE among other statements; alone it is a [`Special`](super::Special).
    Deallocate,
    /// Reads what an earlier statement left: `currval`, `lastval`.
    Currval,
}

/// A set of them: what a text may leave is more than its strongest reason.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Taints(u32);

impl Taints {
    pub const NONE: Taints = Taints(0);

    pub const fn of(all: &[Taint]) -> Taints {
        let (mut bits, mut rest) = (0, all);
        while let [first, more @ ..] = rest {
            bits |= 1 << (*first as u32);
            rest = more;
        }
        Taints(bits)
    }

    pub const fn with(self, other: Taints) -> Taints {
        Taints(self.0 | other.0)
    }

    pub const fn without(self, other: Taints) -> Taints {
        Taints(self.0 & !other.0)
    }

    pub const fn contains(self, taint: Taint) -> bool {
        self.0 & (1 << (taint as u32)) != 0
    }

    /// The strongest first.
    pub fn iter(self) -> impl Iterator<Item = Taint> {
        // Mostly there is none.
        let most = if self.is_empty() { 0 } else { ALL.len() };
        ALL.into_iter().take(most).filter(move |taint| self.contains(*taint))
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn is_within(self, other: Taints) -> bool {
        self.without(other).is_empty()
    }
}

const ALL: [Taint; 17] = [
    Taint::Unreadable,
    Taint::Do,
    Taint::Call,
    Taint::TempTable,
    Taint::HoldCursor,
    Taint::AdvisoryLock,
    Taint::Listen,
    Taint::Load,
    Taint::SessionFunction,
    Taint::Prepare,
    Taint::SetSeed,
    Taint::Role,
    Taint::SetConfig,
    Taint::Set,
    Taint::Reset,
    Taint::Deallocate,
    Taint::Currval,
];

impl Taint {
    pub fn label(self) -> &'static str {
        match self {
            Taint::Unreadable => "unreadable",
            Taint::Do => "do",
            Taint::Call => "call",
            Taint::TempTable => "temp_table",
            Taint::HoldCursor => "hold_cursor",
            Taint::AdvisoryLock => "advisory_lock",
            Taint::Listen => "listen",
            Taint::Load => "load",
            Taint::SessionFunction => "session_function",
            Taint::Prepare => "prepare",
            Taint::SetSeed => "set_seed",
            Taint::Role => "role",
            Taint::SetConfig => "set_config",
            Taint::Set => "set",
            Taint::Reset => "reset",
            Taint::Deallocate => "deallocate",
            Taint::Currval => "currval",
        }
    }
}
