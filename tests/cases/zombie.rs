//! Split brain: a process that was frozen, replaced and woken up can never write again.
//!
//! `DOUANE_ZOMBIES` rounds (CI: 20).

use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format, Random};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

#[test]
fn a_woken_zombie_writes_nothing() {
    let _turn = rig::exclusive();
    let rounds = say::count("DOUANE_ZOMBIES", 20);
    let (source, target) = rig::clusters();
    let setup = Setup::customers("zombie", source.cluster(), target.cluster());
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, 4, &[]);
    let place = Place::new(setup);
    let records = (rounds * 3000).max(20_000);
    let load = Load::new(4).customers(&mut Customers::new(5, 1, true), records, Format::Json, &Plants::default());
    let load = Arc::new(load);
    let mut sending = load.send_slowly(&source, &topic, 1200);
    let commits = place.commits();
    let mut random = Random::new(5);
    let (mut fenced, mut frozen) = (0, 0);
    let mut old = place.run();
    let mark = commits.mark();
    assert!(commits.wait_past(&mark, Duration::from_secs(30)).is_some(), "{}", last_lines(&old.said(), 20));
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.between(50, 400)));
        let freeze = round % 4 != 3;
        if freeze {
            old.freeze();
            frozen += 1;
        }
        let mark = commits.mark();
        let new = place.run();
        // in half of the rounds the new one commits already when the old one wakes up
        if round % 2 == 0 {
            let patience = Duration::from_secs(30);
            assert!(commits.wait_past(&mark, patience).is_some(), "{}", last_lines(&new.said(), 20));
        } else {
            std::thread::sleep(Duration::from_millis(random.between(20, 600)));
        }
        if freeze {
            old.thaw();
        }
        match old.wait(Duration::from_secs(30)) {
            Some(1) => fenced += 1,
            other => panic!("round {round}: the old instance ended with {other:?}\n{}", last_lines(&old.said(), 20)),
        }
        assert!(old.said().contains("fenced"), "round {round}: {}", last_lines(&old.said(), 10));
        old = new;
    }
    sending.wait();
    finish(&place, &load, &mut old);
    old.stop();
    say::figure("zombie.rounds", rounds, "rounds");
    say::figure("zombie.frozen", frozen, "rounds");
    say::figure("zombie.fenced", fenced, "old instances");
    let verdict = judge(&load.expected, &place.setup.target.read(&place.data_topic(), Isolation::Committed), serial_in_json);
    say::note(format!("{verdict:?}"));
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}
