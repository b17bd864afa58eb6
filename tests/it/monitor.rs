//! What the monitors of a cluster find out of real servers: who is fit for reads, and as of when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgweir::cluster::backends::{Backends, Ground};
use pgweir::cluster::sampler::Missed;
use pgweir::cluster::{Cluster, Follow};
use pgweir::config::{MaxLag, Nowhere};
use pgweir::pool::core::Serving;
use pgweir::route::fit::Unfit;
use pgweir::route::topology::{Fence, Role};
use tokio_postgres::Client;

use crate::support::servers::direct;
use crate::support::*;

pub const ANY_LAG: MaxLag = MaxLag::Time(Duration::from_secs(3600));

/// The database's lines in a config with the probe's credentials.
pub fn ground(password: &str, databases: &str) -> Ground {
    let text = format!(
        "[pgweir]\nauth_type = 'trust'\nprobe_user = 'pgweir_probe'\nprobe_password = '{password}'\n\
         probe_interval = '50ms'\n{databases}"
    );
    let config = Nowhere::config(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    Ground { config: Arc::new(config), userlist: Arc::default(), server_tls: None, server_tls_stamp: Arc::default() }
}

pub fn list(ports: &[u16]) -> String {
    let all: Vec<_> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!("servers = [{}]", all.join(", "))
}

/// The cluster of one database, and what keeps it watched.
pub fn watched(password: &str, lines: &str) -> (Arc<Backends>, Arc<Cluster>) {
    let backends = Backends::new(ground(password, &format!("[databases.test1]\n{lines}\n")));
    let cluster = cluster(&backends, "test1");
    (backends, cluster)
}

pub fn cluster(backends: &Backends, name: &str) -> Arc<Cluster> {
    let ground = backends.ground();
    let database = ground.config.database(name).expect("in the config");
    backends.cluster(&ground, name, database).expect("a list of servers")
}

pub async fn until(cluster: &Cluster, node: usize, expected: Result<(), Unfit>) {
    let what = format!("node {node} is {expected:?}");
    eventually(&what, || async { cluster.fit(node, ANY_LAG) == expected }).await;
}

/// Each write is seen by a read on the standby that waited for it.
async fn read_after_each_write(cluster: &Cluster, primary: &Client, standby: &Client, table: &str, rounds: i32) {
    for n in 0..rounds {
        primary.batch_execute(&format!("INSERT INTO {table} VALUES ({n})")).await.expect("a write");
        let floor = cluster.now();
        let node = cluster.caught_up(floor, Instant::now() + DEADLINE, ANY_LAG).await;
        assert_eq!(node, Ok(1), "the standby catches up with write {n}");
        assert!(cluster.fresh(1) > floor);
        let row = standby.query_one(&format!("SELECT max(n) FROM {table}"), &[]).await.expect("a read");
        assert_eq!(row.get::<_, i32>(0), n);
    }
}

async fn a_standby_is_fit_and_the_primary_is_none(pg: Servers) {
    let (_backends, cluster) = watched(&pg.password, &list(&[pg.primary, pg.standby]));
    until(&cluster, 1, Ok(())).await;
    assert_eq!((cluster.fit(0, ANY_LAG), cluster.fit(2, ANY_LAG)), (Err(Unfit::NotStandby), Err(Unfit::NotStandby)));
    assert_eq!((cluster.serving(), cluster.serving_for(Follow::Standby(1))), (Serving::One(0), Serving::One(1)));
    assert_eq!(cluster.serving_for(Follow::Standby(0)), Serving::Nobody);
    let topology = cluster.topology();
    let [primary, standby] = [&topology.nodes[0], &topology.nodes[1]].map(|node| node.identity);
    assert_eq!((primary.major, standby.major), (Some(pg.major), Some(pg.major)));
    assert!(primary == standby && primary.system.is_some() && primary.timeline == Some(1), "{topology:?}");
    assert!(!cluster.is_synchronous());
    eventually("nothing is left to replay", || async { cluster.behind(1) == Some(0) }).await;
}

async fn fresh_covers_every_acknowledged_write(pg: Servers) {
    let (_backends, cluster) = watched(&pg.password, &list(&[pg.primary, pg.standby]));
    let (primary, standby) = (pg.direct("test1").await, direct(pg.standby, &pg.password, "test1").await);
    primary.batch_execute("DROP TABLE IF EXISTS fresh; CREATE TABLE fresh (n int)").await.expect("a table");
    until(&cluster, 1, Ok(())).await;
    read_after_each_write(&cluster, &primary, &standby, "fresh", 100).await;
    // The commit record is neither written nor flushed when this is acknowledged.
    primary.batch_execute("SET synchronous_commit = off; TRUNCATE fresh").await.expect("set");
    read_after_each_write(&cluster, &primary, &standby, "fresh", 5).await;
    primary.batch_execute("DROP TABLE fresh").await.expect("dropped");
}

async fn many_wait_for_one_answer(pg: Servers) {
    let (_backends, cluster) = watched(&pg.password, &list(&[pg.primary, pg.standby]));
    until(&cluster, 1, Ok(())).await;
    let wait = |cluster: Arc<Cluster>| async move {
        let floor = cluster.now();
        let node = cluster.caught_up(floor, Instant::now() + DEADLINE, ANY_LAG).await;
        node.map(|node| cluster.fresh(node) > floor)
    };
    let all: Vec<_> = (0..200).map(|_| tokio::spawn(wait(Arc::clone(&cluster)))).collect();
    for one in all {
        assert_eq!(soon("an answer", one).await.expect("no panic"), Ok(true));
    }
}

async fn who_may_not_wait_is_told_at_once(pg: Servers) {
    let (_backends, cluster) = watched(&pg.password, &list(&[pg.primary, pg.standby]));
    until(&cluster, 1, Ok(())).await;
    let ahead = cluster.now() + 3_600_000_000_000;
    assert_eq!(cluster.reader(|_| Some(ahead), ANY_LAG), Err(Missed::TooStale));
    let past = Instant::now();
    assert_eq!(cluster.caught_up(ahead, past, ANY_LAG).await, Err(Missed::TooStale));
    assert_eq!(cluster.caught_up(0, past, ANY_LAG).await, Ok(1));
    // A dropped wait leaves nobody waiting.
    let dropped = tokio::time::timeout(MOMENT, cluster.caught_up(ahead, past + DEADLINE, ANY_LAG)).await;
    assert!(dropped.is_err());
    assert_eq!(cluster.fit(1, MaxLag::Time(Duration::from_nanos(1))), Err(Unfit::Lagging));
    let none = cluster.caught_up(0, past + DEADLINE, MaxLag::Time(Duration::from_nanos(1))).await;
    assert_eq!(none, Err(Missed::NoStandby(Unfit::Lagging)));
}

async fn what_makes_a_standby_unfit_is_named(pg: Servers) {
    let weightless =
        format!("servers = ['127.0.0.1:{}', {{ host = '127.0.0.1', port = {}, weight = 0 }}]", pg.primary, pg.standby);
    let (_backends, cluster) = watched(&pg.password, &weightless);
    until(&cluster, 1, Err(Unfit::WeightZero)).await;

    let other = Servers::pg18();
    let (_backends, cluster) = watched(&pg.password, &list(&[pg.primary, other.standby]));
    until(&cluster, 1, Err(Unfit::OtherSystem)).await;
    assert_eq!(cluster.reader(|_| Some(0), ANY_LAG), Err(Missed::NoStandby(Unfit::OtherSystem)));

    let (_backends, cluster) = watched(&pg.password, &list(&[pg.standby]));
    until(&cluster, 0, Err(Unfit::Unsure)).await;

    // Nobody asks: no time would make it fit.
    let mut ground = ground(&pg.password, &format!("[databases.test1]\n{}\n", list(&[pg.primary, pg.standby])));
    let mut config = (*ground.config).clone();
    config.global.probe = None;
    ground.config = Arc::new(config);
    let backends = Backends::new(ground);
    assert_eq!(self::cluster(&backends, "test1").fit(1, ANY_LAG), Err(Unfit::NoProbe));
}

/// The user may ask for a role and no more.
async fn a_probe_that_may_not_ask_for_positions_finds_the_primary_all_the_same(pg: Servers) {
    let direct = pg.direct("suggar_daddy").await;
    let lines = list(&[pg.primary, pg.standby]) + "\nprobe_dbname = 'suggar_daddy'";
    let revoke = "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM public";
    direct.batch_execute(revoke).await.expect("revoked in this database alone");
    let (_backends, cluster) = watched(&pg.password, &lines);
    eventually("a primary", || async { cluster.serving() == Serving::One(0) }).await;
    until(&cluster, 1, Err(Unfit::Unsure)).await;
    assert_eq!(cluster.topology().nodes[1].identity.major, Some(pg.major));
    direct.batch_execute(&revoke.replace("REVOKE", "GRANT").replace("FROM", "TO")).await.expect("granted");
}

async fn databases_with_the_same_list_share_their_cluster(pg: Servers) {
    let servers = list(&[pg.primary, pg.standby]);
    let text = |more: &str| format!("[databases.test1]\n{servers}\n[databases.b]\ndbname = 'test2'\n{servers}\n{more}");
    let backends = Backends::new(ground(&pg.password, &text("")));
    backends.watch_all();
    let before = cluster(&backends, "test1");
    assert!(Arc::ptr_eq(&before, &cluster(&backends, "b")));
    let writes = |name: &str| {
        let ground = backends.ground();
        backends.writes(name, ground.config.database(name).expect("in the config"))
    };
    assert!(Arc::ptr_eq(&writes("b"), &before.writes("test2")));
    assert!(!Arc::ptr_eq(&writes("test1"), &before.writes("test2")));
    until(&before, 1, Ok(())).await;

    // A reload that leaves the list alone leaves the cluster alone, also where one of the databases goes.
    backends.change(ground(&pg.password, &text("read_wait = 0\n")));
    assert!(Arc::ptr_eq(&before, &cluster(&backends, "b")) && !before.is_retired());
    backends.change(ground(&pg.password, &format!("[databases.b]\ndbname = 'test2'\n{servers}\n")));
    assert!(Arc::ptr_eq(&before, &cluster(&backends, "b")) && !before.is_retired());

    // Another list is another cluster, which nobody knows anything of; but what was written is known.
    let last = cluster(&backends, "b").writes("test2");
    last.note(before.now());
    let turned = list(&[pg.standby, pg.primary]);
    backends.change(ground(&pg.password, &format!("[databases.b]\ndbname = 'test2'\n{turned}\n")));
    let after = cluster(&backends, "b");
    assert!(before.is_retired() && !Arc::ptr_eq(&before, &after));
    assert!(Arc::ptr_eq(&last, &after.writes("test2")));
    until(&after, 0, Ok(())).await;
    assert_eq!(after.topology().nodes[1].role, Role::Primary);
}

tests! {
    on both: [
        a_probe_that_may_not_ask_for_positions_finds_the_primary_all_the_same, a_standby_is_fit_and_the_primary_is_none,
        fresh_covers_every_acknowledged_write,
    ],
    on 15: [
        databases_with_the_same_list_share_their_cluster, many_wait_for_one_answer, what_makes_a_standby_unfit_is_named,
        who_may_not_wait_is_told_at_once,
    ]
}

/// Servers that stop, in a room of the test's own.
pub mod room {
    use pgweir::auth::Secret;
    use pgweir::cluster::backend::{Backend, Behind, Made, Recipe};
    use pgweir::demo::{Room, Stop, free_ports};
    use pgweir::pool::core::Limits;
    use pgweir::pool::{Checkout, Pool};
    use pgweir::server::Server;
    use pgweir::server::connect::Route;
    use pgweir::server::login::Credentials;

    use super::*;
    use crate::support::servers::bin15;

    pub type Demo = pgweir::demo::Cluster;

    pub fn pair(name: &str) -> (Room, Demo, Demo) {
        let room = Room::open(name).expect("a room");
        let port = free_ports(22_000, 1).expect("a port is free")[0];
        let primary = room.primary(&bin15(), port, &[]).expect("a server");
        let port = free_ports(22_000, 1).expect("a port is free")[0];
        let standby = room.standby(&primary, port, "slot").expect("a standby");
        (room, primary, standby)
    }

    async fn is_stale(cluster: &Cluster) -> bool {
        let floor = cluster.now();
        cluster.caught_up(floor, Instant::now() + MOMENT, ANY_LAG).await.is_err()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_paused_a_restarted_and_a_synchronous_standby() {
        let (room, primary, mut standby) = pair("it-paused");
        let (_backends, cluster) = watched(room.password(), &list(&[primary.port(), standby.port()]));
        until(&cluster, 1, Ok(())).await;

        standby.psql("test1", "SELECT pg_wal_replay_pause()").expect("paused");
        until(&cluster, 1, Err(Unfit::Paused)).await;
        primary.psql("test1", "CREATE TABLE paused (n int)").expect("a write");
        assert!(is_stale(&cluster).await);
        standby.psql("test1", "SELECT pg_wal_replay_resume()").expect("resumed");
        until(&cluster, 1, Ok(())).await;
        assert_eq!(cluster.caught_up(cluster.now(), Instant::now() + DEADLINE, ANY_LAG).await, Ok(1));

        standby.stop(Stop::Kill);
        until(&cluster, 1, Err(Unfit::NotStandby)).await;
        assert_eq!(cluster.fresh(1), 0);
        standby.start().expect("it starts again");
        until(&cluster, 1, Ok(())).await;
        assert_eq!(cluster.caught_up(cluster.now(), Instant::now() + DEADLINE, ANY_LAG).await, Ok(1));

        primary.psql("test1", "ALTER SYSTEM SET synchronous_standby_names = '*'").expect("set");
        primary.psql("test1", "SELECT pg_reload_conf()").expect("taken");
        eventually("it is synchronous", || async { cluster.is_synchronous() }).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_of_primary_voids() {
        let (room, mut primary, mut standby) = pair("it-void");
        let (_backends, cluster) = watched(room.password(), &list(&[primary.port(), standby.port()]));
        until(&cluster, 1, Ok(())).await;
        let fresh = cluster.fresh(1);
        assert!(fresh > 0);
        primary.stop(Stop::Kill);
        eventually("the primary is down", || async { cluster.topology().primary().is_none() }).await;
        // What it was complete as of stays true, and grows no more.
        assert_eq!((cluster.fit(1, ANY_LAG), cluster.fresh(1) >= fresh), (Ok(()), true));
        assert!(is_stale(&cluster).await);

        let mut changes = cluster.subscribe();
        standby.promote().expect("it takes over");
        soon("the change is told", changes.wait_for(|topology| topology.primary() == Some(1))).await.expect("watched");
        assert_eq!((cluster.fresh(1), cluster.fit(1, ANY_LAG)), (0, Err(Unfit::NotStandby)));
        assert_eq!(cluster.serving_for(Follow::Standby(1)), Serving::Nobody);
        let timeline = || async { cluster.topology().nodes[1].identity.timeline == Some(2) };
        eventually("the new timeline", timeline).await;
        // The old one comes back on its own: it gets nothing, and is no standby.
        primary.start().expect("it starts");
        eventually("fenced", || async { cluster.topology().nodes[0].role == Role::Fenced(Fence::Stale) }).await;
        assert_eq!((cluster.fit(0, ANY_LAG), cluster.fresh(0)), (Err(Unfit::NotStandby), 0));
    }

    fn reader(room: &Room, cluster: &Arc<Cluster>, ports: [u16; 2], user: &str) -> Arc<Pool<Server>> {
        let ground = ground(room.password(), &format!("[databases.test1]\n{}\n", list(&ports)));
        let global = Arc::new(ground.config.global.clone());
        let route = |node: &pgweir::route::topology::Node| Route {
            address: node.listed.address.clone(),
            tls: None,
            global: Arc::clone(&global),
            names: Arc::default(),
        };
        let recipe = Recipe {
            routes: cluster.topology().nodes.iter().map(route).collect(),
            parameters: Vec::new(),
            connect_query: None,
            max_prepared_statements: 0,
            check_query: String::new(),
            reset_query: None,
        };
        let made = Made {
            database: "test1".to_owned(),
            dbname: "test1".to_owned(),
            credentials: Arc::new(Credentials::new(user, Secret::parse(room.password()))),
            cluster: Some(Arc::clone(cluster)),
            all: std::sync::Weak::new(),
            tally: pgweir::stats::Stats::default().tally("test1", user, &[]),
            roll: Arc::default(),
            replication: None,
        };
        let limits = Limits {
            size: 5,
            min_size: 0,
            reserve: 0,
            reserve_after: DEADLINE,
            round_robin: false,
            lifetime: DEADLINE,
            idle_timeout: None,
            check_after: None,
            retry_cap: MOMENT,
        };
        let behind = Behind { backend: Arc::new(Backend::new(made, recipe)), follow: Follow::Standby(1) };
        let pool = Pool::new(Serving::Nobody, limits, vec![Vec::new(); 2], Box::new(behind));
        cluster.join(&pool, Follow::Standby(1));
        pool
    }

    async fn lent(pool: &Arc<Pool<Server>>) -> bool {
        match pool.checkout(&mut None) {
            Checkout::Ready(_) => true,
            Checkout::Wait(mut waiting) => {
                let lease = std::future::poll_fn(|cx| waiting.poll(cx));
                tokio::time::timeout(MOMENT, lease).await.is_ok_and(|done| done.is_ok())
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_readers_pool_has_connections_to_its_standby_only() {
        let (room, mut primary, mut standby) = pair("it-readers");
        primary.psql("test1", "ALTER ROLE other SET default_transaction_isolation = 'serializable'").expect("set");
        let ports = [primary.port(), standby.port()];
        let (_backends, cluster) = watched(room.password(), &list(&ports));
        until(&cluster, 1, Ok(())).await;
        assert_eq!(cluster.caught_up(cluster.now(), Instant::now() + DEADLINE, ANY_LAG).await, Ok(1));
        let [app, other] = ["app", "other"].map(|user| reader(&room, &cluster, ports, user));
        eventually("a connection to the standby", || lent(&app)).await;
        assert!(!lent(&other).await, "every statement would fail there");

        primary.stop(Stop::Kill);
        assert!(lent(&app).await, "the primary's loss is nothing to it");
        standby.promote().expect("it takes over");
        eventually("it is a standby no more", || async { !lent(&app).await }).await;
    }
}
