//! [pure] What is measured: each case is one load, sent in the same way to each peer.

/// What a client does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `pgbench -S` in one of its three modes.
    Select(Protocol),
    /// pgbench's TPC-B.
    TpcB,
    /// A pgbench script of one statement with a large answer.
    Large(&'static str),
    CopyOut,
    CopyIn,
    /// `pgbench -S -C`: a login for each transaction.
    Connect,
}

/// pgbench's `-M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
    Prepared,
}

impl Protocol {
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
            Protocol::Prepared => "prepared",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What `--cases` chooses; several cases share one.
    pub group: &'static str,
    pub what: &'static str,
    pub work: Work,
    pub clients: u32,
    /// Between client and proxy; from there to the server everything is plain.
    pub tls: bool,
}

impl Case {
    /// Unique, and a file name: `simple-16`.
    pub fn name(&self) -> String {
        let tail = match self.work {
            Work::Large(ROWS) => "-rows",
            Work::Large(_) => "-1mb",
            Work::CopyIn => "-in",
            Work::CopyOut => "-out",
            _ => "",
        };
        format!("{}{tail}-{}", self.group, self.clients)
    }

    /// Whether the session keeps a statement from one transaction to the next.
    pub fn keeps_statements(&self) -> bool {
        self.work == Work::Select(Protocol::Prepared)
    }

    /// Whether those who take part live as long as the case does.
    pub fn keeps_connections(&self) -> bool {
        !matches!(self.work, Work::Connect | Work::CopyIn | Work::CopyOut)
    }

    /// How much of pgbench's log is kept: enough for a p99, at a price that the fast cases do not notice.
    pub fn sampling(&self) -> &'static str {
        match self.work {
            Work::Select(_) => "0.2",
            _ => "1",
        }
    }

    /// How many of pgbench's progress lines pass before it counts. Where many clients log in, that takes longer than
    /// the second of the first line, which then comes at once.
    pub fn warm_up_lines(&self) -> usize {
        usize::from(self.clients >= 100)
    }

    fn is_named_by(&self, word: &str) -> bool {
        self.group == word || self.name() == word
    }
}

/// What was chosen by `--cases`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pub cases: Vec<Case>,
    pub memory: bool,
    pub syscalls: bool,
    pub split: bool,
}

impl Choice {
    /// Groups or names with commas between them; nothing is everything. An unknown word is given back.
    pub fn parse(words: &str) -> Result<Choice, String> {
        let words: Vec<&str> = words.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let known = |word: &str| EXTRAS.contains(&word) || CASES.iter().any(|case| case.is_named_by(word));
        if let Some(unknown) = words.iter().find(|word| !known(word)) {
            return Err((*unknown).to_owned());
        }
        let chosen = |word: &str| words.is_empty() || words.contains(&word);
        let cases = CASES.iter().filter(|case| words.is_empty() || words.iter().any(|word| case.is_named_by(word)));
        let (memory, syscalls, split) = (chosen(MEMORY), chosen(SYSCALLS), chosen(SPLIT));
        Ok(Choice { cases: cases.copied().collect(), memory, syscalls, split })
    }
}

/// Every word that `--cases` knows.
pub fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = CASES.iter().map(|case| case.group).chain(EXTRAS).collect();
    groups.dedup();
    groups
}

pub const ONE_MB: &str = "SELECT repeat('x', 1000000);";
pub const ROWS: &str = "SELECT repeat('x', 100) FROM generate_series(1, 10000);";

const MEMORY: &str = "memory";
const SYSCALLS: &str = "syscalls";
const SPLIT: &str = "split";
const EXTRAS: [&str; 3] = [MEMORY, SYSCALLS, SPLIT];

const SIMPLE: Work = Work::Select(Protocol::Simple);
const EXTENDED: Work = Work::Select(Protocol::Extended);
const PREPARED: Work = Work::Select(Protocol::Prepared);

const CASES: [Case; 17] = [
    case("simple", "pgbench -S -M simple", SIMPLE, 1),
    case("simple", "pgbench -S -M simple", SIMPLE, 16),
    case("simple", "pgbench -S -M simple", SIMPLE, 500),
    case("extended", "pgbench -S -M extended", EXTENDED, 1),
    case("extended", "pgbench -S -M extended", EXTENDED, 16),
    case("extended", "pgbench -S -M extended", EXTENDED, 500),
    case("prepared", "pgbench -S -M prepared", PREPARED, 1),
    case("prepared", "pgbench -S -M prepared", PREPARED, 16),
    case("prepared", "pgbench -S -M prepared", PREPARED, 500),
    case("tpcb", "pgbench, TPC-B", Work::TpcB, 16),
    case("large", "one value of 1 MB", Work::Large(ONE_MB), 4),
    case("large", "10,000 rows of 100 B", Work::Large(ROWS), 4),
    case("copy", "COPY TO STDOUT, 1 MB", Work::CopyOut, 4),
    case("copy", "COPY FROM STDIN, 1 MB", Work::CopyIn, 4),
    tls(case("tls", "pgbench -S -M simple over TLS", SIMPLE, 16)),
    tls(case("tls", "one value of 1 MB over TLS", Work::Large(ONE_MB), 4)),
    case("connect", "pgbench -S -C, SCRAM", Work::Connect, 4),
];

const fn case(group: &'static str, what: &'static str, work: Work, clients: u32) -> Case {
    Case { group, what, work, clients, tls: false }
}

const fn tls(case: Case) -> Case {
    Case { tls: true, ..case }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = CASES.iter().map(Case::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn groups_and_names_choose() {
        let choice = Choice::parse("simple, tls-1mb-4,memory").expect("all are known");
        let names: Vec<String> = choice.cases.iter().map(Case::name).collect();
        assert_eq!(names, ["simple-1", "simple-16", "simple-500", "tls-1mb-4"]);
        assert!(choice.memory && !choice.syscalls && !choice.split);
        assert_eq!(Choice::parse("simple,simpel"), Err("simpel".to_owned()));
    }

    #[test]
    fn nothing_chosen_is_everything() {
        let choice = Choice::parse("").expect("nothing is unknown");
        assert!(choice.cases.len() == CASES.len() && choice.memory && choice.syscalls && choice.split);
        assert!(groups().iter().all(|group| Choice::parse(group).is_ok()));
    }
}
