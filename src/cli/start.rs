//! Before the process serves: another user, the background, the log; in this order, while there is one thread.

use std::process::ExitCode;

use nix::unistd::{self, User};

use super::{Run, loaded};
use crate::config::Global;
use crate::serve::{self, Fault, Start, log};

pub(super) fn run(arguments: &Run) -> ExitCode {
    match serve(arguments) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("pgweir: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Run) -> Result<ExitCode, Fault> {
    let Some(loaded) = loaded(&arguments.file) else { return Ok(ExitCode::FAILURE) };
    let global = &loaded.config().global;
    if let Some(name) = arguments.user.as_ref().or(global.user.as_ref()) {
        become_user(name)?;
    }
    if arguments.daemon {
        go_to_the_background(global)?;
    }
    let options = log::Options { verbose: arguments.verbose.into(), quiet: arguments.quiet };
    let log = log::start(global, options).map_err(Fault)?;
    let start = if arguments.reboot { Start::InPlace } else { Start::Fresh };
    serve::run(*loaded, log, start).map(|()| ExitCode::SUCCESS)
}

/// With the groups that this user has. Whoever is that user already stays it.
fn become_user(name: &str) -> Result<(), Fault> {
    let fault = |what: String| Fault(format!("cannot become user {name}: {what}"));
    let user = User::from_name(name).map_err(|error| fault(error.to_string()))?;
    let user = user.ok_or_else(|| fault("there is none of that name".to_owned()))?;
    if unistd::geteuid() == user.uid {
        return Ok(());
    }
    let c_name = std::ffi::CString::new(name).map_err(|error| fault(error.to_string()))?;
    unistd::initgroups(&c_name, user.gid)
        .and_then(|()| unistd::setgid(user.gid))
        .and_then(|()| unistd::setuid(user.uid))
        .map_err(|error| fault(error.to_string()))
}

/// The directory stays, since an ini's paths are relative to it.
fn go_to_the_background(global: &Global) -> Result<(), Fault> {
    for (key, file) in [("logfile", &global.logfile), ("pidfile", &global.pidfile)] {
        if file.is_none() {
            return Err(Fault(format!("a daemon needs `{key}`: set it in the config")));
        }
    }
    unistd::daemon(true, false).map_err(|error| Fault(format!("cannot go to the background: {error}")))
}
