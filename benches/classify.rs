//! What it costs to cut and to judge a statement's text, and to find a judgement again: `cargo bench --bench classify`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgweir::client::verdicts;
use pgweir::sql::catalog::{Class, Object, Rows};
use pgweir::sql::{Access, Catalog, Lexer, Lexical, Reported, access, classify};

const LOOKUP: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 1234567;";

const JOIN: &str = r#"SELECT "orders"."id", "orders"."customer_id", "orders"."created_at", "orders"."state", "customers"."id",
    "customers"."name", "customers"."email", "addresses"."id", "addresses"."street", "addresses"."city"
    FROM "orders" INNER JOIN "customers" ON "customers"."id" = "orders"."customer_id"
    LEFT OUTER JOIN "addresses" ON "addresses"."customer_id" = "customers"."id"
    WHERE "orders"."state" IN ('open', 'paid') AND "orders"."created_at" > '2024-01-01' ORDER BY "orders"."id" LIMIT $1"#;

const SET: &str = "SET search_path TO app, public";

const CALLS: &str = "WITH x (a) AS (SELECT lower(name) FROM people WHERE id = $1 AND now() > created) \
    SELECT count(*), coalesce(max(a), '') FROM x GROUP BY left(a, 1)";

/// As many names as a stock catalog has; those that the texts call among them.
fn catalog() -> Catalog {
    let named = ["lower", "now", "count", "max", "left"].into_iter().map(str::to_owned);
    let names = named.chain((0..3_000).map(|n| format!("some_function_{n}")));
    let object = |class, suspect, name: String| Object {
        class,
        oid: 0,
        name: name.into_bytes(),
        suspect,
        builtin: true,
        unary: true,
    };
    let mut rows = Rows::default();
    rows.objects.extend(names.map(|name| object(Class::Function, false, name)));
    // Without it a catalog is taken for one that could not be read.
    rows.objects.push(object(Class::Relation, true, "pg_locks".to_owned()));
    for (n, object) in rows.objects.iter_mut().enumerate() {
        object.oid = n as u32;
    }
    Catalog::new(1, &rows)
}

/// Long words and a long string: the speed of the loops, not of the turns between them.
fn plain() -> String {
    let prose = "the quick brown fox jumps over the lazy dog and then it''s gone, ".repeat(60);
    format!("INSERT INTO documents (title, body) VALUES ('a title', '{prose}') RETURNING identifier")
}

fn list() -> String {
    let ids: Vec<_> = (1_000_000..1_001_000).map(|id: u32| id.to_string()).collect();
    format!("SELECT * FROM t WHERE id IN ({})", ids.join(", "))
}

fn texts(bench: &mut Criterion) {
    let (plain, list) = (plain(), list());
    let rows = [("lookup", LOOKUP), ("join", JOIN), ("set", SET), ("plain", &plain), ("list", &list)];
    let mut group = bench.benchmark_group("lex");
    for (name, text) in rows {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), text.as_bytes(), |bencher, text| {
            bencher
                .iter(|| Lexer::new(black_box(text), Lexical::STANDARD).fold(0, |sum, token| sum + token.text.len()));
        });
    }
    group.finish();
    let mut group = bench.benchmark_group("classify");
    for (name, text) in rows {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), text.as_bytes(), |bencher, text| {
            bencher.iter(|| classify(black_box(text), Lexical::STANDARD, Reported::default()));
        });
    }
    group.finish();
    let catalog = catalog();
    let reads = [("lookup", LOOKUP), ("join", JOIN), ("calls", CALLS), ("list", &list)];
    let mut group = bench.benchmark_group("access");
    for (name, text) in reads {
        assert_eq!(access(text.as_bytes(), Lexical::STANDARD, Some(&catalog)), Access::Read, "{name}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), text.as_bytes(), |bencher, text| {
            bencher.iter(|| access(black_box(text), Lexical::STANDARD, Some(&catalog)));
        });
    }
    group.finish();
}

/// Where a text may run, as a client's thread finds it again.
fn reads(bench: &mut Criterion) {
    let (catalog, list) = (catalog(), list());
    let rows = [("lookup", LOOKUP), ("join", JOIN), ("list", &list)];
    let mut group = bench.benchmark_group("verdict");
    for (name, text) in rows {
        group.bench_with_input(BenchmarkId::from_parameter(name), text.as_bytes(), |bencher, text| {
            bencher.iter(|| verdicts::judge(black_box(text), Lexical::STANDARD, Some(&catalog)));
        });
    }
    group.finish();
}

criterion_group!(benches, texts, reads);
criterion_main!(benches);
