//! Memory stays bounded while the target stands still: nothing is spooled, the source is the buffer.
//!
//! `DOUANE_FROZEN_S` seconds (CI: 20; the promise is for 60).

use std::sync::Arc;
use std::time::Duration;

use crate::cases::kill::{check_the_rest, finish};
use crate::cluster::Isolation;
use crate::customers::{Customers, Format};
use crate::feed::{Load, Plants};
use crate::oracle::{judge, serial_in_json};
use crate::pace::Instant;
use crate::place::{Place, Setup, last_lines};
use crate::rig;
use crate::say;

/// Peak resident memory allowed.
const PEAK_MIB_MAX: u64 = 256;

#[test]
fn memory_stays_bounded_while_the_target_stands_still() {
    let _turn = rig::exclusive();
    let frozen_s = say::count("DOUANE_FROZEN_S", 20);
    let (source, target) = rig::clusters();
    let setup = Setup::customers("memory", source.cluster(), target.cluster());
    setup.source.create(&setup.topics[0], 4, &[]);
    let place = Place::new(setup);
    let records = 60_000;
    let load = Load::new(4).customers(
        &mut Customers::new(41, 1, true),
        records,
        Format::Json,
        &Plants::default(),
    );
    let load = Arc::new(load);
    load.send(&place.setup.source, &place.setup.topics[0]);
    let commits = place.commits();
    let mark = commits.mark();
    let mut running = place.run();
    assert!(
        commits.wait_past(&mark, Duration::from_secs(30)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    // Taken while the target still answers: after the thaw all may have crossed before it is read.
    let mark = commits.mark();
    target.freeze();
    std::thread::sleep(Duration::from_secs(frozen_s as u64));
    let (_, while_frozen) = running.used();
    target.thaw();
    let since = Instant::now();
    // A broker that was frozen for longer than its session has no partitions until it is back in it.
    while place.setup.target.partitions(&place.data_topic()) == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "the thawed broker does not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        commits.wait_past(&mark, Duration::from_secs(60)).is_some(),
        "{}",
        last_lines(&running.said(), 20)
    );
    say::figure("memory.first_commit_after_the_thaw", since.elapsed().as_millis(), "ms");
    finish(&place, &load, &mut running);
    let (cpu, peak) = running.used();
    running.stop();
    say::figure("memory.frozen", frozen_s, "s");
    say::figure("memory.peak_while_frozen", while_frozen, "MiB");
    say::figure("memory.peak", peak, "MiB");
    say::figure("memory.cpu", cpu, "s");
    assert!(peak > 0 && peak <= PEAK_MIB_MAX, "peak {peak} MiB, allowed {PEAK_MIB_MAX}");
    let verdict = judge(
        &load.expected,
        &place.setup.target.read(&place.data_topic(), Isolation::Committed),
        serial_in_json,
    );
    assert!(verdict.clean(), "{verdict:?}");
    check_the_rest(&place, &load);
}
