//! How a low room learns what the process as a whole is doing.

/// The process's phase. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// No new clients; the present ones may stay (SHUTDOWN WAIT_FOR_CLIENTS).
    Closing,
    /// Each client is ended when its transaction ends (SHUTDOWN WAIT_FOR_SERVERS).
    Draining,
    /// Now.
    Stopping,
}
