//! [pure] What one database's catalog says of names: which functions do no more than read, and which words lead to
//! something that only the primary may do.
//!
//! A [`Catalog`] is a value, built from plain [`Rows`]. Whether a name may stand in a read is decided here alone:
//! what the catalog says of an object itself ([`Object::suspect`]) spreads over whatever calls, reads or is made of
//! it ([`Edge`]). A name counts for all objects of that name, whatever their schema or arguments.
//!
//! It trusts the labels of functions: one that is called STABLE and writes is taken for a read, as PostgreSQL's own
//! planner takes it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::hidden::Trace;
use super::lexer::{Kind, Token};
use super::per_node;
use super::sieve::Sieve;
use super::stock;

/// What an object is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Function,
    Operator,
    Relation,
    Type,
}

/// One row of pg_proc, pg_operator, pg_class or pg_type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub class: Class,
    pub oid: u32,
    /// As the catalog has it, folded.
    pub name: Vec<u8>,
    /// A volatile function; a relation that is unlogged, temporary, foreign or a sequence.
    pub suspect: bool,
    /// Made by initdb.
    pub builtin: bool,
    /// A function that one argument is enough for: `t.name` may call it.
    pub unary: bool,
}

/// The first of two objects uses the second.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    pub from: (Class, u32),
    pub to: (Class, u32),
}

/// Why nothing of a database can be proven to be a read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum HardOff {
    /// A cast runs a volatile function, and casts leave no trace in a text.
    VolatileCast,
    /// A volatile operator has a name that SQL itself uses without showing it (`=` in IN and DISTINCT, …).
    VolatileCommonOperator,
    /// A function that an index or a range relies on is volatile.
    VolatileSupport,
    /// A type's input or output function is volatile.
    VolatileType,
    /// The stored views could not be read: this PostgreSQL writes them in another form.
    UnreadableViews,
}

impl HardOff {
    pub fn label(self) -> &'static str {
        match self {
            HardOff::VolatileCast => "volatile_cast",
            HardOff::VolatileCommonOperator => "volatile_common_operator",
            HardOff::VolatileSupport => "volatile_support",
            HardOff::VolatileType => "volatile_type",
            HardOff::UnreadableViews => "unreadable_views",
        }
    }
}

/// What was read from a database.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub objects: Vec<Object>,
    pub edges: Vec<Edge>,
    pub hidden: Vec<Trace>,
    pub hard_off: Option<HardOff>,
}

impl Rows {
    /// Functions of these names do more than their labels say.
    pub fn suspect_all(&mut self, named: impl Fn(&[u8]) -> bool) {
        let functions = self.objects.iter_mut().filter(|object| object.class == Class::Function && !object.builtin);
        functions.for_each(|object| object.suspect |= named(&object.name));
    }
}

/// What the name of an identifier stands for, as far as it matters.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    const CALLABLE: Marks = Marks(0x01);
    const NOT_CALLABLE: Marks = Marks(0x02);
    const NOT_ATTRIBUTE: Marks = Marks(0x04);
    const TAINTED: Marks = Marks(0x08);
    const PER_NODE: Marks = Marks(0x10);
    const FOREIGN_SETTING: Marks = Marks(0x20);

    fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    fn add(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }

    /// Every function of this name only reads, and there is one.
    pub(super) fn is_read(self) -> bool {
        self.has(Self::CALLABLE) && !self.has(Self::NOT_CALLABLE)
    }

    /// A function of this name must not be called on a standby.
    pub(super) fn is_unsafe_call(self) -> bool {
        self.has(Self::NOT_CALLABLE)
    }

    /// Behind a dot it may call such a function.
    pub(super) fn is_unsafe_attribute(self) -> bool {
        self.has(Self::NOT_ATTRIBUTE)
    }

    /// A relation or a type that must not be used on a standby.
    pub(super) fn is_tainted(self) -> bool {
        self.has(Self::TAINTED)
    }

    /// It is so because it tells of the instance.
    pub(super) fn is_per_node(self) -> bool {
        self.has(Self::PER_NODE)
    }

    /// Somebody has made a function called `current_setting`.
    pub(super) fn is_foreign_setting(self) -> bool {
        self.has(Self::FOREIGN_SETTING)
    }
}

