//! Who is let in, by which proof; and how pgweir proves itself to servers.

use std::process::Command;

use postgres_protocol::password;

use crate::support::proxy::{connect, program, value};
use crate::support::tool::{feed, pgweir};
use crate::support::*;

const WRONG: &str = "FATAL 28P01 password authentication failed";
const SECRET: &str = "open sesame";

/// Behind every client authentication stands the same server login, which asks for nothing.
fn setup(pg: &Servers, auth_type: &str, secret: &str) -> Setup {
    let setup = Setup::new(pg).global(&format!("auth_type = '{auth_type}'"));
    setup.users(&format!("\"app\" \"{secret}\"\n\"trust_user\" \"\"\n")).database("test1", "user = 'trust_user'")
}

async fn try_password(
    proxy: &Proxy,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = proxy.config(user, "test1");
    connect(config.password(password)).await
}

async fn passwords_and_secrets(pg: Servers) {
    let md5 = password::md5(SECRET.as_bytes(), "app");
    let scram = password::scram_sha_256(SECRET.as_bytes());
    for (auth_type, secret, lets_in) in [
        ("plain", SECRET, true),
        ("plain", md5.as_str(), true),
        ("plain", scram.as_str(), true),
        ("md5", SECRET, true),
        ("md5", md5.as_str(), true),
        ("md5", scram.as_str(), true),
        ("scram-sha-256", SECRET, true),
        ("scram-sha-256", md5.as_str(), false),
        ("scram-sha-256", scram.as_str(), true),
    ] {
        let proxy = setup(&pg, auth_type, secret).start().await;
        let case = format!("{auth_type} with {secret}");
        match try_password(&proxy, "app", SECRET).await {
            Ok(client) => {
                assert!(lets_in, "{case}");
                assert_eq!(value(&client, "SELECT session_user").await, "trust_user");
            }
            Err(error) => assert!(!lets_in, "{case}: {error:?}"),
        }
        let wrong = refusal(try_password(&proxy, "app", "open barley").await);
        assert_eq!(wrong, WRONG, "{case}");
        for password in [SECRET, "open barley"] {
            let unknown = refusal(try_password(&proxy, "nobody", password).await);
            assert_eq!(unknown, wrong, "{case}: an unknown user looks the same");
        }
        // The stored secret itself opens nothing, but for a plain one.
        if secret != SECRET {
            assert_eq!(refusal(try_password(&proxy, "app", secret).await), WRONG, "{case}");
        }
    }
}

async fn an_unknown_user_is_asked_the_same(pg: Servers) {
    use crate::support::wire::say;
    for auth_type in ["plain", "md5", "scram-sha-256"] {
        let proxy = setup(&pg, auth_type, SECRET).start().await;
        let mut questions = Vec::new();
        for user in ["app", "nobody"] {
            let mut wire = Wire::open(proxy.port).await;
            wire.send(&say::startup(say::V3_0, &[("user", user), ("database", "test1")])).await;
            let question = wire.frame().await.expect("a question");
            questions.push((question.tag, question.body[..4].to_vec(), question.body.len()));
        }
        assert_eq!(questions[0], questions[1], "{auth_type}");
    }
}

async fn trust_wants_a_known_user(pg: Servers) {
    let proxy = setup(&pg, "trust", "").start().await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
    let refused = refusal(proxy.try_connect("nobody", "test1").await);
    assert_eq!(refused, "FATAL 28000 \"trust\" authentication failed");
}

async fn any_lets_everybody_in_as_the_forced_user(pg: Servers) {
    let proxy = setup(&pg, "any", "").start().await;
    for user in ["app", "nobody"] {
        let client = proxy.connect(user, "test1").await;
        assert_eq!(value(&client, "SELECT session_user").await, "trust_user");
    }
}

async fn databases_are_named_to_those_who_proved_themselves(pg: Servers) {
    let proxy = Setup::new(&pg).global("auth_type = 'scram-sha-256'").start().await;
    assert_eq!(refusal(proxy.try_connect("app", "nowhere").await), "FATAL 3D000 no such database: nowhere");
    let mut config = proxy.config("app", "nowhere");
    assert_eq!(refusal(connect(config.password("wrong")).await), WRONG);
}

async fn servers_ask_for_every_kind_of_proof(pg: Servers) {
    let md5 = password::md5(pg.password.as_bytes(), "app_md5");
    for (user, secret) in [
        ("trust_user", ""),
        ("app_plain", pg.password.as_str()),
        ("app_md5", pg.password.as_str()),
        ("app_md5", md5.as_str()),
        ("app", pg.password.as_str()),
    ] {
        let proxy = Setup::new(&pg).users(&format!("\"{user}\" \"{secret}\"\n")).start().await;
        let client = proxy.connect(user, "test1").await;
        assert_eq!(value(&client, "SELECT session_user").await, user);
    }
}

async fn a_servers_refusal_reaches_the_client(pg: Servers) {
    let proxy = Setup::new(&pg).users("\"app\" \"not the servers\"\n").start().await;
    let refused = refusal(soon("the login ends", proxy.try_connect("app", "test1")).await);
    assert_eq!(refused, "FATAL 28P01 password authentication failed for user \"app\"");
    let proxy = Setup::new(&pg).database("gone", "dbname = 'no_such_database'").start().await;
    let refused = refusal(soon("the login ends", proxy.try_connect("app", "gone")).await);
    assert_eq!(refused, "FATAL 3D000 database \"no_such_database\" does not exist");
}

