//! The files of the stack, by the judgement of the programs that read them: Compose, promtool, and pgweir itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::certs::Certs;
use crate::support::tool::{Said, pgweir, run};
use crate::support::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What Compose makes of the file, with these profiles and the example's passwords. No engine is asked.
async fn compose(profiles: &str) -> Value {
    let python = PathBuf::from(servers::variable("PGWEIR_TEST_PYTHON"));
    let mut command = Command::new(python.with_file_name("docker-compose"));
    command.args(["--env-file", ".env.example", "config", "--format", "json"]).current_dir(root());
    command.env("COMPOSE_PROFILES", profiles);
    let said = run(command).await;
    assert!(said.success, "{}", said.err);
    serde_json::from_str(&said.out).expect("JSON")
}

fn names(services: &Value) -> Vec<&str> {
    let mut names: Vec<_> = services["services"].as_object().expect("services").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// `published:target` of a service's ports.
fn ports(service: &Value) -> Vec<String> {
    let all = service["ports"].as_array().into_iter().flatten();
    all.map(|port| format!("{}:{}", port["published"].as_str().unwrap_or("?"), port["target"])).collect()
}

#[tokio::test]
async fn each_profile_is_whole() {
    let pair = ["certs", "pgweir", "postgres-master", "postgres-replica"];
    assert_eq!(names(&compose("pair").await), pair);
    let patroni = ["certs", "etcd", "patroni-1", "patroni-2", "patroni-3", "pgweir-patroni"];
    assert_eq!(names(&compose("patroni").await), patroni);
    let all = compose("pair,monitoring,backup").await;
    let beside = ["backup", "backup-volume", "exporter-master", "exporter-replica", "grafana", "prometheus"];
    let mut expected = [&pair[..], &beside].concat();
    expected.sort_unstable();
    assert_eq!(names(&all), expected);

    let services = &all["services"];
    for (name, expected) in [
        ("postgres-master", &["5432:5432"][..]),
        ("postgres-replica", &["5433:5433"]),
        ("pgweir", &["6432:6432", "9632:9632"]),
        ("exporter-master", &["9187:9187"]),
        ("exporter-replica", &["9188:9188"]),
    ] {
        assert_eq!(ports(&services[name]), expected, "{name}");
    }
    assert_eq!(services["postgres-replica"]["environment"]["PGPORT"], "5433");
    assert_eq!(services["postgres-master"]["environment"]["POSTGRES_DB"], "suggar_daddy");
    let after = |name: &str, other: &str| services[name]["depends_on"][other]["condition"].as_str().map(str::to_owned);
    assert_eq!(after("postgres-replica", "postgres-master").as_deref(), Some("service_healthy"));
    assert_eq!(after("pgweir", "postgres-master").as_deref(), Some("service_healthy"));
    assert_eq!(after("postgres-master", "certs").as_deref(), Some("service_completed_successfully"));
}

#[tokio::test]
async fn what_stays_up_is_looked_after_and_secrets_are_files() {
    let example = read(".env.example");
    let passwords: Vec<_> =
        example.lines().filter_map(|line| line.split_once("_PASSWORD=")).map(|(_, password)| password).collect();
    assert_eq!(passwords.len(), 5, "{passwords:?}");
    for profiles in ["pair,monitoring,backup", "patroni"] {
        let all = compose(profiles).await;
        for (name, service) in all["services"].as_object().expect("services") {
            let text = service.to_string();
            assert!(passwords.iter().all(|password| !text.contains(password)), "{name} holds a password: {text}");
            // What runs to its end has no health; that of pgweir stands in its image.
            if service["restart"] == "unless-stopped" && !name.starts_with("pgweir") {
                assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
            }
        }
    }
    let image = read("Dockerfile");
    let last_stage = image.rsplit("\nFROM ").next().expect("a stage");
    assert!(last_stage.contains("\nHEALTHCHECK ") && last_stage.contains("\nUSER 6432:6432"), "{last_stage}");
}

#[tokio::test]
async fn pgweir_takes_the_config_of_the_stack() {
    let certs = Certs::new();
    let (dir, identity) = (certs.dir(), certs.server());
    std::fs::copy(identity.cert, dir.join("pgweir.crt")).expect("a certificate");
    std::fs::copy(identity.key, dir.join("pgweir.key")).expect("its key");
    std::fs::write(dir.join("probe_password"), "secret").expect("a secret");
    std::fs::write(dir.join("userlist.txt"), "\"postgres\" \"secret\"\n").expect("a user list");
    let places = ["/run/secrets", "/run/pgweir", "/certs"];
    let here = |text: String, place: &&str| text.replace(*place, &dir.to_string_lossy());
    let text = places.iter().fold(read("config/stack.toml"), here);
    let file = dir.join("stack.toml").to_string_lossy().into_owned();
    std::fs::write(&file, text).expect("a config");
    let all = compose("pair").await;
    let mut command = Command::new(proxy::program());
    command.args(["check", &file]);
    command.env("PGWEIR_SERVERS", all["services"]["pgweir"]["environment"]["PGWEIR_SERVERS"].as_str().expect("a list"));
    let said = run(command).await;
    let refused = pgweir(&["check", &file]).await;
    assert!(said.success, "{}\n{}", said.out, said.err);
    assert!(!refused.success, "without its servers it is not whole: {}", refused.out);
}

async fn promtool(arguments: &[&str]) -> Said {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root().join("ops/monitoring"));
    run(command).await
}

#[tokio::test]
async fn alerts_fire_when_they_should_and_only_then() {
    for arguments in [&["check", "config", "prometheus.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let said = promtool(arguments).await;
        assert!(said.success, "promtool {arguments:?}\n{}\n{}", said.out, said.err);
    }
    let alerts = read("ops/monitoring/alerts.yml");
    let count = |word: &str| alerts.lines().filter(|line| line.trim_start().starts_with(word)).count();
    assert!(count("- alert:") >= 17);
    assert_eq!(count("runbook:"), count("- alert:"));
}

/// PostgreSQL reads the settings, and knows each of them: the oldest version and the newest.
#[tokio::test]
async fn postgresql_knows_every_setting() {
    for bindir in ["PGWEIR_TEST_BINDIR15", "PGWEIR_TEST_BINDIR18"] {
        for role in ["master", "replica"] {
            let postgres = Path::new(&servers::variable(bindir)).join("postgres");
            let mut command = pgweir::demo::Account::for_servers().expect("an account").command(postgres);
            // A copy: the checkout may be closed to the servers' account.
            let dir = std::env::temp_dir().join(format!("pgweir-it-settings-{}-{bindir}-{role}", std::process::id()));
            std::fs::create_dir_all(dir.join(role)).expect("a directory");
            for file in ["common.conf", &format!("{role}/postgresql.conf")] {
                std::fs::copy(root().join("ops/postgres").join(file), dir.join(file)).expect("a copy");
            }
            let config = dir.join(role).join("postgresql.conf");
            command.current_dir("/");
            command
                .arg("-D")
                .arg(&dir)
                .arg(format!("--config-file={}", config.display()))
                .args(["-C", "max_slot_wal_keep_size"]);
            let said = run(command).await;
            std::fs::remove_dir_all(&dir).expect("it is ours");
            assert!(said.success && said.out == "8192", "{bindir} {role}: {}\n{}", said.out, said.err);
        }
    }
}
