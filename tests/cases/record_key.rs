//! What makes the record key stays as it is for the topic's life: rows outside lie under their keys.

use std::time::Duration;

use crate::cases::swap::hears;
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::place::{Place, Setup, last_lines};
use crate::rig;

#[test]
fn another_record_key_is_refused_and_the_stream_goes_on_under_the_old_one() {
    let _turn = rig::exclusive();
    let (source, target) = rig::clusters();
    let setup = Setup::customers("record-key", source.cluster(), target.cluster());
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, 1, &[]);
    let mut place = Place::new(setup);
    let file = place.pipeline_file();
    let mut events = Customers::new(51, 1, true);
    let mut due = 0;
    let mut more = |place: &Place, due: &mut usize| {
        let load = Load::new(1).customers(&mut events, 60, Format::Json, &Plants::default());
        load.send(&source, &topic);
        *due += load.expected.len();
        let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
        tail.wait_for(*due, Duration::from_secs(30))
    };
    let sign = |place: &Place| {
        let proposed =
            place.verb(&["release", "propose", &file, "--author", "cleo"]).fine("propose");
        let mut shown = Vec::new();
        for approver in ["approvers/ada", "approvers/bo"] {
            shown.push(place.verb(&["release", "sign", &file, "--key", approver]).fine("sign").out);
        }
        let refused = proposed.out.contains("`run` refuses it where something crossed under the ");
        assert!(shown.iter().all(|out| out.contains("difference to release ")), "{shown:?}");
        assert!(shown.iter().all(|out| out.contains("[keys]") == refused), "{shown:?}");
        refused
    };
    let mut running = place.run();
    assert!(more(&place, &mut due), "{}", last_lines(&running.said(), 20));

    // Approved by all whom it takes, and still no tombstone would reach what is outside.
    let old = place.setup.domains.clone();
    let customer = "customer: { normalize: none, form: base32, version: 1";
    for other in [
        "customer: { normalize: none, form: base32, version: 2",
        "customer: { normalize: none, form: base62, version: 1",
        "customer: { algorithm: aes_cmac, normalize: none, form: base32, version: 1",
    ] {
        place.setup.domains = old.replacen(customer, other, 1);
        assert_ne!(place.setup.domains, old);
        place.write_files();
        assert!(sign(&place), "it is said when it is proposed");
        hears(&running, "\"code\":\"record_key\"");
        assert!(more(&place, &mut due), "it goes on: {}", last_lines(&running.said(), 20));
        running.stop();
        let mut again = place.run();
        assert_eq!(again.wait(Duration::from_secs(20)), Some(1), "{}", again.said());
        let said = again.said();
        assert!(said.contains("the record key was made as") && said.contains("next: "), "{said}");
        place.setup.domains = old.clone();
        place.write_files();
        sign(&place);
        running = place.run();
        assert!(more(&place, &mut due), "{}", last_lines(&running.said(), 20));
    }

    // The control: a domain of the row alone may change.
    place.setup.domains = old.replacen("form: decimal", "form: base62", 1);
    assert_ne!(place.setup.domains, old);
    place.write_files();
    assert!(!sign(&place));
    hears(&running, "\"event\":\"swapped\"");
    assert!(more(&place, &mut due), "{}", last_lines(&running.said(), 20));
    running.stop();
}