async fn a_forced_users_password_is_the_databases(pg: Servers) {
    let file = std::env::temp_dir().join(format!("pgweir-password-{}", std::process::id()));
    std::fs::write(&file, format!("{}\n", pg.password)).expect("a file");
    for line in [
        format!("password = '{}'", pg.password),
        "password = '${IT_PASSWORD}'".to_owned(),
        format!("password_file = '{}'", file.display()),
    ] {
        let setup = Setup::new(&pg).users("\"app\" \"unused\"\n").env("IT_PASSWORD", &pg.password);
        let proxy = setup.database("test1", &format!("user = 'other'\n{line}")).start().await;
        assert_eq!(value(&proxy.app().await, "SELECT session_user").await, "other", "{line}");
    }
    std::fs::remove_file(file).expect("it goes");
}

/// A role of the test's own, with the password `SECRET`, and its verifier.
async fn role(direct: &tokio_postgres::Client, name: &str) -> String {
    let sql = format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'");
    direct.batch_execute(&sql).await.expect("a role");
    value(direct, &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")).await
}

async fn a_verifier_passes_logins_through(pg: Servers) {
    let direct = pg.direct("test1").await;
    let name = format!("it_pass_{}_{}", pg.major, std::process::id());
    let verifier = role(&direct, &name).await;
    let setup = || Setup::new(&pg).global("auth_type = 'scram-sha-256'");
    let proxy = setup().users(&format!("\"{name}\" \"{verifier}\"\n")).start().await;
    assert_eq!(refusal(try_password(&proxy, &name, "wrong").await), WRONG);
    let client = try_password(&proxy, &name, SECRET).await.expect("the right password");
    assert_eq!(value(&client, "SELECT session_user").await, name);
    assert!(!proxy.log().contains(&verifier[..40]) && !proxy.log().contains(SECRET));

    // The same password with another salt proves itself to pgweir, and is no key for the server.
    let other = password::scram_sha_256(SECRET.as_bytes());
    let proxy = setup().users(&format!("\"{name}\" \"{other}\"\n")).start().await;
    let refused = refusal(soon("the login ends", try_password(&proxy, &name, SECRET)).await);
    assert!(refused.starts_with("FATAL 08006 server login failed"), "{refused}");
    proxy.wait_for_log("another salt").await;
    direct.batch_execute(&format!("DROP ROLE {name}")).await.expect("it goes");
}

async fn hash_makes_both_ends_agree(pg: Servers) {
    let direct = pg.direct("test1").await;
    let name = format!("it_hash_{}_{}", pg.major, std::process::id());
    let verifier = role(&direct, &name).await;

    let url = format!("postgres://postgres:{}@127.0.0.1:{}/postgres", pg.password, pg.primary);
    let fetched = pgweir(&["hash", &name, "--from", &url]).await;
    assert!(fetched.success && fetched.out.contains(&verifier), "{fetched:?}");

    let mut command = Command::new(program());
    command.args(["hash", &name]);
    let made = feed(command, "another password\n");
    assert!(made.success, "{made:?}");
    let userlist = made.out.lines().find(|line| line.starts_with('"')).expect("a line for the user list");
    let alter = made.out.lines().find(|line| line.starts_with("ALTER ROLE")).expect("a statement for the server");
    direct.batch_execute(alter).await.expect("the server takes it");
    let setup = Setup::new(&pg).global("auth_type = 'scram-sha-256'").users(&format!("{userlist}\n"));
    let proxy = setup.start().await;
    let client = try_password(&proxy, &name, "another password").await.expect("the new password");
    assert_eq!(value(&client, "SELECT session_user").await, name);
    direct.batch_execute(&format!("DROP ROLE {name}")).await.expect("it goes");
}

async fn nothing_secret_is_logged(pg: Servers) {
    let setup = Setup::new(&pg).global("auth_type = 'scram-sha-256'\nverbose = 2");
    let lines = format!("dbname = 'test1'\nuser = 'other'\npassword = '{}'", pg.password);
    let mut proxy = setup.database("test1", "").database("forced", &lines).start().await;
    for database in ["test1", "forced"] {
        let client = proxy.connect("app", database).await;
        client.batch_execute("SELECT 1").await.expect("a server");
        let _refused = try_password(&proxy, "app", "wrong password of app").await;
    }
    proxy.signal(crate::support::proxy::Signal::HUP);
    proxy.wait_for_log("config reloaded").await;
    let log = proxy.log();
    assert!(log.lines().count() > 5, "{log}");
    for secret in [pg.password.as_str(), "wrong password of app", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

tests! {
    on both: [
        a_servers_refusal_reaches_the_client, a_verifier_passes_logins_through, hash_makes_both_ends_agree,
        servers_ask_for_every_kind_of_proof,
    ],
    on 15: [
        a_forced_users_password_is_the_databases, an_unknown_user_is_asked_the_same,
        any_lets_everybody_in_as_the_forced_user, databases_are_named_to_those_who_proved_themselves,
        nothing_secret_is_logged, passwords_and_secrets, trust_wants_a_known_user,
    ]
}
