//! The servers that the runner started, by its environment (src/demo/exec.rs has the variables).

use std::path::PathBuf;

use pgweir::demo::Binaries;
use tokio_postgres::{Client, Config, NoTls};

/// A primary and a standby of one PostgreSQL.
#[derive(Clone, Debug)]
pub struct Servers {
    pub major: u32,
    pub primary: u16,
    pub standby: u16,
    pub password: String,
    pub sockets: PathBuf,
}

impl Servers {
    pub fn pg15() -> Servers {
        Servers::of(15)
    }

    pub fn pg18() -> Servers {
        Servers::of(18)
    }

    fn of(major: u32) -> Servers {
        let port = |role: &str| {
            let name = format!("PGWEIR_TEST_{role}{major}");
            variable(&name).parse().unwrap_or_else(|_| panic!("{name} is no port"))
        };
        Servers {
            major,
            primary: port("PRIMARY"),
            standby: port("STANDBY"),
            password: variable("PGWEIR_TEST_PASSWORD"),
            sockets: variable("PGWEIR_TEST_SOCKETS").into(),
        }
    }

    /// Past pgweir, to the primary, as the superuser.
    pub async fn direct(&self, database: &str) -> Client {
        direct(self.primary, &self.password, database).await
    }
}

/// The programs of PostgreSQL 15, for a room of one's own.
pub fn bin15() -> Binaries {
    Binaries::at(variable("PGWEIR_TEST_BINDIR15")).expect("the runner's PostgreSQL answers")
}

/// Past pgweir, to any server, as the superuser.
pub async fn direct(port: u16, password: &str, database: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("postgres").password(password).dbname(database);
    config.application_name("test direct");
    let (client, connection) = config.connect(NoTls).await.expect("the server lets the superuser in");
    tokio::spawn(connection);
    client
}

/// A variable of the runner's.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: these tests run among servers; `make test TESTS='--test it'` starts them, or \
             `pgweir demo --second-bindir DIR --exec -- cargo nextest run --test it`, with PostgreSQL 18 in DIR"
        )
    })
}
