//! [pure] What the console says of itself.

use crate::admin::tables::Show;
use crate::client::operator::VERSION;

/// Tools read PgBouncer's version from its beginning, and know by it which tables there are.
pub fn version() -> String {
    format!("PgBouncer {VERSION} (pgweir {})", env!("CARGO_PKG_VERSION"))
}

/// SHOW HELP, a notice's detail.
pub fn text() -> String {
    const COMMANDS: [&str; 15] = [
        "SET key = value",
        "RELOAD",
        "PAUSE [<db>]",
        "RESUME [<db>]",
        "DISABLE <db>",
        "ENABLE <db>",
        "RECONNECT [<db>]",
        "RECONNECT <db> FORGET",
        "KILL [<db>]",
        "KILL_CLIENT <client_id>",
        "SUSPEND",
        "WAIT_CLOSE [<db>]",
        "SHUTDOWN",
        "SHUTDOWN WAIT_FOR_SERVERS",
        "SHUTDOWN WAIT_FOR_CLIENTS",
    ];
    let names: Vec<String> = Show::ALL.iter().map(|show| show.name().to_ascii_uppercase()).collect();
    let shows = names.chunks(6).map(|names| format!("SHOW {}", names.join("|")));
    let lines = shows.chain(COMMANDS.into_iter().map(str::to_owned));
    lines.fold(String::new(), |text, line| text + "\n\t" + &line)
}
