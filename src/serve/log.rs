//! Where log lines go: standard error or a file, as text or JSON, and the system's log, with a level that a reload may change.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use super::syslog::Syslog;
use crate::config::{Global, LogFormat};

/// What the command line asks of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// At least this much, whatever the config says.
    pub verbose: u32,
    /// Nothing on standard error.
    pub quiet: bool,
}

/// The running log.
#[derive(Clone)]
pub struct Handle {
    options: Options,
    target: Target,
    syslog: Syslog,
    level: reload::Handle<LevelFilter, Registry>,
}

#[derive(Clone)]
struct Target(Arc<Mutex<Sink>>);

enum Sink {
    File { path: PathBuf, file: File },
    Nowhere,
    StandardError,
}

/// Starts the log of this process. A second start changes nothing and says so.
pub fn start(global: &Global, options: Options) -> Result<Handle, String> {
    let sink = sink(global.logfile.as_deref(), options)?;
    let target = Target(Arc::new(Mutex::new(sink)));
    let (filter, level) = reload::Layer::new(level_of(global.verbose.max(options.verbose)));
    let syslog = Syslog::new(global);
    let registry = tracing_subscriber::registry().with(filter).with(syslog.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(target.clone()).with_ansi(false).with_target(false);
    let started = match global.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(layer).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(Handle { options, target, syslog, level })
}

fn level_of(verbose: u32) -> LevelFilter {
    match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Handle {
    /// The file by its name again, after a rotation. If it cannot be opened the old one is kept.
    pub fn reopen(&self) {
        if let Sink::File { path, file } = &mut *self.target.0.lock()
            && let Ok(again) = open(path)
        {
            *file = again;
        }
    }

    /// What a reload says. If another file cannot be opened the log stays where it is, and the error says why.
    pub fn follow(&self, global: &Global) -> Result<(), String> {
        let _ = self.level.reload(level_of(global.verbose.max(self.options.verbose)));
        self.syslog.follow(global);
        let is_same = match &*self.target.0.lock() {
            Sink::File { path, .. } => global.logfile.as_ref() == Some(path),
            Sink::Nowhere | Sink::StandardError => global.logfile.is_none(),
        };
        if !is_same {
            let sink = sink(global.logfile.as_deref(), self.options)?;
            *self.target.0.lock() = sink;
        }
        Ok(())
    }
}

fn sink(path: Option<&Path>, options: Options) -> Result<Sink, String> {
    let Some(path) = path else { return Ok(if options.quiet { Sink::Nowhere } else { Sink::StandardError }) };
    let file = open(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(Sink::File { path: path.to_owned(), file })
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock() {
            Sink::File { file, .. } => file.write(bytes),
            Sink::Nowhere => Ok(bytes.len()),
            Sink::StandardError => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Target;

    fn make_writer(&'a self) -> Target {
        self.clone()
    }
}
