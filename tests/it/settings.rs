//! Settings that servers report follow their client from server to server.

use crate::support::proxy::value;
use crate::support::wire::say;
use crate::support::*;

const FOLLOWED: &[(&str, &str, &str)] = &[
    ("application_name", "blue", "green"),
    ("TimeZone", "Asia/Tokyo", "America/Lima"),
    ("DateStyle", "German, DMY", "SQL, MDY"),
    ("IntervalStyle", "iso_8601", "sql_standard"),
    ("client_encoding", "LATIN1", "UTF8"),
    ("standard_conforming_strings", "off", "on"),
    ("default_transaction_read_only", "on", "off"),
];

fn show(name: &str) -> String {
    format!("SELECT current_setting('{name}')")
}

async fn with(proxy: &Proxy, parameters: &[(&str, &str)]) -> Wire {
    let own = [("user", "app"), ("database", "test1")];
    Wire::login_with(proxy, say::V3_0, &[&own[..], parameters].concat()).await
}

async fn startup_parameters_follow_their_client(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    for (name, one, two) in FOLLOWED {
        let mut clients = [with(&proxy, &[(name, one)]).await, with(&proxy, &[(name, two)]).await];
        for _ in 0..2 {
            for (client, expected) in clients.iter_mut().zip([one, two]) {
                let answer = client.query(&show(name)).await;
                assert!(answer.contains(&format!("D({expected})")), "{name}: {answer}");
            }
        }
    }
}

async fn what_is_not_reported_follows_too(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut plain = Wire::login(&proxy).await;
    let mut parameter = with(&proxy, &[("statement_timeout", "77s"), ("search_path", "one, \"Two\"")]).await;
    let options = "-c statement_timeout=78s --search-path=a,\\ b -cwork_mem=9MB";
    let mut options = with(&proxy, &[("options", options)]).await;
    let default = plain.query(&show("search_path")).await;
    for _ in 0..2 {
        assert_eq!(plain.query(&show("statement_timeout")).await, "T D(0) C(SELECT 1) Z(I)");
        assert_eq!(plain.query(&show("search_path")).await, default);
        assert!(parameter.query(&show("statement_timeout")).await.contains("D(77s)"));
        assert!(parameter.query(&show("search_path")).await.contains("D(one, \"Two\")"));
        assert!(options.query(&show("statement_timeout")).await.contains("D(78s)"));
        assert!(options.query(&show("search_path")).await.contains("D(a, b)"));
        assert!(options.query(&show("work_mem")).await.contains("D(9MB)"));
    }
}

async fn a_set_of_a_reported_setting_follows_its_client(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    for (name, one, two) in FOLLOWED {
        let mut clients = [Wire::login(&proxy).await, Wire::login(&proxy).await];
        for (client, set) in clients.iter_mut().zip([one, two]) {
            let answer = client.query(&format!("SET {name} = '{set}'")).await;
            assert!(answer.contains("C(SET)") && answer.ends_with("Z(I)"), "{name}: {answer}");
        }
        for _ in 0..2 {
            for (client, expected) in clients.iter_mut().zip([one, two]) {
                let answer = client.query(&show(name)).await;
                assert!(answer.contains(&format!("D({expected})")), "{name}: {answer}");
            }
        }
    }
    assert!(proxy.servers(&pg.direct("test1").await).await.len() <= 1);
}

