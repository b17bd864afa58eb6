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