/// The names of one database that matter.
#[derive(Debug)]
pub struct Catalog {
    version: u64,
    hard_off: Option<HardOff>,
    /// It is no database's own.
    stock: bool,
    names: HashMap<Box<[u8]>, Marks, FixedState>,
    /// Those of them that matter wherever they stand.
    sieve: Sieve,
    /// Volatile operators.
    operators: HashSet<Box<[u8]>, FixedState>,
    /// What any name with a character beyond ASCII may stand for: its bytes depend on client_encoding.
    wide: Marks,
}

/// PostgreSQL cuts longer names.
pub(super) const NAME_LIMIT: usize = 63;

/// Operators that SQL's words, ORDER BY, DISTINCT, joins and set operations use.
const COMMON_OPERATORS: [&[u8]; 16] = [
    b"!~", b"!~*", b"!~~", b"!~~*", b"<", b"<=", b"<>", b"=", b">", b">=", b"~", b"~*", b"~<=~", b"~<~", b"~~", b"~~*",
];

impl Catalog {
    /// Spreads what the rows say of single objects, and keeps the names.
    pub fn new(version: u64, rows: &Rows) -> Catalog {
        let tainted = tainted(rows);
        let mut catalog = Catalog {
            version,
            hard_off: rows.hard_off,
            stock: false,
            names: HashMap::with_capacity_and_hasher(rows.objects.len(), FixedState::with_seed(version)),
            sieve: Sieve::default(),
            operators: HashSet::with_hasher(FixedState::with_seed(version)),
            wide: Marks::default(),
        };
        for object in &rows.objects {
            catalog.add(object, tainted.contains(&(object.class, object.oid)));
        }
        catalog.set_hard_off();
        catalog
    }

    /// For a database whose catalog cannot be read: PostgreSQL's own names. What is in the database is not known, so it
    /// proves a read only for a transaction that was declared READ ONLY.
    pub fn stock() -> Catalog {
        let mut catalog = Catalog::new(Self::STOCK, &Rows::default());
        (catalog.hard_off, catalog.stock) = (None, true);
        let mut add = |names: &[&str], marks: Marks| {
            let boxed = names.iter().map(|name| (Box::<[u8]>::from(name.as_bytes()), marks));
            catalog.names.extend(boxed);
        };
        add(&stock::FUNCTIONS, Marks::CALLABLE);
        add(&stock::SHARED, Marks::default());
        add(&stock::SEQUENCES, Marks(Marks::TAINTED.0 | Marks::PER_NODE.0));
        add(&["current_setting"], Marks(Marks::NOT_CALLABLE.0 | Marks::PER_NODE.0));
        catalog
    }

    /// The version of every [`stock`](Catalog::stock), which are all alike.
    const STOCK: u64 = u64::MAX;

    /// No two loads of one process share it.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn hard_off(&self) -> Option<HardOff> {
        self.hard_off
    }

    fn add(&mut self, object: &Object, tainted: bool) {
        if object.class == Class::Operator {
            if tainted {
                self.operators.insert(object.name.clone().into_boxed_slice());
            }
            return;
        }
        let marks = marks(object, tainted);
        if marks == Marks::default() {
            return;
        }
        if marks.is_tainted() || marks.is_unsafe_attribute() {
            self.sieve.add(&object.name);
        }
        if !object.name.is_ascii() {
            // A read is never proven by such a name.
            self.wide.add(Marks(marks.0 & !Marks::CALLABLE.0));
        } else if let Some(known) = self.names.get_mut(&object.name[..]) {
            known.add(marks);
        } else {
            self.names.insert(object.name.clone().into_boxed_slice(), marks);
        }
    }

    fn set_hard_off(&mut self) {
        // It shows what every instance locks, by a volatile function; a catalog that does not say so was misread.
        let seen = self.names.get(&b"pg_locks"[..]).is_some_and(|marks| marks.is_tainted());
        let common = COMMON_OPERATORS.iter().any(|name| self.operators.contains(*name));
        let found = match () {
            () if !seen => Some(HardOff::UnreadableViews),
            () if common => Some(HardOff::VolatileCommonOperator),
            () => None,
        };
        self.hard_off = self.hard_off.or(found);
    }

    /// What one stands for as a relation, a type or an attribute: most names of a text are none that matters, which costs
    /// less to see than to look up.
    #[inline]
    pub(super) fn marks_unless_called(&self, token: Token<'_>) -> Marks {
        let plain = token.kind == Kind::Word && self.wide == Marks::default() && !self.stock;
        if plain && !self.sieve.may_hold(token.text) { Marks::default() } else { self.marks(token) }
    }

    /// What a [`Kind::Word`] or [`Kind::Quoted`] stands for. Allocates nothing.
    #[inline]
    pub(super) fn marks(&self, token: Token<'_>) -> Marks {
        let mut buffer = [0; NAME_LIMIT];
        match fold(token, &mut buffer) {
            Some(name) => self.names.get(name).copied().unwrap_or_else(|| self.unknown(name)),
            None => self.wide,
        }
    }

    /// What a name stands for that no object has.
    fn unknown(&self, name: &[u8]) -> Marks {
        let own = self.stock && name.starts_with(b"pg_");
        let marks = Marks::TAINTED.0 | Marks::PER_NODE.0 | Marks::NOT_CALLABLE.0 | Marks::NOT_ATTRIBUTE.0;
        if own { Marks(marks) } else { Marks::default() }
    }

    /// Whether an operator may run a volatile function.
    pub(super) fn is_tainted_operator(&self, operator: &[u8]) -> bool {
        // The lexer of PostgreSQL knows one inequality.
        let name = if operator == b"!=" { b"<>" } else { operator };
        !self.operators.is_empty() && self.operators.contains(name)
    }
}

