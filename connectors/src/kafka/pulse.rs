//! Whether a client that gives nothing still knows a broker.
//!
//! Where a cluster answers with topics and without brokers, as a cluster of one does for a moment after it was frozen
//! or started, librdkafka (2.12.1; its issue 5301) strikes all brokers off, and may cancel the timer by which it would
//! begin again: it then says once that all brokers are down, and nothing ever after. Whoever only waits waits for ever.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::fault::{self, KafkaFault};

/// Without a word for so long a client is asked whether it reaches anybody.
const QUIET: Duration = Duration::from_secs(10);

/// How long a client has been waited for.
#[derive(Default)]
pub(super) struct Pulse {
    quiet: Duration,
}

impl Pulse {
    /// It gave something.
    pub fn felt(&mut self) {
        self.quiet = Duration::ZERO;
    }

    /// It gave nothing for so long. Whether it is to be asked now.
    pub fn missed(&mut self, waited: Duration) -> bool {
        self.quiet += waited;
        let is_due = self.quiet >= QUIET;
        if is_due {
            self.felt();
        }
        is_due
    }

    /// It has trouble: it is asked when it next gives nothing.
    pub fn doubt(&mut self) {
        self.quiet = QUIET;
    }
}

/// How long a client is waited for that knows no broker yet, or none any more.
const ASKING: Duration = Duration::from_secs(3);

/// Asks any broker for a topic.
///
/// # Errors
/// `Away` where the client knows no broker that is up. One that is up and does not answer is another matter, and
/// whatever there is to say of the topic, whoever asks for it is told.
pub(super) fn reaches_a_broker<C: ClientContext>(
    client: &Client<C>,
    zone: &str,
    topic: &str,
) -> Result<(), KafkaFault> {
    match client.fetch_metadata(Some(topic), ASKING) {
        Err(error) if fault::code_of(&error) == Some(RDKafkaErrorCode::BrokerTransportFailure) => {
            Err(KafkaFault::of(zone, "asking for a broker", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_nothing_for_long_is_asked_and_then_left_for_as_long() {
        let mut pulse = Pulse::default();
        let second = Duration::from_secs(1);
        let asked =
            |pulse: &mut Pulse, seconds| (0..seconds).filter(|_| pulse.missed(second)).count();
        assert_eq!((asked(&mut pulse, 9), asked(&mut pulse, 1), asked(&mut pulse, 9)), (0, 1, 0));
        pulse.felt();
        assert_eq!((asked(&mut pulse, 9), asked(&mut pulse, 1)), (0, 1));
        pulse.doubt();
        assert!(pulse.missed(Duration::ZERO) && !pulse.missed(Duration::ZERO));
    }
}
