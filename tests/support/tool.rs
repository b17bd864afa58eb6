//! Programs beside pgweir: psql, openssl, and pgweir's own other commands.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::servers::{bin15, variable};

/// What a program wrote, and whether it was content.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Said { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs a command to its end, apart from the runtime's threads.
pub async fn run(mut command: Command) -> Said {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    done.unwrap_or_else(|error| panic!("{program}: {error}")).into()
}

/// libpq by way of psql: a connection string, the password, and one statement.
pub async fn psql(conninfo: &str, password: &str, sql: &str) -> Said {
    run(psql_command(conninfo, password, sql)).await
}

/// The same with PostgreSQL 18's libpq.
pub async fn psql18(conninfo: &str, password: &str, sql: &str) -> Said {
    let mut command = psql_command(conninfo, password, sql);
    command.env("LD_LIBRARY_PATH", Path::new(&variable("PGWEIR_TEST_BINDIR18")).join("../lib"));
    run(command).await
}

fn psql_command(conninfo: &str, password: &str, sql: &str) -> Command {
    let mut command = Command::new(bin15().psql());
    command.args([
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--command",
        sql,
        conninfo,
    ]);
    // No ~/.postgresql of the machine's.
    command.env("PGCONNECT_TIMEOUT", "20").env("PGPASSWORD", password).env("HOME", "/nonexistent");
    command
}

/// Runs a command with a text on its standard input.
pub fn feed(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

/// openssl, which must succeed.
pub fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// pgweir with these arguments.
pub async fn pgweir(arguments: &[&str]) -> Said {
    let mut command = Command::new(super::proxy::program());
    command.args(arguments);
    run(command).await
}