fn marks(object: &Object, tainted: bool) -> Marks {
    let mut marks = Marks::default();
    match (object.class, tainted) {
        (Class::Function, false) => marks.add(Marks::CALLABLE),
        (Class::Function, true) => {
            marks.add(Marks::NOT_CALLABLE);
            if object.unary {
                marks.add(Marks::NOT_ATTRIBUTE);
            }
            if per_node::function(&object.name, object.builtin) {
                marks.add(Marks::PER_NODE);
            }
            if !object.builtin && object.name == b"current_setting" {
                marks.add(Marks::FOREIGN_SETTING);
            }
        }
        (Class::Relation | Class::Type, true) => {
            marks.add(Marks::TAINTED);
            if object.builtin || per_node::relation(&object.name) {
                marks.add(Marks::PER_NODE);
            }
        }
        (Class::Relation | Class::Type, false) | (Class::Operator, _) => {}
    }
    marks
}

/// Whether an object by itself must not be used on a standby.
fn is_source(object: &Object) -> bool {
    match object.class {
        Class::Function if per_node::function(&object.name, object.builtin) => true,
        Class::Function => object.suspect && !(object.builtin && per_node::harmless(&object.name)),
        Class::Relation => object.suspect || per_node::relation(&object.name),
        Class::Operator | Class::Type => object.suspect,
    }
}

/// All objects from which a source can be reached.
fn tainted(rows: &Rows) -> HashSet<(Class, u32)> {
    let mut users: HashMap<(Class, u32), Vec<(Class, u32)>> = HashMap::new();
    for edge in &rows.edges {
        users.entry(edge.to).or_default().push(edge.from);
    }
    let mut work: Vec<_> =
        rows.objects.iter().filter(|object| is_source(object)).map(|object| (object.class, object.oid)).collect();
    let mut tainted: HashSet<_> = work.iter().copied().collect();
    while let Some(object) = work.pop() {
        for user in users.get(&object).into_iter().flatten() {
            if tainted.insert(*user) {
                work.push(*user);
            }
        }
    }
    tainted
}

/// The name that PostgreSQL makes of an identifier, in the buffer. `None`: it has characters beyond ASCII.
pub(super) fn fold<'a>(token: Token<'_>, buffer: &'a mut [u8; NAME_LIMIT]) -> Option<&'a [u8]> {
    if !token.text.is_ascii() {
        return None;
    }
    let len = match (token.kind, token.text) {
        (Kind::Quoted, [b'"', inner @ .., b'"']) => undouble(inner, buffer),
        (_, text) => lower(text, buffer),
    };
    buffer.get(..len)
}

fn lower(text: &[u8], buffer: &mut [u8]) -> usize {
    for (slot, byte) in buffer.iter_mut().zip(text) {
        *slot = byte.to_ascii_lowercase();
    }
    text.len().min(buffer.len())
}

