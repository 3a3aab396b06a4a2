//! What the noise of a window is drawn on. The twin on the processor draws every sample too, so a GPU
//! that fails or errs changes no byte of a release; that it did is told, by a code and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use douane_kernels::alias_table::AliasTable;
use douane_kernels::noise::{self, NoiseFault};
use douane_kernels::{Cause, Choice, Device, On};
use serde::{Deserialize, Serialize};

use crate::config::{Pipeline, Place};
use crate::fault::RunFault;

/// See the module.
pub struct Drawing {
    device: Device,
    failed: Vec<Cause>,
}

/// A GPU that failed while a window was closed, and whose part the processor took. `status` shows it
/// until a window was drawn there whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// `device_lost`, `out_of_memory`, `validation`, `internal`, `timeout` or `differs`.
    pub code: String,
    pub adapter: String,
    /// RFC 3339, UTC.
    pub at: String,
}

impl Drawing {
    /// # Errors
    /// [`RunFault::Unreachable`]: a GPU is asked for, and there is none.
    pub fn open(choice: Choice) -> Result<Self, RunFault> {
        let device = Device::open(choice).map_err(|why| RunFault::Unreachable {
            what: "the GPU of `device: gpu`".to_owned(),
            why: why.to_string(),
        })?;
        Ok(Self { device: device.timed(since), failed: Vec::new() })
    }

    /// What it is, in words: its name, or the processor and why.
    pub fn words(&self) -> String {
        match (self.device.adapter(), self.device.without_gpu()) {
            (Some(adapter), _) => {
                let software = if adapter.is_software { ", software" } else { "" };
                format!("{}, {}, {}{software}", adapter.name, adapter.backend, adapter.driver)
            }
            (None, Some(why)) => format!("the processor: {why}"),
            (None, None) => "the processor, as douane.yaml says".to_owned(),
        }
    }

    /// Samples, as [`noise::twin`] draws them.
    pub fn draw(
        &mut self,
        key: &[u8; 32],
        table: &AliasTable,
        statistic: u32,
        first: u64,
        count: usize,
    ) -> Result<Vec<i32>, NoiseFault> {
        let ran = noise::run(&self.device, key, table, statistic, first, count)?;
        if let On::CpuInstead(cause) = ran.on
            && !self.failed.contains(&cause)
        {
            self.failed.push(cause);
        }
        Ok(ran.value)
    }

    /// How long the GPU was used since this was asked last; nothing where there is none.
    pub fn busy(&self) -> Duration {
        self.device.busy()
    }

    /// For tests: the next batch loses its device.
    #[cfg(debug_assertions)]
    pub fn lose(&self) {
        self.device.provoke(Cause::DeviceLost);
    }

    /// How the GPU failed since this was asked last; None where there is no GPU.
    pub fn failed(&mut self) -> Option<Vec<Failed>> {
        let adapter = self.device.adapter()?;
        let failed = self.failed.drain(..).map(|cause| Failed {
            code: cause.to_string(),
            adapter: adapter.name.clone(),
            at: jiff::Timestamp::now().to_string(),
        });
        Some(failed.collect())
    }
}

/// The clock by which the GPU's time is taken.
fn since() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

fn path(place: &Place, pipeline: &Pipeline) -> PathBuf {
    place.state.dir.join(format!("{}.device.json", pipeline.name))
}

/// Leaves for `status` how the last window fared. Nothing hangs on it: what cannot be written is
/// not.
pub fn leave(place: &Place, pipeline: &Pipeline, failed: Option<&Failed>) {
    let path = path(place, pipeline);
    let written = match failed.map(serde_json::to_vec) {
        Some(Ok(bytes)) => write(&path, &bytes),
        Some(Err(_)) => Ok(()),
        None => fs::remove_file(&path),
    };
    drop(written);
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("json.new");
    fs::write(&aside, bytes)?;
    fs::rename(aside, path)
}

/// What was left for `status`.
pub fn left(place: &Place, pipeline: &Pipeline) -> Option<Failed> {
    serde_json::from_slice(&fs::read(path(place, pipeline)).ok()?).ok()
}