async fn a_client_is_told_of_its_own_changes_only(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(one.query("SET TimeZone = 'Asia/Tokyo'").await, "C(SET) S(TimeZone=Asia/Tokyo) Z(I)");
    assert_eq!(two.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(one.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(two.query(&show("TimeZone")).await, "T D(UTC) C(SELECT 1) Z(I)");
}

async fn a_set_ends_with_its_failed_transaction(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(one.query("BEGIN").await, "C(BEGIN) Z(T)");
    assert!(one.query("SET TimeZone = 'Asia/Tokyo'").await.ends_with("C(SET) S(TimeZone=Asia/Tokyo) Z(T)"));
    assert_eq!(one.query("ROLLBACK").await, "C(ROLLBACK) S(TimeZone=UTC) Z(I)");
    assert!(two.query(&show("TimeZone")).await.contains("D(UTC)"));
    assert!(one.query(&show("TimeZone")).await.contains("D(UTC)"));
    one.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'").await;
    one.query("COMMIT").await;
    assert!(two.query(&show("TimeZone")).await.contains("D(UTC)"));
    assert!(one.query(&show("TimeZone")).await.contains("D(UTC)"));
}

async fn reset_returns_to_the_startup_packet(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut own = with(&proxy, &[("TimeZone", "Asia/Tokyo")]).await;
    let mut plain = Wire::login(&proxy).await;
    for reset in ["RESET ALL", "DISCARD ALL", "RESET timezone", "SET TimeZone TO DEFAULT"] {
        own.query("SET TimeZone = 'America/Lima'").await;
        assert!(plain.query(&show("TimeZone")).await.contains("D(UTC)"));
        let answer = own.query(reset).await;
        assert!(answer.ends_with("Z(I)") && answer.contains("C("), "{reset}: {answer}");
        assert!(plain.query(&show("TimeZone")).await.contains("D(UTC)"), "{reset}");
        assert!(own.query(&show("TimeZone")).await.contains("D(Asia/Tokyo)"), "{reset}");
    }
}

/// A server that stays is told what its own default is not, within the transaction too, and nobody else meets it.
async fn a_reset_under_a_pin_or_in_a_transaction_returns_to_the_startup_packet(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let own = [("TimeZone", "Asia/Tokyo"), ("options", "-c work_mem=9MB")];
    let zone = |answer: &str| answer.split("D(").nth(1).and_then(|rest| rest.split(')').next()).map(str::to_owned);
    for pins in [false, true] {
        let (mut own, mut plain) = (with(&proxy, &own).await, Wire::login(&proxy).await);
        if pins {
            own.query("CREATE TEMP TABLE mine ()").await;
        }
        for reset in
            ["RESET TimeZone", "RESET TIME ZONE", "SET TIME ZONE LOCAL", "SET timezone TO DEFAULT", "RESET ALL"]
        {
            for (steps, left) in [
                (&["SET TimeZone = 'America/Lima'", reset][..], "Asia/Tokyo"),
                (&["BEGIN", "SET TimeZone = 'America/Lima'", reset, "COMMIT"], "Asia/Tokyo"),
                (&["SET TimeZone = 'America/Lima'", "BEGIN", reset, "ROLLBACK"], "America/Lima"),
                (&["BEGIN", reset, "SELECT 1/0", "ROLLBACK"], "America/Lima"),
                (&["BEGIN", "SAVEPOINT a", reset, "ROLLBACK TO a", "COMMIT"], "America/Lima"),
            ] {
                if reset == "RESET ALL" && steps.contains(&"BEGIN") {
                    continue; // It pins, and leads to the server's default.
                }
                for step in steps {
                    let answer = own.query(step).await;
                    assert!(answer.contains("Z("), "{step}: {answer}");
                }
                assert_eq!(zone(&own.query(&show("TimeZone")).await).as_deref(), Some(left), "{steps:?}, {pins}");
                assert_eq!(zone(&plain.query(&show("TimeZone")).await).as_deref(), Some("UTC"), "{steps:?}, {pins}");
            }
        }
        for steps in [&["SET work_mem = '5MB'", "RESET work_mem"][..], &["BEGIN", "RESET work_mem", "COMMIT"]] {
            for step in steps {
                assert!(own.query(step).await.contains("Z("), "{step}");
            }
            assert!(own.query(&show("work_mem")).await.contains("D(9MB)"), "{steps:?}, {pins}");
            assert!(plain.query(&show("work_mem")).await.contains("D(4MB)"), "{steps:?}, {pins}");
        }
        own.query("BEGIN").await;
        own.query("RESET TimeZone").await;
        assert_eq!(zone(&own.query(&show("TimeZone")).await).as_deref(), Some("Asia/Tokyo"), "inside, {pins}");
        own.query("COMMIT").await;
        // What was sent without waiting sees it too.
        own.query("SET TimeZone = 'America/Lima'").await;
        own.send(&[say::query("RESET TimeZone"), say::query(&show("TimeZone"))].concat()).await;
        own.ready().await;
        assert_eq!(zone(&own.ready().await).as_deref(), Some("Asia/Tokyo"), "in a pipeline, {pins}");
    }
}

async fn a_wrong_value_ends_its_own_client_only(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wrong = with(&proxy, &[("TimeZone", "Nowhere/Never")]).await;
    wrong.send(&say::query("SELECT 1")).await;
    let words = wrong.last_words().await;
    assert!(words.starts_with("FATAL 22023 invalid value for parameter \"TimeZone\""), "{words}");
    let mut unknown = with(&proxy, &[("no_such_setting", "1")]).await;
    unknown.send(&say::query("SELECT 1")).await;
    let words = unknown.last_words().await;
    assert!(words.starts_with("FATAL 42704 unrecognized configuration parameter"), "{words}");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn ignored_parameters_are_passed_over(pg: Servers) {
    let setup = Setup::new(&pg).global("ignore_startup_parameters = ['extra_float_digits', 'no_such_setting']");
    let proxy = setup.start().await;
    let mut wire = with(&proxy, &[("extra_float_digits", "3"), ("no_such_setting", "1")]).await;
    assert_eq!(wire.query(&show("extra_float_digits")).await, "T D(1) C(SELECT 1) Z(I)");
}

async fn a_greeting_is_the_servers(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let mut direct = Wire::open(pg.primary).await;
    let parameters = [("user", "trust_user"), ("database", "test1"), ("TimeZone", "Asia/Tokyo")];
    direct.send(&say::startup(say::V3_0, &parameters)).await;
    direct.greet().await;
    let wire = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    let names = |wire: &Wire| {
        let mut told: Vec<_> = wire.greeting.iter().filter(|f| f.tag == b'S').map(|f| f.to_string()).collect();
        told.retain(|told| !told.starts_with("S(application_name"));
        told.sort();
        told
    };
    assert_eq!(names(&wire), names(&direct));
}

async fn a_standby_is_no_concern_of_its_clients(pg: Servers) {
    let proxy = Setup::before(pg.standby, &pg.password).start().await;
    let wire = Wire::login(&proxy).await;
    assert!(wire.greeting.iter().any(|frame| frame.to_string() == "S(in_hot_standby=off)"));
}

tests! {
    on both: [
        a_client_is_told_of_its_own_changes_only, a_greeting_is_the_servers,
        a_reset_under_a_pin_or_in_a_transaction_returns_to_the_startup_packet,
        a_set_of_a_reported_setting_follows_its_client, reset_returns_to_the_startup_packet,
        startup_parameters_follow_their_client, what_is_not_reported_follows_too,
    ],
    on 15: [
        a_set_ends_with_its_failed_transaction, a_standby_is_no_concern_of_its_clients,
        a_wrong_value_ends_its_own_client_only, ignored_parameters_are_passed_over,
    ]
}