fn undouble(inner: &[u8], buffer: &mut [u8]) -> usize {
    let mut bytes = inner.iter();
    let mut len = 0;
    while let (Some(slot), Some(byte)) = (buffer.get_mut(len), bytes.next()) {
        *slot = *byte;
        len += 1;
        if *byte == b'"' {
            bytes.next();
        }
    }
    len
}

#[cfg(test)]
pub(super) mod sample {
    //! A catalog made by hand, for the tests of this room.

    use super::*;

    /// Names by kind; what begins with `!` is suspect.
    pub(crate) struct Sample {
        pub(crate) rows: Rows,
        next: u32,
    }

    impl Sample {
        pub(crate) fn new() -> Sample {
            let mut sample = Sample { rows: Rows::default(), next: 1 };
            let lock = sample.builtin(Class::Function, "!pg_lock_status");
            let locks = sample.builtin(Class::Relation, "pg_locks");
            sample.edge(locks, lock);
            for name in [
                "abs",
                "count",
                "sum",
                "lower",
                "now",
                "coalesce_all",
                "generate_series",
                "row_number",
                "numeric",
                "varchar",
                "left",
                "!nextval",
                "!setval",
                "!random",
                "!clock_timestamp",
                "!pg_sleep",
                "!pg_advisory_lock",
                "!pg_advisory_xact_lock",
                "!pg_notify",
                "current_setting",
                "!set_config",
                "pg_backend_pid",
                "pg_is_in_recovery",
                "inet_server_addr",
                "query_to_xml",
                "txid_current",
                "pg_database_size",
                "!setseed",
                "!currval",
                "!lastval",
                "version",
                "pg_size_pretty",
                "max",
                "jsonb_build_object",
                "unnest",
                "date_trunc",
            ] {
                sample.builtin(Class::Function, name);
            }
            for name in ["pg_stat_activity", "pg_stats", "pg_class", "!sequences_of_the_system"] {
                sample.builtin(Class::Relation, name);
            }
            sample
        }

        /// With a user's own objects of each kind.
        pub(crate) fn usual() -> Sample {
            let mut sample = Sample::new();
            let writer = sample.user(Class::Function, "!writer");
            sample.user(Class::Function, "reader");
            sample.user(Class::Function, "!over_loaded");
            sample.user(Class::Function, "over_loaded");
            sample.user(Class::Function, "!nested");
            sample.user(Class::Function, "Mixed \"Case\"");
            sample.user(Class::Function, &"f".repeat(63));
            for name in ["!unlogged_t", "!seq", "!foreign_t", "!Quoted Seq"] {
                sample.user(Class::Relation, name);
            }
            let view = sample.user(Class::Relation, "bad_view");
            sample.edge(view, writer);
            let outer = sample.user(Class::Relation, "outer_view");
            sample.edge(outer, view);
            let domain = sample.user(Class::Type, "bad_domain");
            sample.edge(domain, writer);
            let operator = sample.user(Class::Operator, "###");
            sample.edge(operator, writer);
            sample.user(Class::Operator, "@@@");
            sample.user(Class::Relation, "good_view");
            sample
        }

        pub(crate) fn build(&self) -> Catalog {
            Catalog::new(1, &self.rows)
        }

        pub(crate) fn builtin(&mut self, class: Class, name: &str) -> (Class, u32) {
            self.add(class, name, true)
        }

        pub(crate) fn user(&mut self, class: Class, name: &str) -> (Class, u32) {
            self.add(class, name, false)
        }

        pub(crate) fn edge(&mut self, from: (Class, u32), to: (Class, u32)) {
            self.rows.edges.push(Edge { from, to });
        }

