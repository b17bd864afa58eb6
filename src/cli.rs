//! The command line: run | check | import | init | hash | top | completions | demo; and PgBouncer's own, a file with its
//! flags.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::auth::Userlist;
use crate::auth::scram::Verifier;
use crate::client::house::random;
use crate::demo;
use crate::serve::load;
use crate::serve::load::{Loaded, Outcome};

mod fetch;
mod init;
mod screen;
mod start;
mod top;

/// A transaction-pooling proxy for PostgreSQL.
///
/// `pgweir FILE` is `pgweir run FILE`: where PgBouncer ran, its flags and its ini stay.
#[derive(Parser)]
#[command(
    name = "pgweir",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<Run>,
}

#[derive(Args)]
struct Run {
    /// The config: TOML (see config/pgweir.toml), or a pgbouncer.ini; told apart by what they hold.
    file: PathBuf,
    /// Go to the background once the config is read; needs `logfile` and `pidfile`.
    #[arg(short, long)]
    daemon: bool,
    /// No log on standard error.
    #[arg(short, long)]
    quiet: bool,
    /// More log; twice for still more.
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Become this user before anything is opened.
    #[arg(short, long)]
    user: Option<String>,
    /// Take the place of the process that runs with the same unix_socket_dir and port, if there is one.
    #[arg(short = 'R', long)]
    reboot: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients as a config file says.
    Run(Run),
    /// Check a config file and print each problem as FILE:LINE: KEY: what was expected.
    Check {
        /// The config, TOML or ini.
        file: PathBuf,
    },
    /// Print a pgbouncer.ini as the TOML that means the same, with what differs in comments.
    Import {
        /// The ini.
        file: PathBuf,
    },
    /// Look at a running server and print a config that fits it: databases, standbys, limits.
    Init {
        /// postgres://USER:PASSWORD@HOST:PORT/DB; PGPASSWORD may hold the password.
        url: String,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
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
    let arguments = Arguments::parse();
    let Some(command) = arguments.command.or(arguments.run.map(Command::Run)) else { return ExitCode::FAILURE };
    match command {
        Command::Run(arguments) => start::run(&arguments),
        Command::Check { file } => check(&file),
        Command::Import { file } => import(&file),
        Command::Init { url } => init::init(&url),
        Command::Man => man(),
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
fn loaded(file: &Path) -> Option<Box<Loaded>> {
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

fn check(file: &Path) -> ExitCode {
    match loaded(file) {
        Some(_) => {
            println!("{}: ok", file.display());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

fn man() -> ExitCode {
    let page = clap_mangen::Man::new(Arguments::command());
    match page.render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn import(file: &Path) -> ExitCode {
    match load::import(file) {
        Ok(toml) => {
            print!("{toml}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            ExitCode::FAILURE
        }
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
