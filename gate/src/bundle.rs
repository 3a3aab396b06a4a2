//! Bundles of the ledger's checkpoints: they hold no row, and leave like everything else through here.

use douane_ledger::bundle::{self, Bundle};

use crate::GateFault;
use crate::border::Gate;
use crate::stamp::OutRecord;

/// A signed bundle, as the manifest topic takes it. Only [`Gate::bundle`] makes one: its fields are
/// private and it has no constructor.
///
/// ```compile_fail,E0451
/// let forged = douane_gate::Bundled {
///     topic: String::new(),
///     key: String::new(),
///     value: b"plain".to_vec(),
///     timestamp_ms: 0,
/// };
/// ```
pub struct Bundled {
    topic: String,
    key: String,
    value: Vec<u8>,
    timestamp_ms: i64,
}

impl Bundled {
    /// The record. Its time is the tick's: when it was sent would say how busy the process is.
    pub fn record(&self) -> OutRecord<'_> {
        OutRecord {
            topic: &self.topic,
            partition: 0,
            key: Some(self.key.as_bytes()),
            value: Some(&self.value),
            timestamp_ms: self.timestamp_ms,
            headers: &[],
        }
    }
}

impl Gate {
    /// Signs a bundle of this release's pipeline and topic.
    ///
    /// # Errors
    /// Another pipeline's, one that contradicts itself, one that the target would not take.
    pub fn bundle(&self, bundle: &Bundle) -> Result<Bundled, GateFault> {
        if bundle.pipeline != self.release.pipeline || bundle.topic != self.target.topic {
            return Err(GateFault::ForeignBundle);
        }
        let value = bundle::sign(bundle, &self.keys.manifest)
            .map_err(|_| GateFault::Bundle("could not be signed"))?
            .to_bytes()
            .map_err(|_| GateFault::Bundle("could not be written"))?;
        if value.len() + 512 > self.target.record_bytes_max {
            return Err(GateFault::Bundle("is larger than a record may be"));
        }
        Ok(Bundled {
            topic: self.target.manifest_topic.clone(),
            key: bundle::record_key(bundle.number),
            value,
            timestamp_ms: i64::try_from(bundle.at_ms)
                .map_err(|_| GateFault::Bundle("has no time that a record may have"))?,
        })
    }
}
