//! [pure] A world without environment and files: for texts that name neither.

use std::path::Path;

use super::{Config, Outside, Parsed, Problem, parse};

/// No variable is set and no file exists.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Outside for Nowhere {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

impl Nowhere {
    /// What a TOML says by itself.
    pub fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
        parse(Path::new("text.toml"), text, &Nowhere)
    }

    /// The same without what is doubtful in it.
    pub fn config(text: &str) -> Result<Config, Vec<Problem>> {
        Nowhere::parse(text).map(|parsed| parsed.config)
    }
}
