//! [pure] What a statement is, from its text alone.
//!
//! [`lexer`] cuts a text by PostgreSQL's lexical rules (`spans` knows how far each token reaches), [`classify`] reads
//! the tokens and says what the text may do to *session state*; `setting` is the part that reads SET and RESET, and
//! `names` holds the words that matter.
//!
//! The words are judged by one maxim: *in doubt, taint*. A text that cannot run (a syntax error) may be judged
//! either way, because PostgreSQL parses the whole text before it runs the first statement of it.
//!
//! What no text shows is not seen here: a user's function, view, rule, trigger or cast that calls `set_config` or
//! takes an advisory lock, and SQL inside a string (`query_to_xml('…')`). The names of such objects belong to one
//! database's catalog, a value that a later room will hand in.

pub mod classify;
pub mod lexer;
mod names;
mod setting;
mod spans;
mod taint;

pub use classify::{Special, Statement, classify};
pub use lexer::{Kind, Lexer, Lexical, Token};
pub use names::fold_identifier;
pub use setting::Reported;
pub use taint::Taint;
