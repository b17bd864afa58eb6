//! What a cluster's watchers make of promotions, losses and returns: whom new work reaches, and who is fenced.

/// Servers that stop, in a room of the test's own.
mod room {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use pgweir::cluster::Cluster;
    use pgweir::cluster::backends::Backends;
    use pgweir::demo::{Room, Stop};
    use pgweir::pool::core::Serving;
    use pgweir::route::topology::{Fence, Role};
    use rustix::process::{Pid, Signal, kill_process};

    use crate::monitor::room::{Demo, pair};
    use crate::monitor::{ANY_LAG, cluster, ground, list, until, watched};
    use crate::support::http::{LISTEN, metrics};
    use crate::support::proxy::value;
    use crate::support::*;

    const PORT: &str = "SELECT inet_server_port()";
    const FAILOVERS: &str = "pgweir_failovers_total{cluster=\"test1\"}";

    fn roles(cluster: &Cluster) -> Vec<Role> {
        cluster.topology().nodes.iter().map(|node| node.role).collect()
    }

    async fn until_roles(cluster: &Cluster, expected: [Role; 2]) {
        let mut changes = cluster.subscribe();
        let what = format!("{expected:?}, not {:?}", roles(cluster));
        let reached = changes.wait_for(|topology| topology.nodes.iter().map(|node| node.role).eq(expected));
        soon(&what, reached).await.expect("watched");
    }

