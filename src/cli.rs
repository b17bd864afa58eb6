//! The command line: run | check | hash | top | completions | demo.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::auth::Userlist;
use crate::auth::scram::Verifier;
use crate::client::house::random;
use crate::demo;
use crate::serve::load::{Loaded, Outcome};
use crate::serve::{self, Start, load, log};

mod fetch;
mod screen;
mod top;

/// A transaction-pooling proxy for PostgreSQL.
#[derive(Parser)]
#[command(name = "pgweir", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients as a config file says.
    Run {
        /// The config, in TOML (see config/pgweir.toml).
        file: PathBuf,
        /// Take the place of the process that runs with the same unix_socket_dir and port, if there is one.
        #[arg(short = 'R', long = "reboot")]
        reboot: bool,
    },
    /// Check a config file and print each problem as FILE:LINE: KEY: what was expected.
    Check {
        /// The config, in TOML.
        file: PathBuf,
    },
    /// Print a SCRAM verifier for userlist.txt, and the SQL that gives the server the same one.
    Hash {
        /// The user's name.
        user: String,
        /// Copy the verifier that this server has instead (postgres://USER:PASSWORD@HOST:PORT/DB, as a superuser).
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// Rounds of PBKDF2.
        #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        iterations: u32,
    },
    /// Show what a running pgweir does, as its status page does.
    Top {
        /// Its http_listen.
        #[arg(default_value = "127.0.0.1:9632", value_name = "HOST:PORT")]
        address: String,
        /// One look, and no more.
        #[arg(long)]
        once: bool,
    },
    /// Print a shell's completions of this command line, to be kept where the shell looks for them.
    Completions { shell: clap_complete::Shell },
    /// Start a throw-away primary, a standby and pgweir in front of them.
    Demo {
        /// The primary's port; the standby takes the next one, pgweir the one 1000 above.
        #[arg(long, value_name = "PORT")]
        port_base: Option<u16>,
        /// A second set of server binaries to start a pair of.
        #[arg(long, hide = true, value_name = "DIR")]
        second_bindir: Option<PathBuf>,
        /// Start servers only, run a command among them, and stop them after it.
        #[arg(long, hide = true)]
        exec: bool,
        #[arg(last = true, hide = true)]
        command: Vec<OsString>,
    },
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { file, reboot } => run(&file, if reboot { Start::InPlace } else { Start::Fresh }),
        Command::Check { file } => check(&file),
        Command::Hash { user, from, iterations } => hash(&user, from.as_deref(), iterations),
        Command::Top { address, once } => match top::top(&address, once) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("pgweir: {why}");
                ExitCode::FAILURE
            }
        },
        Command::Completions { shell } => completions(shell),
        Command::Demo { port_base, second_bindir, exec, command } => {
            let exec = exec.then_some(command);
            demo::demo(demo::Options { port_base, exec, second_bindir })
        }
    }
}

/// Written at once: a shell that closes the pipe early (`| head`) is no fault.
fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pgweir", &mut text);
    let _ = std::io::stdout().write_all(&text);
    ExitCode::SUCCESS
}

/// The loaded file, or every problem on standard error.
fn loaded(file: &std::path::Path) -> Option<Box<Loaded>> {
    match load::load(file) {
        Outcome::Loaded(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            Some(loaded)
        }
        Outcome::Refused(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            None
        }
    }
}

fn run(file: &std::path::Path, start: Start) -> ExitCode {
    let Some(loaded) = loaded(file) else { return ExitCode::FAILURE };
    let started = log::start(&loaded.config().global).map_err(serve::Fault);
    match started.and_then(|log| serve::run(*loaded, log, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("pgweir: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &std::path::Path) -> ExitCode {
    match loaded(file) {
        Some(_) => {
            println!("{}: ok", file.display());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

fn hash(user: &str, from: Option<&str>, iterations: u32) -> ExitCode {
    let verifier = match from {
        Some(url) => fetch::verifier(url, user),
        None => password(user).map(|password| Verifier::derive(&password, &random::<16>(), iterations).to_string()),
    };
    match verifier {
        Ok(verifier) => {
            println!("# in userlist.txt");
            println!("{}", Userlist::quote_line(user, &verifier));
            println!("-- on the server: pass-through needs the same salt and iterations on both");
            println!("ALTER ROLE \"{}\" PASSWORD '{verifier}';", user.replace('"', "\"\""));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("pgweir: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Asked for twice at a terminal, without echo; else one line of standard input.
fn password(user: &str) -> Result<String, String> {
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|error| format!("cannot read the password: {error}"))?;
        let password = line.trim_end_matches(['\r', '\n']);
        return match password {
            "" => Err("standard input holds no password".to_owned()),
            password => Ok(password.to_owned()),
        };
    }
    let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(|error| error.to_string());
    let first = ask(format!("Password for {user}: "))?;
    let second = ask("Again: ".to_owned())?;
    match first == second && !first.is_empty() {
        true => Ok(first),
        false => Err("the two passwords differ, or are empty".to_owned()),
    }
}
