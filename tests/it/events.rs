//! Everything that can befall a server, under clients that write and read in every mode: what was acknowledged is there,
//! nothing is there twice, nobody hangs, and who gets an error gets the right one.

mod room {
    use std::time::Instant;

    use crate::drill::event::Event;
    use crate::drill::field::Field;
    use crate::drill::load::{Load, Mode};
    use crate::drill::tally::Who;
    use crate::support::reads::Told;
    use crate::support::servers::bin15;
    use crate::support::wire::say;
    use crate::support::*;

    async fn drill(name: &str, events: &[Event]) {
        let mut field = Field::open(name, &bin15()).await;
        let password = field.room().password().to_owned();
        let probe = format!("probe_user = 'pgweir_probe'\nprobe_password = '{password}'");
        let [one, other] = [&field.links[0], &field.links[1]].map(|link| format!("127.0.0.1:{}", link.port));
        let setup = Setup::before(field.links[0].port, &password).global(&probe);
        let proxy = setup.database("test1", &format!("servers = ['{one}', '{other}']")).start().await;
        let mut load = Load::start(&field.config(proxy.port), &Mode::ALL).await;
        let parameters = [("user", "app"), ("database", "test1"), ("options", "-c pgweir.explain=on")];
        let mut told = Told(Wire::login_with(&proxy, say::V3_0, &parameters).await);
        for event in events {
            // Only what is proven to read runs again, for which the catalog must have been read.
            let begun = Instant::now();
            while told.query("SELECT count(*) FROM counts").await.place.contains("catalog") {
                assert!(begun.elapsed() < DEADLINE, "the catalog is not read");
                tokio::time::sleep(MOMENT).await;
            }
            let outcome = event.run(&mut field, &mut load, &|_| {}).await;
            let what = event.name();
            assert_eq!(outcome.faults, Vec::<String>::new(), "{what}");
            let (writer, reader, idle) = (Who::Writer, Who::Reader, Who::Idle);
            let tally = &outcome.tally;
            assert_eq!((tally.codes(reader), tally.codes(idle)), ("none".to_owned(), "none".to_owned()), "{what}");
            let codes = tally.codes(writer);
            if !event.touches_the_primary() {
                assert_eq!(codes, "none", "{what}");
            }
            let told = tally.errors.iter().filter(|((who, _), _)| *who == writer);
            let (mut count, mut sound) = (0, true);
            told.for_each(|((_, code), n)| {
                count += n;
                sound &= code == "40001" || code == "08007";
            });
            // Only what was under way: one statement of each.
            assert!(sound && count <= load.writers(), "{what}: {codes}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_primary_that_stops() {
        drill("it-drill-stops", &[Event::FastStop, Event::ImmediateStop, Event::KillPostmaster]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_primary_that_hangs() {
        drill("it-drill-hangs", &[Event::FreezeAll, Event::FreezePostmaster]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_primary_that_lives_on() {
        drill("it-drill-lives", &[Event::Partition, Event::SplitBrain]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_primary_that_comes_back_and_a_standby_that_fails() {
        let events = [Event::KillBackend, Event::BothDown, Event::StandbyLost, Event::ReplayPaused];
        drill("it-drill-returns", &events).await;
    }
}
