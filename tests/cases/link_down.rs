//! The link to the target is down: nothing answers and nothing is refused, as when packets are lost. What comes
//! meanwhile waits in the source; once the link is up again all of it crosses, once, and faster than more comes.
//!
//! `DOUANE_LINK_DOWN_S` seconds (CI: 60), `DOUANE_LINK_RATE` records a second (400) all the while.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

const FIRST_COMMIT_MAX: Duration = Duration::from_secs(15);
const GROWTH_MIB_MAX: u64 = 64;
/// How much faster than records come what has waited must cross.
const CATCH_UP_MIN: f64 = 3.0;

/// Passes bytes on while it is up. What is on its way when it goes down arrives when it is up again.
#[derive(Clone, Default)]
struct Cable {
    is_down: Arc<AtomicBool>,
    /// Bytes a second that each connection takes towards the broker; 0: all that comes.
    slow: Arc<AtomicU64>,
}

impl Cable {
    fn start(port: u16, upstream: u16) -> Self {
        let cable = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the cable's port");
        let shared = cable.clone();
        std::thread::spawn(move || {
            // Whoever comes while it is down waits at the door, however many they become.
            for client in listener.incoming().flatten() {
                shared.until_up();
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a copy");
                let (there, back) = ((copy(&client), copy(&server)), (server, client));
                for ((from, to), is_there) in [(there, true), (back, false)] {
                    let cable = shared.clone();
                    std::thread::spawn(move || cable.carry(from, to, is_there));
                }
            }
        });
        cable
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_there: bool) {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            self.until_up();
            let slow = self.slow.load(Ordering::SeqCst);
            if is_there && slow > 0 {
                std::thread::sleep(Duration::from_millis(count as u64 * 1_000 / slow));
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        self.until_up();
        let _ = to.shutdown(Shutdown::Both);
    }

    fn until_up(&self) {
        while self.is_down.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

#[test]
fn what_comes_while_the_link_is_down_crosses_once_when_it_is_up() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("link_down", "all clients of a development broker are behind its proxy") {
        return;
    }
    let down = Duration::from_secs(say::count("DOUANE_LINK_DOWN_S", 60) as u64);
    let rate = say::count("DOUANE_LINK_RATE", 400);
    let (source, _) = rig::clusters();
    let broker = rig::Broker::start_proxied("link");
    let (advertised, inner) = broker.proxied();
    let cable = Cable::start(advertised, inner);
    let mut setup = Setup::customers("link", source.cluster(), broker.cluster());
    setup.target_bootstrap = format!("127.0.0.1:{advertised}");
    let (source, topic) = (setup.source.clone(), setup.topics[0].clone());
    source.create(&topic, 4, &[]);
    let place = Place::new(setup);
    // Enough until what waited has crossed at the least rate that is asked, and some time around it.
    let records = rate * (down.as_secs() as usize * 2 + 60);
    let mut events = Customers::new(61, 1, true);
    // As much as waits later, so that it has been at full speed before its memory is looked at.
    let before = rate * down.as_secs().min(60) as usize;
    let before = Load::new(4).customers(&mut events, before, Format::Json, &Plants::default());
    before.send(&source, &topic);
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let said = |running: &crate::place::Running| last_lines(&running.said(), 20);
    let first = before.expected.len();
    assert!(tail.wait_for(first, Duration::from_secs(60)), "{}", said(&running));
    let load = Load::new(4).customers(&mut events, records, Format::Json, &Plants::default());
    let load = Arc::new(load);
    let sending = load.send_slowly(&source, &topic, rate as u64);
    assert!(tail.wait_for(first + 2 * rate, Duration::from_secs(40)), "{}", said(&running));

    cable.set_down(true);
    // What had been sent before may still be seen, for as long as any of it comes. What was open is aborted, which nobody
    // sees.
    while tail.poll(Duration::from_secs(1)) > 0 {
        assert!(tail.records.len() < first + records, "the link is up: {}", said(&running));
    }
    let (_, peak_before) = running.used();
    let crossed_before = tail.records.len();
    std::thread::sleep(down);
    tail.poll(Duration::from_millis(500));
    let crossed = tail.records.len();
    assert_eq!(crossed, crossed_before, "the control: nothing crosses a link that is down");
    assert!(running.ended().is_none(), "{}", said(&running));

    let sent_before = sending.sent();
    let up = Instant::now();
    cable.set_down(false);
    let crosses = tail.wait_for(crossed_before + 1, Duration::from_secs(60));
    let first = up.elapsed();
    assert!(crosses, "nothing crossed\n{}", said(&running));
    say::figure("link_down.for", down.as_secs(), "s");
    say::figure("link_down.first_commit", first.as_millis(), "ms after the link was up");
    let wanted = before.expected.len() + load.due(sent_before);
    assert!(tail.wait_for(wanted, Duration::from_secs(60) + down), "{}", said(&running));
    // From the first commit on: what comes before it is the time above.
    let took = up.elapsed().saturating_sub(first).as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss, reason = "a ratio to be read")]
    let times = (wanted - crossed_before) as f64 / took / rate as f64;
    let (_, peak) = running.used();
    say::figure("link_down.waited", wanted - crossed_before, "records");
    say::figure("link_down.caught_up", format!("{times:.1}"), "times the rate that they came at");
    say::figure("link_down.growth", peak - peak_before, "MiB");

