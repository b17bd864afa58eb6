//! The catalog sets of a database of the test's own, as the loader reads them.

use std::sync::Arc;

use pgweir::auth::Secret;
use pgweir::cluster::catalog::Watch;
use pgweir::config::{Address, Nowhere};
use pgweir::server::connect::Route;
use pgweir::server::login::{Credentials, Plan};
use pgweir::sql::{Access, Catalog, Lexical, access};
use tokio_postgres::Client;

use super::eventually;
use super::servers::Servers;

/// A database of the test's own, and who watches it.
pub struct Scratch {
    pub sql: Client,
    pub watch: Arc<Watch>,
}

/// How the role without any right logs in to a server.
pub fn plan(port: u16, password: &str, database: &str) -> Plan {
    let text = "[pgweir]\nauth_file = 'x'\n[databases.x]\nhost = '127.0.0.1'\n";
    let config = Nowhere::config(text).expect("a sound config");
    let route = Route {
        address: Address::Tcp { host: "127.0.0.1".to_owned(), port },
        tls: None,
        global: Arc::new(config.global),
        names: Arc::default(),
    };
    Plan {
        route,
        database: database.to_owned(),
        credentials: Arc::new(Credentials::new("pgweir_probe", Secret::parse(password))),
        parameters: Vec::new(),
        connect_query: None,
        node: usize::from(port),
        max_prepared_statements: 0,
        standing: Arc::default(),
    }
}

impl Scratch {
    pub async fn of(pg: &Servers, name: &str, script: &str) -> Scratch {
        let admin = pg.direct("postgres").await;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.expect("none is left");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let sql = pg.direct(name).await;
        sql.batch_execute(script).await.expect("a sound script");
        let (port, password, database) = (pg.primary, pg.password.clone(), name.to_owned());
        let watch = Watch::start(name, move || Some(plan(port, &password, &database)));
        Scratch { sql, watch }
    }

    pub async fn catalog(&self) -> Arc<Catalog> {
        eventually("the sets are loaded", || async { self.watch.current().is_some() }).await;
        self.watch.current().clone().expect("just seen")
    }

    pub async fn ask(&self, text: &str) -> Access {
        access(text.as_bytes(), Lexical::STANDARD, Some(&*self.catalog().await))
    }
}
