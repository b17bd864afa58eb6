//! [pure] What a statement is, from its text alone.
//!
//! [`lexer`] cuts a text by PostgreSQL's lexical rules (`spans` knows how far each token reaches), [`classify`] reads
//! the tokens and says what the text may do to *session state*; `setting` is the part that reads SET and RESET, `names`
//! holds the words that matter, and `plain` finds most texts in which none of them stands.
//!
//! `mentions` finds where a text names a prepared statement.
//!
//! [`access`] says whether a text only reads, or opens or ends a transaction (`modes`): `query` and `copy` hold the
//! rules, `syntax` the words of SQL's grammar, and [`catalog`] what one database says of names, with `per_node` for
//! what is PostgreSQL's own.
//!
//! The words are judged by one maxim: *in doubt, taint*, and *in doubt, the primary*. A text that cannot run (a syntax error) may be judged
//! either way, because PostgreSQL parses the whole text before it runs the first statement of it.
//!
//! What no text shows is not seen by [`classify`]: a user's function, view, rule, trigger or cast that calls
//! `set_config` or takes an advisory lock, and SQL inside a string (`query_to_xml('…')`). [`access`] knows the names of
//! such objects from the catalog that is handed in, and [`hidden`] those that leave something behind.

pub mod access;
pub mod assign;
pub mod catalog;
pub mod classify;
mod copy;
mod ending;
pub mod hidden;
mod lasting;
pub mod lexer;
mod mentions;
pub mod modes;
mod names;
mod per_node;
mod plain;
mod query;
mod setting;
mod sieve;
mod spans;
mod stock;
mod syntax;
mod taint;
mod wish;
mod within;

pub use access::{Access, Why, access};
pub use assign::{Assign, assignments};
pub use catalog::Catalog;
pub use classify::{End, Special, Statement, classify};
pub use ending::may_end_state;
pub use hidden::Hidden;
pub use lasting::{is_lasting, names_a_moment};
pub use lexer::{Kind, Lexer, Lexical, Token};
pub use mentions::{Mentions, mentions};
pub use modes::{Isolation, Modes};
pub use names::fold_identifier;
pub use plain::is_plain;
pub use setting::Reported;
pub use taint::{Taint, Taints};
pub use wish::{Wish, wish};
pub use within::Within;