    let mut load = sending.enough(load);
    load.expected.splice(0..0, before.expected);
    finish(&place, &load, &mut running);
    running.stop();
    let actual = place.setup.target.read(&place.data_topic(), Isolation::Committed);
    let verdict = judge(&load.expected, &actual, serial_in_json);
    say::note(format!("{verdict:?}"));
    assert!(verdict.clean(), "{verdict:?}");
    assert!(first <= FIRST_COMMIT_MAX, "the first commit came after {first:?}");
    assert!(times >= CATCH_UP_MIN, "{times:.1} times the rate that records come at");
    assert!(peak - peak_before <= GROWTH_MIB_MAX, "{peak_before} MiB, then {peak} MiB");
    check_the_rest(&place, &load);
}

/// More waits than a slow link takes within a transaction's time: it crosses in smaller ones.
#[test]
fn a_backlog_crosses_a_slow_link() {
    let _turn = rig::exclusive();
    if !rig::is_kafka("a slow link", "all clients of a development broker are behind its proxy") {
        return;
    }
    let (source, _) = rig::clusters();
    let broker = rig::Broker::start_proxied("slow");
    let (advertised, inner) = broker.proxied();
    let cable = Cable::start(advertised, inner);
    let mut setup = Setup::customers("slow", source.cluster(), broker.cluster());
    setup.target_bootstrap = format!("127.0.0.1:{advertised}");
    setup.tasks = 1;
    setup.source.create(&setup.topics[0], 1, &[]);
    let place = Place::new(setup);
    let mut events = Customers::new(62, 1, true);
    let load = Load::new(1).customers(&mut events, 2_000, Format::Json, &Plants::default());
    load.send(&place.setup.source, &place.setup.topics[0]);
    cable.slow.store(32 << 10, Ordering::SeqCst);
    let since = Instant::now();
    let mut running = place.run();
    let mut tail = place.setup.target.tail(&place.data_topic(), Isolation::Committed);
    let crosses = tail.wait_for(load.expected.len(), Duration::from_secs(180));
    say::figure("slow_link.crossed", since.elapsed().as_secs(), "s");
    assert!(crosses, "{} crossed\n{}", tail.records.len(), last_lines(&running.said(), 30));
    assert!(running.said().contains("smaller_turns"), "the control: the link takes long enough");
    cable.slow.store(0, Ordering::SeqCst);
    running.stop();
    let verdict = judge(&load.expected, &tail.records, serial_in_json);
    assert!(verdict.clean(), "{verdict:?}");
}
