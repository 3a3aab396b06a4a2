//! What a client says by the way: broken links, failed deliveries, resets; and how it ends.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::fault::{TOO_LARGE, code_of, describe, refusal};

/// Listens to one client: counts broken links, keeps what could not be delivered, and passes
/// librdkafka's lines on (they hold host names and ports, no records).
pub(crate) struct Watch {
    zone: String,
    breaks: AtomicU64,
    failures: Mutex<Failures>,
    reset: Mutex<String>,
}

/// Deliveries that failed since they were last taken.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    /// How many.
    pub count: u64,
    /// Number of the first one to be reported, and why.
    pub first: Option<(usize, RDKafkaErrorCode)>,
    /// Number and bytes of the largest record among those the broker found too large: a batch is
    /// refused as a whole, and the largest one is why.
    pub too_large: Option<(usize, usize)>,
    /// Number of the first record to be refused for its own sake but for its size, and why.
    pub refused: Option<(usize, &'static str)>,
    /// How many were refused like that: a batch may be refused whole, and then nobody says which
    /// of its records is why.
    pub refused_count: u64,
}

impl Watch {
    pub fn new(zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            breaks: AtomicU64::new(0),
            failures: Mutex::default(),
            reset: Mutex::default(),
        }
    }

    /// Lines heard so far that say a link broke or a request timed out.
    pub fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::SeqCst)
    }

    pub fn failures(&self) -> Failures {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget_failures(&self) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = Failures::default();
    }

    /// Why the last reset of an offset was asked for, in librdkafka's words.
    pub fn reset_reason(&self) -> String {
        self.reset.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a line tells of a link that may have carried a request.
///
/// Lines of the debug level are listened to only because others are kept back (see
/// `client::TRANSACTIONAL`); of those, a connection that never came about carried nothing.
fn tells_of_a_break(level: RDKafkaLogLevel, facility: &str, line: &str) -> bool {
    const NEVER_UP: &[&str] = &["in state CONNECT", "in state TRY_CONNECT", "in state INIT"];
    match facility {
        "REQTMOUT" => true,
        "FAIL" if matches!(level, RDKafkaLogLevel::Debug) => {
            !NEVER_UP.iter().any(|state| line.contains(state))
        }
        "FAIL" => true,
        _ => false,
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if tells_of_a_break(level, facility, line) {
            self.breaks.fetch_add(1, Ordering::SeqCst);
        }
        let to = match level {
            RDKafkaLogLevel::Debug => return,
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => log::Level::Debug,
            _ => log::Level::Warn,
        };
        log::log!(target: "douane::kafka", to, "{}: {facility}: {line}", self.zone);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if code_of(&error) == Some(RDKafkaErrorCode::AutoOffsetReset) {
            reason.clone_into(&mut self.reset.lock().unwrap_or_else(PoisonError::into_inner));
        }
        log::warn!(target: "douane::kafka", "{}: {}: {reason}", self.zone, describe(&error));
    }
}

impl ConsumerContext for Watch {}

impl ProducerContext for Watch {
    /// Number of the record within its transaction.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let Err((error, message)) = result else { return };
        let code = code_of(error).unwrap_or(RDKafkaErrorCode::Unknown);
        self.failed(number, code, message.payload_len() + message.key_len());
    }
}

impl Watch {
    /// Keeps that record `number` of so many bytes could not be delivered.
    pub(super) fn failed(&self, number: usize, code: RDKafkaErrorCode, bytes: usize) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count += 1;
        if failures.first.is_none_or(|(first, _)| number < first) {
            failures.first = Some((number, code));
        }
        match refusal(code) {
            #[expect(
                clippy::collapsible_match,
                reason = "as a guard it would fall to the next arm"
            )]
            Some(TOO_LARGE) => {
                if failures.too_large.is_none_or(|(_, largest)| largest < bytes) {
                    failures.too_large = Some((number, bytes));
                }
            }
            Some(why) => {
                failures.refused_count += 1;
                if failures.refused.is_none_or(|(first, _)| number < first) {
                    failures.refused = Some((number, why));
                }
            }
            None => {}
        }
    }
}

/// A client whose `Drop` may hang: it is dropped on a thread nobody waits for.
pub(crate) struct Detached<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Detached<T> {
    pub fn new(client: T) -> Self {
        Self(Some(client))
    }

    /// Drops the client and waits for it, at most so long. Whether it ended in time.
    pub fn close(mut self, at_most: Duration) -> bool {
        let Some(thread) = self.0.take().and_then(dropper) else { return false };
        let deadline = Instant::now() + at_most;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

fn dropper<T: Send + 'static>(client: T) -> Option<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client)).ok()
}

impl<T: Send + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Only `close` and `drop` take it out, and both end the value.
        #[expect(clippy::expect_used, reason = "unreachable: see above")]
        self.0.as_ref().expect("the client is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let _ = self.0.take().and_then(dropper);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn lines_of_broken_links_count_and_others_do_not() {
        use RDKafkaLogLevel as L;
        let watch = Watch::new("z");
        let up = "b:1/1: Disconnected (after 3ms in state UP)";
        let never_up = "b:1/1: Connect failed: Connection refused (after 0ms in state CONNECT)";
        for (level, facility, line, breaks) in [
            (L::Info, "FAIL", up, 1),
            (L::Error, "FAIL", never_up, 2),
            (L::Warning, "REQTMOUT", "Timed out 1 in-flight", 3),
            (L::Debug, "FAIL", up, 4),
            (L::Debug, "FAIL", never_up, 4),
            (L::Debug, "FAIL", "b:1/1: words that are new", 5),
            (L::Debug, "BRKMAIN", "in state UP", 5),
            (L::Warning, "CONFWARN", "FAIL", 5),
        ] {
            watch.log(level, facility, line);
            assert_eq!(watch.breaks(), breaks, "{facility} {line}");
        }
    }

    #[test]
    fn a_client_that_will_not_end_is_left() {
        struct Hangs(mpsc::Receiver<()>);
        impl Drop for Hangs {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let (end, hangs) = mpsc::channel();
        assert!(!Detached::new(Hangs(hangs)).close(Duration::from_millis(20)));
        drop(end);
        let (end, hangs) = mpsc::channel();
        drop(end);
        assert!(Detached::new(Hangs(hangs)).close(Duration::from_secs(20)));
    }
}
