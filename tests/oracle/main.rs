//! The token rules against PostgreSQL's own grammar, over the statements of its regression suite: what the classifier
//! takes for a read must be one by the parser's tree, too.
//!
//! `make oracle` fetches the suite, builds the parser and runs it. The tree knows of names what a stock database says of
//! them by SQL of this test's own ([`tree::Names`]), and the classifier what the loader makes of the same database.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod suite;
mod tree;

use std::collections::BTreeMap;

use pgweir::sql::{Access, Catalog, Isolation, Lexical, Modes, Why, access};
use suite::Suite;
use support::Servers;
use support::sets::Scratch;

use tree::{Names, Verdict};

/// Each statement of the suite stands in each of these, at the `@`.
const FRAMES: [&str; 12] = [
    "@",
    "COPY (@\n) TO STDOUT",
    "WITH x AS (@\n) SELECT * FROM x",
    "WITH x (a, b) AS MATERIALIZED (SELECT 1, 2), y AS (@\n) TABLE x",
    "SELECT (SELECT count(*) FROM t), * FROM (@\n) AS x (a, b)",
    "@\n FOR NO KEY UPDATE",
    "/* a */ ((@\n))",
    "@; SELECT 1",
    "SELECT DISTINCT ON (a) nextval('s'), * FROM (@\n) x (a, b)",
    "SELECT 1 OPERATOR(pg_catalog.+) nextval('s') FROM (@\n) x (a, b)",
    "SELECT count(*) OVER (PARTITION BY a) FROM (@\n) nextval (a, b) JOIN t u ON (a) WHERE (b) AND abs(a) IN (1)",
    "SELECT * FROM unnest('{}'::int[]) WITH ORDINALITY setval (a, b), LATERAL (@\n) x (c)",
];

/// So many statements are there at least, whichever minor release the suite is of.
const STATEMENTS: usize = 30_000;
const READS: usize = 5_000;

/// What came of all texts.
#[derive(Default)]
struct Tally {
    texts: usize,
    unparsed: usize,
    both: usize,
    neither: usize,
    unsafe_reads: Vec<String>,
    lost: BTreeMap<&'static str, Vec<String>>,
}

impl Tally {
    fn add(&mut self, text: &str, ours: Access, tree: &Verdict) {
        match (ours, tree) {
            (Access::Read, Verdict::Reads) => self.both += 1,
            (Access::Primary(why), Verdict::Reads) => self.lost.entry(why.label()).or_default().push(text.to_owned()),
            (_, tree) if agrees(ours, tree) => self.neither += 1,
            (_, tree) => self.unsafe_reads.push(format!("{ours:?}, but by its tree {tree:?}: {text}")),
        }
    }

    fn report(&self, what: &str) {
        let lost: usize = self.lost.values().map(Vec::len).sum();
        println!(
            "{what}: {} texts, {} of them parsed: {} reads by both, {} reads by the tree alone, {} by neither, {} unsafe",
            self.texts,
            self.texts - self.unparsed,
            self.both,
            lost,
            self.neither,
            self.unsafe_reads.len()
        );
        for (why, texts) in &self.lost {
            let example = texts.iter().min_by_key(|text| text.len()).map_or("", |text| text.trim());
            println!("    {why}: {}, such as {example}", texts.len());
        }
    }
}

/// Whether what the classifier says of a text that is no read goes with the tree. `Primary` always does.
fn agrees(ours: Access, tree: &Verdict) -> bool {
    match (ours, tree) {
        (Access::Primary(_), _) | (Access::Empty, Verdict::Nothing) | (Access::End, Verdict::Ends) => true,
        (Access::Begin(ours), Verdict::Begins(tree)) => ours == *tree,
        (Access::SetTransaction(ours), Verdict::SetsTransaction(tree)) => ours == *tree,
        (Access::Within(ours), Verdict::Within(tree)) => ours == *tree,
        _ => false,
    }
}

/// Judges each statement of the suite in each frame.
fn tally(suite: &Suite, names: &Names, frames: &[&str], classify: impl Fn(&str) -> Access) -> Tally {
    let mut tally = Tally::default();
    for text in suite.statements.iter().flat_map(|text| frames.iter().map(|frame| frame.replace('@', text))) {
        tally.texts += 1;
        match tree::verdict(&text, names) {
            Some(tree) => tally.add(&text, classify(&text), &tree),
            None => tally.unparsed += 1,
        }
    }
    tally
}

struct Ground {
    suite: Suite,
    names: Names,
    catalog: std::sync::Arc<Catalog>,
    _scratch: Scratch,
}

/// The suite, and a stock database as either side sees it.
async fn ground(name: &str) -> Ground {
    let scratch = Scratch::of(&Servers::pg15(), name, "").await;
    let names = Names::of(&scratch.sql).await;
    let suite = Suite::read();
    assert!(suite.statements.len() > STATEMENTS, "only {} statements", suite.statements.len());
    Ground { suite, names, catalog: scratch.catalog().await, _scratch: scratch }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_verdict_is_unsafe() {
    let it = ground("oracle").await;
    println!("{} files, {} statements", it.suite.files, it.suite.statements.len());
    let classify = |text: &str| access(text.as_bytes(), Lexical::STANDARD, Some(&it.catalog));
    let plain = tally(&it.suite, &it.names, &FRAMES[..1], classify);
    plain.report("as they are");
    let framed = tally(&it.suite, &it.names, &FRAMES[1..], classify);
    framed.report("inside others");
    for tally in [&plain, &framed] {
        let shown = tally.unsafe_reads.iter().take(50).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(tally.unsafe_reads.is_empty(), "{} unsafe verdicts:\n{shown}", tally.unsafe_reads.len());
        assert!(tally.both > READS, "only {} reads", tally.both);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_looser_classifier_is_caught() {
    let it = ground("oracle_loose").await;
    let by_first_word = |text: &str| {
        let reads = text.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
        if reads { Access::Read } else { Access::Primary(Why::Utility) }
    };
    let loose = tally(&it.suite, &it.names, &FRAMES[..1], by_first_word);
    loose.report("by the first word");
    for sign in ["Locks", "Into", "Function(\"nextval\")", "Relation"] {
        assert!(loose.unsafe_reads.iter().any(|unsafe_read| unsafe_read.contains(sign)), "{sign} is not seen");
    }
    let any_begin = |_: &str| Access::Begin(Modes { isolation: Some(Isolation::Serializable), ..Modes::default() });
    let loose = tally(&it.suite, &it.names, &FRAMES[..1], any_begin);
    assert!(loose.unsafe_reads.iter().any(|unsafe_read| unsafe_read.contains("Begins")));
}