        fn add(&mut self, class: Class, name: &str, builtin: bool) -> (Class, u32) {
            let oid = self.next;
            self.next += 1;
            let bare = name.strip_prefix('!');
            let (suspect, name) = (bare.is_some(), bare.unwrap_or(name).as_bytes().to_vec());
            let unary = name != b"version";
            self.rows.objects.push(Object { class, oid, name, suspect, builtin, unary });
            (class, oid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::Sample;
    use super::*;
    use crate::sql::lexer::{Lexer, Lexical};

    fn marks(catalog: &Catalog, name: &str) -> Marks {
        catalog.marks(Lexer::new(name.as_bytes(), Lexical::STANDARD).next().expect("a token"))
    }

    #[test]
    fn functions() {
        let catalog = Sample::usual().build();
        for (name, read, unsafe_call, per_node) in [
            ("abs", true, false, false),
            ("ABS", true, false, false),
            ("\"abs\"", true, false, false),
            ("\"ABS\"", false, false, false),
            ("reader", true, false, false),
            ("writer", false, true, false),
            ("over_loaded", false, true, false),
            ("random", true, false, false),
            ("pg_sleep", true, false, false),
            ("nextval", false, true, false),
            ("pg_backend_pid", false, true, true),
            ("current_setting", false, true, true),
            ("nowhere", false, false, false),
            ("\"Mixed \"\"Case\"\"\"", true, false, false),
            (&"F".repeat(63), true, false, false),
            (&"f".repeat(99), true, false, false),
            (&format!("\"{}\"", "f".repeat(64)), true, false, false),
            (&"f".repeat(62), false, false, false),
        ] {
            let found = marks(&catalog, name);
            let is = (found.is_read(), found.is_unsafe_call(), found.is_per_node());
            assert_eq!(is, (read, unsafe_call, per_node), "{name}");
        }
        assert!(marks(&catalog, "writer").is_unsafe_attribute());
        assert!(!marks(&catalog, "version").is_unsafe_attribute());
    }

    #[test]
    fn what_a_user_adds_to_a_harmless_name_counts() {
        let mut sample = Sample::new();
        sample.user(Class::Function, "!random");
        assert!(!marks(&sample.build(), "random").is_read());
        sample.user(Class::Function, "!abs");
        assert!(!marks(&sample.build(), "abs").is_read());
        assert!(!marks(&sample.build(), "current_setting").is_foreign_setting());
        sample.user(Class::Function, "current_setting");
        assert!(marks(&sample.build(), "current_setting").is_foreign_setting());
    }

    #[test]
    fn taint_spreads_to_whatever_uses_it() {
        let catalog = Sample::usual().build();
        for name in
            ["bad_view", "outer_view", "bad_domain", "unlogged_t", "seq", "\"Quoted Seq\"", "pg_locks", "pg_stats"]
        {
            assert!(marks(&catalog, name).is_tainted(), "{name}");
        }
        for name in ["good_view", "pg_class", "reader", "writer", "quoted"] {
            assert!(!marks(&catalog, name).is_tainted(), "{name}");
        }
        assert!(catalog.is_tainted_operator(b"###") && !catalog.is_tainted_operator(b"@@@"));
        // Even in a circle.
        let mut sample = Sample::new();
        let (one, two) = (sample.user(Class::Relation, "one"), sample.user(Class::Relation, "two"));
        sample.edge(one, two);
        sample.edge(two, one);
        assert!(!marks(&sample.build(), "one").is_tainted());
        let writer = sample.user(Class::Function, "!w");
        sample.edge(two, writer);
        assert!(marks(&sample.build(), "one").is_tainted());
    }

    #[test]
    fn names_beyond_ascii_are_all_one() {
        let mut sample = Sample::new();
        sample.user(Class::Function, "für");
        assert_eq!(marks(&sample.build(), "für"), Marks::default());
        sample.user(Class::Relation, "!größe");
        let catalog = sample.build();
        assert!(marks(&catalog, "anderswo_ä").is_tainted() && marks(&catalog, "\"größe\"").is_tainted());
        assert!(!marks(&catalog, "groesse").is_tainted() && !marks(&catalog, "für").is_read());
    }

    #[test]
    fn what_switches_all_of_it_off() {
        assert_eq!(Sample::usual().build().hard_off(), None);
        assert_eq!(Catalog::new(1, &Rows::default()).hard_off(), Some(HardOff::UnreadableViews));
        let mut sample = Sample::new();
        sample.user(Class::Operator, "!=");
        assert_eq!(sample.build().hard_off(), Some(HardOff::VolatileCommonOperator));
        let mut sample = Sample::new();
        sample.user(Class::Operator, "!<>");
        assert!(sample.build().is_tainted_operator(b"!="));
        let mut sample = Sample::new();
        sample.rows.hard_off = Some(HardOff::VolatileCast);
        assert_eq!(sample.build().hard_off(), Some(HardOff::VolatileCast));
    }
}