    /// All roles that a cluster goes through, in their order.
    fn record(cluster: &Cluster) -> Arc<parking_lot::Mutex<Vec<Vec<Role>>>> {
        let (all, mut changes) = (Arc::new(parking_lot::Mutex::new(Vec::new())), cluster.subscribe());
        let kept = Arc::clone(&all);
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let now: Vec<_> = changes.borrow_and_update().nodes.iter().map(|node| node.role).collect();
                kept.lock().push(now);
            }
        });
        all
    }

    async fn before(room: &Room, servers: [&Demo; 2]) -> proxy::Proxy {
        let probe = format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", room.password());
        let [first, second] = servers.map(Demo::port);
        let setup = Setup::before(first, room.password()).global(&probe).global(LISTEN);
        setup.database("test1", &list(&[first, second])).start().await
    }

    /// Clients that write all the time, through a proxy; how often they did, and how to end them.
    struct Writers {
        done: Arc<AtomicBool>,
        written: Arc<AtomicU32>,
    }

    impl Writers {
        fn start(proxy: &proxy::Proxy) -> Writers {
            let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
            for _ in 0..4 {
                let (config, done, written) = (proxy.config("app", "test1"), done.clone(), written.clone());
                tokio::spawn(async move {
                    while !done.load(Ordering::Relaxed) {
                        let Ok(client) = proxy::connect(&config).await else { continue };
                        while !done.load(Ordering::Relaxed)
                            && client.batch_execute("INSERT INTO moves VALUES (inet_server_port())").await.is_ok()
                        {
                            written.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                });
            }
            Writers { done, written }
        }

        async fn write_some(&self) {
            let before = self.written.load(Ordering::Relaxed);
            let some = || async { self.written.load(Ordering::Relaxed) > before + 20 };
            eventually("they write", some).await;
        }
    }

    impl Drop for Writers {
        fn drop(&mut self) {
            self.done.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_promotion_beside_a_living_primary_lets_no_write_reach_the_old_one() {
        let (room, primary, mut standby) = pair("it-split-brain");
        primary.psql_as("app", "test1", "CREATE TABLE moves (port int)").expect("a table");
        let proxy = before(&room, [&primary, &standby]).await;
        let writers = Writers::start(&proxy);
        writers.write_some().await;
        standby.promote().expect("it takes over");
        proxy.wait_for_log("fenced").await;
        // What was sent before has its answer by now.
        tokio::time::sleep(MOMENT).await;
        let old = || primary.psql("test1", "SELECT count(*) FROM moves").expect("it lives and would take writes");
        let before = old();
        writers.write_some().await;
        let client = proxy.app().await;
        assert_eq!(value(&client, PORT).await, standby.port().to_string());
        assert_eq!(old(), before);
        let of_new = format!("SELECT count(*) > 20 FROM moves WHERE port = {}", standby.port());
        assert_eq!(standby.psql("test1", &of_new).expect("it answers"), "t");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_is_held_from_a_fast_stop_to_the_promotion() {
        let (room, mut primary, mut standby) = pair("it-fast-stop");
        let proxy = before(&room, [&primary, &standby]).await;
        let client = proxy.app().await;
        assert_eq!(value(&client, PORT).await, primary.port().to_string());
        primary.stop(Stop::Fast);
        let held = tokio::spawn(async move { value(&client, PORT).await });
        tokio::time::sleep(MOMENT).await;
        assert!(!held.is_finished());
        let waiting = "pgweir_pool_waiting_clients{database=\"test1\",user=\"app\",reason=\"no_primary\"}";
        eventually("the wait has its reason", || async { metrics(&proxy).await.get(waiting) == Some(&1.0) }).await;
        assert_eq!(metrics(&proxy).await[FAILOVERS], 0.0);
        standby.promote().expect("it takes over");
        assert_eq!(soon("it is served", held).await.expect("no panic"), standby.port().to_string());
        assert_eq!(metrics(&proxy).await[FAILOVERS], 1.0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_primary_is_suspect_then_down_and_comes_back_fenced_then_as_a_standby() {
        let (room, mut primary, mut standby) = pair("it-returns");
        let ports = [primary.port(), standby.port()];
        let (_backends, cluster) = watched(room.password(), &list(&ports));
        until(&cluster, 1, Ok(())).await;
        let seen = record(&cluster);
        primary.stop(Stop::Kill);
        until_roles(&cluster, [Role::Down, Role::Standby]).await;
        assert_eq!(cluster.serving(), Serving::Nobody);
        assert_eq!(seen.lock().first(), Some(&vec![Role::Suspect, Role::Standby]));
        standby.promote().expect("it takes over");
        until_roles(&cluster, [Role::Down, Role::Primary]).await;
        primary.start().expect("it starts and believes itself to be primary");
        until_roles(&cluster, [Role::Fenced(Fence::Stale), Role::Primary]).await;
        assert_eq!(cluster.serving(), Serving::One(1));

        drop(primary);
        until_roles(&cluster, [Role::Down, Role::Primary]).await;
        let _again = room.standby(&standby, ports[0], "back").expect("a copy of the new primary");
        until_roles(&cluster, [Role::Standby, Role::Primary]).await;
        until(&cluster, 0, Ok(())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_restart_on_the_same_timeline_is_waited_for() {
        let (room, mut primary, standby) = pair("it-same-timeline");
        let proxy = before(&room, [&primary, &standby]).await;
        let client = proxy.app().await;
        for stop in [Stop::Fast, Stop::Kill] {
            assert_eq!(value(&client, PORT).await, primary.port().to_string());
            primary.stop(stop);
            primary.start().expect("it starts again");
        }
        assert_eq!(value(&client, PORT).await, primary.port().to_string());
        assert!(!proxy.log().contains("fenced"), "{}", proxy.log());
    }

    fn postmaster(server: &Demo) -> Pid {
        let text = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).expect("it runs");
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a pid");
        Pid::from_raw(pid).expect("not 0")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_postmaster_that_hangs_shows_at_new_connections_only() {
        let (room, primary, standby) = pair("it-hangs");
        let (_backends, cluster) = watched(room.password(), &list(&[primary.port(), standby.port()]));
        until(&cluster, 1, Ok(())).await;
        let pid = postmaster(&primary);
        kill_process(pid, Signal::STOP).expect("our own");
        tokio::time::sleep(MOMENT).await;
        let before = roles(&cluster);
        // A dial that had no answer.
        cluster.suspect(0);
        let mut changes = cluster.subscribe();
        let lost = changes.wait_for(|topology| topology.nodes[0].role == Role::Down);
        let lost = tokio::time::timeout(DEADLINE, lost).await.is_ok();
        kill_process(pid, Signal::CONT).expect("our own");
        assert_eq!((before, lost), (vec![Role::Primary, Role::Standby], true));
        until_roles(&cluster, [Role::Primary, Role::Standby]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_suspicion_that_is_wrong_costs_nothing() {
        let (room, primary, standby) = pair("it-suspicion");
        let (_backends, cluster) = watched(room.password(), &list(&[primary.port(), standby.port()]));
        until(&cluster, 1, Ok(())).await;
        let seen = record(&cluster);
        for _ in 0..20 {
            (0..3).for_each(|node| cluster.suspect(node));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(seen.lock().is_empty(), "{:?}", seen.lock());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_timeline_that_is_given_up_can_be_forgotten() {
        let (room, primary, mut standby) = pair("it-forgets");
        let path = std::env::temp_dir().join(format!("pgweir-it-forget-{}", std::process::id()));
        let databases = format!("[databases.test1]\n{}\n", list(&[primary.port(), standby.port()]));
        let backends = Backends::new(ground(room.password(), &databases));
        backends.keep_state_in(&path).expect("a sound file or none");
        let cluster = cluster(&backends, "test1");
        until(&cluster, 1, Ok(())).await;
        standby.promote().expect("it takes over");
        until_roles(&cluster, [Role::Fenced(Fence::Stale), Role::Primary]).await;
        standby.stop(Stop::Kill);
        until_roles(&cluster, [Role::Fenced(Fence::Stale), Role::Down]).await;
        cluster.forget();
        until_roles(&cluster, [Role::Primary, Role::Down]).await;
        assert_eq!(cluster.serving(), Serving::One(0));
        let is_saved = || async { std::fs::read_to_string(&path).is_ok_and(|text| text.contains("\t1\t")) };
        eventually("the lower timeline is written", is_saved).await;
        // And what was forgotten wins again when it comes back.
        standby.start().expect("it starts");
        until_roles(&cluster, [Role::Fenced(Fence::Stale), Role::Primary]).await;
        std::fs::remove_file(&path).expect("removed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_process_remembers_the_highest_timeline() {
        let (room, mut primary, mut standby) = pair("it-remembers");
        let path = std::env::temp_dir().join(format!("pgweir-it-state-{}", std::process::id()));
        let databases = format!("[databases.test1]\n{}\n", list(&[primary.port(), standby.port()]));
        let watch = || {
            let backends = Backends::new(ground(room.password(), &databases));
            backends.keep_state_in(&path).expect("a sound file or none");
            let cluster = cluster(&backends, "test1");
            (backends, cluster)
        };
        let first = watch();
        until(&first.1, 1, Ok(())).await;
        standby.promote().expect("it takes over");
        until_roles(&first.1, [Role::Fenced(Fence::Stale), Role::Primary]).await;
        let is_saved = || async { std::fs::read_to_string(&path).is_ok_and(|text| text.contains("\t2\t")) };
        eventually("it is written", is_saved).await;
        first.1.retire();
        drop(first);
        standby.stop(Stop::Kill);
        let (_backends, cluster) = watch();
        until_roles(&cluster, [Role::Fenced(Fence::Stale), Role::Down]).await;
        assert_eq!((cluster.serving(), cluster.fit(0, ANY_LAG).is_err()), (Serving::Nobody, true));
        primary.stop(Stop::Immediate);
        std::fs::remove_file(&path).expect("removed");
    }
}
