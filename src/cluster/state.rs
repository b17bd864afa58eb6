//! What is remembered of all clusters, in `topology_state_file` if there is one.
//!
//! The file is written whole and renamed into its place, by a thread that may wait; the last state wins.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::memory::{Memories, Memory};

/// What clusters begin with, and tell when it changes.
#[derive(Debug, Default)]
pub struct State {
    memories: Mutex<Memories>,
    file: OnceLock<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Held while it is written.
    last: Mutex<Memories>,
}

impl State {
    /// Before there is any cluster: reads the file, which a first start does not have yet, and writes it once, so that
    /// who could not do so later knows it now.
    pub fn keep_in(&self, path: &Path) -> Result<(), String> {
        let at = |error: String| format!("topology_state_file {}: {error}", path.display());
        let memories = match std::fs::read_to_string(path) {
            Ok(text) => Memories::parse(&text).map_err(at)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Memories::default(),
            Err(error) => return Err(at(error.to_string())),
        };
        write(path, &memories).map_err(|error| at(error.to_string()))?;
        *self.memories.lock() = memories.clone();
        self.file.get_or_init(|| File { path: path.to_owned(), last: Mutex::new(memories) });
        Ok(())
    }

    pub fn recall(&self, servers: &[String]) -> Memory {
        self.memories.lock().recall(servers)
    }

    /// Inside the runtime where there is a file. One that cannot be written is an error in the log: it is no reason to
    /// serve nobody.
    pub fn remember(self: &Arc<Self>, servers: &[String], memory: Memory) {
        self.change(|memories| memories.remember(servers, memory));
    }

    /// The same, for what the operator wants to be forgotten.
    pub fn forget(self: &Arc<Self>, servers: &[String]) {
        self.change(|memories| memories.forget(servers));
    }

    fn change(self: &Arc<Self>, how: impl FnOnce(&mut Memories) -> bool) {
        if how(&mut self.memories.lock()) && self.file.get().is_some() {
            let state = Arc::clone(self);
            tokio::task::spawn_blocking(move || state.save());
        }
    }

    fn save(&self) {
        let Some(file) = self.file.get() else { return };
        let mut last = file.last.lock();
        let now = self.memories.lock().clone();
        if *last == now {
            return;
        }
        match write(&file.path, &now) {
            Ok(()) => *last = now,
            Err(error) => tracing::error!(file = %file.path.display(), "topology_state_file not written: {error}"),
        }
    }
}

/// Either the old file or the new one is there, whatever happens.
fn write(path: &Path, memories: &Memories) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(memories.text().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    // The rename itself is to outlive a power cut.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_process_remembers_the_next_one_recalls() {
        let dir = std::env::temp_dir().join(format!("pgweir-state-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("state");
        let servers = ["a:1".to_owned(), "b:1".to_owned()];
        let memory = Memory { system: Some(7), timeline: Some(2) };
        let state = Arc::new(State::default());
        state.keep_in(&path).expect("a first start");
        state.remember(&servers, memory);
        let saved = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("7\t2"));
        for _ in 0..1000 {
            if saved() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let again = State::default();
        again.keep_in(&path).expect("a sound file");
        assert_eq!(again.recall(&servers[1..]), memory);

        std::fs::write(&path, "something else\n").expect("written");
        let refused = State::default().keep_in(&path).expect_err("not ours");
        assert!(refused.contains("line 1") && refused.contains("topology_state_file"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "something else\n", "it is left alone");
        for wrong in [dir.clone(), dir.join("no/such")] {
            assert!(State::default().keep_in(&wrong).is_err());
        }
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
