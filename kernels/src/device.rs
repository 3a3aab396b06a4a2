//! Where a batch is computed: on a GPU, or by the twins on the processor.
//!
//! Whatever a GPU does wrong, the twin takes that batch: same bytes, and the caller is told why. What
//! a kernel needs of a GPU is here as plain data; [`vulkan`] alone names wgpu.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(not(feature = "gpu"))]
#[path = "device/none.rs"]
pub(crate) mod vulkan;
#[cfg(feature = "gpu")]
pub(crate) mod vulkan;

pub(crate) use vulkan::Gpu;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A GPU of hardware where there is one, else the processor.
    Auto,
    /// Any Vulkan device, one of software too.
    Gpu,
    Cpu,
}

/// What is computed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    pub name: String,
    /// The interface, `vulkan`.
    pub backend: String,
    pub driver: String,
    /// Vulkan executed by the processor.
    pub is_software: bool,
}

/// Why there is no GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    #[error("this build has no GPU in it: build with `--features gpu`")]
    NotBuilt,
    #[error("no Vulkan device was found: install its driver (Debian: mesa-vulkan-drivers)")]
    NotFound,
    #[error("only a Vulkan device of software was found: choose `device: gpu` to use it")]
    SoftwareOnly,
    /// In the words of the driver.
    #[error("the Vulkan device does not open: {0}")]
    Refused(String),
}

/// Why the twin took a batch that was to run on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("device_lost")]
    DeviceLost,
    #[error("out_of_memory")]
    OutOfMemory,
    #[error("validation")]
    Validation,
    #[error("internal")]
    Internal,
    #[error("timeout")]
    Timeout,
    /// What came back is not what the twin makes of the same.
    #[error("differs")]
    Differs,
}

/// Where a batch was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Cpu,
    Gpu,
    /// A GPU was to, and did not. Say so where people look.
    CpuInstead(Cause),
}

/// A result, and where it comes from. The value does not hang on where.
#[derive(Clone, PartialEq, Eq)]
pub struct Ran<T> {
    pub value: T,
    pub on: On,
}

impl<T> Ran<T> {
    pub(crate) fn map<U>(self, made: impl FnOnce(T) -> U) -> Ran<U> {
        Ran { value: made(self.value), on: self.on }
    }
}

/// Times in a row that a GPU is opened anew after it was lost; beyond that it counts as gone.
const OPENED_ANEW_MAX: u32 = 3;

/// A GPU or none. Threads take turns at it.
pub struct Device {
    adapter: Option<Adapter>,
    without_gpu: Option<NoGpu>,
    slot: Option<Mutex<Slot>>,
}

struct Slot {
    /// None after it was lost.
    gpu: Option<Gpu>,
    choice: Choice,
    lost_in_a_row: u32,
    provoked: Option<Cause>,
    clock: Option<Clock>,
    busy: Duration,
}

/// Since whenever: nothing here reads a clock of its own.
pub type Clock = fn() -> Duration;

impl Device {
    /// # Errors
    /// A GPU was asked for, and there is none; never for the two others.
    pub fn open(choice: Choice) -> Result<Self, NoGpu> {
        if choice == Choice::Cpu {
            return Ok(Self::cpu());
        }
        match Gpu::open(choice) {
            Ok(gpu) => Ok(Self {
                adapter: Some(gpu.adapter().clone()),
                without_gpu: None,
                slot: Some(Mutex::new(Slot {
                    gpu: Some(gpu),
                    choice,
                    lost_in_a_row: 0,
                    provoked: None,
                    clock: None,
                    busy: Duration::ZERO,
                })),
            }),
            Err(why) if choice == Choice::Auto => {
                Ok(Self { without_gpu: Some(why), ..Self::cpu() })
            }
            Err(why) => Err(why),
        }
    }

    pub fn cpu() -> Self {
        Self { adapter: None, without_gpu: None, slot: None }
    }

    /// With the clock by which [`Self::busy`] says how long the GPU was used.
    #[must_use]
    pub fn timed(self, clock: Clock) -> Self {
        if let Some(slot) = &self.slot {
            slot.lock().unwrap_or_else(PoisonError::into_inner).clock = Some(clock);
        }
        self
    }

    /// How long jobs were on the GPU since this was asked last, what failed there too: nothing without one, and
    /// nothing of what the twins do.
    pub fn busy(&self) -> Duration {
        let Some(slot) = &self.slot else { return Duration::ZERO };
        std::mem::take(&mut slot.lock().unwrap_or_else(PoisonError::into_inner).busy)
    }

    /// What batches run on, unless it is the processor.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// Why `auto` has chosen the processor.
    pub fn without_gpu(&self) -> Option<&NoGpu> {
        self.without_gpu.as_ref()
    }

    /// For tests, and in no release build: the next batch meets this. The device is really destroyed,
    /// really asked for what it refuses, or not waited for; memory is said to be out, and a bit in
    /// the middle of the result is turned.
    #[cfg(any(test, debug_assertions))]
    pub fn provoke(&self, cause: Cause) {
        if let Some(slot) = &self.slot {
            slot.lock().unwrap_or_else(PoisonError::into_inner).provoked = Some(cause);
        }
    }

    /// One batch: on the GPU if there is one, and by the twin if that fails.
    pub(crate) fn batch<T>(
        &self,
        on_gpu: impl FnOnce(&Gpu) -> Result<T, Cause>,
        twin: impl FnOnce() -> T,
    ) -> Ran<T> {
        let Some(slot) = &self.slot else { return Ran { value: twin(), on: On::Cpu } };
        // Let go of before the twin begins.
        let ran = slot.lock().unwrap_or_else(PoisonError::into_inner).run(on_gpu);
        match ran {
            Ok(value) => Ran { value, on: On::Gpu },
            Err(cause) => Ran { value: twin(), on: On::CpuInstead(cause) },
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

impl Slot {
    fn run<T>(&mut self, on_gpu: impl FnOnce(&Gpu) -> Result<T, Cause>) -> Result<T, Cause> {
        if self.gpu.is_none() && self.lost_in_a_row <= OPENED_ANEW_MAX {
            self.gpu = Gpu::open(self.choice).ok();
        }
        let Some(gpu) = &self.gpu else {
            self.lost_in_a_row = self.lost_in_a_row.saturating_add(1);
            return Err(Cause::DeviceLost);
        };
        gpu.provoke(self.provoked.take());
        gpu.begin(self.clock);
        let ran = on_gpu(gpu);
        self.busy += gpu.busy();
        match &ran {
            Ok(_) => self.lost_in_a_row = 0,
            // What it holds is not known, so it is opened anew for the next batch.
            Err(Cause::DeviceLost | Cause::Timeout | Cause::Differs) => {
                self.gpu = None;
                self.lost_in_a_row += 1;
            }
            Err(Cause::OutOfMemory | Cause::Validation | Cause::Internal) => {}
        }
        ran
    }
}

/// A shader as it is handed to a GPU. Binding 0 is the parameters, then come the inputs, then a
/// buffer between steps where there is one, then the output.
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "nothing there reads it"))]
pub(crate) struct Shader {
    pub name: &'static str,
    /// One after the other they are the shader.
    pub sources: &'static [&'static str],
    pub has_between: bool,
}

#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "nothing there reads it"))]
impl Shader {
    pub(crate) fn source(&self) -> String {
        self.sources.join("\n")
    }
}

/// What a GPU does for a batch: its steps in order, on the same buffers, and the output at the end.
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "nothing there reads it"))]
pub(crate) struct Job<'a> {
    pub shader: &'a Shader,
    /// The longest that each input becomes.
    pub input_words: Vec<usize>,
    pub between_words: usize,
    pub output_words: usize,
    pub steps: Vec<Step<'a>>,
}

#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "nothing there reads it"))]
pub(crate) struct Step<'a> {
    /// There may be a key in them.
    pub params: zeroize::Zeroizing<Vec<u32>>,
    /// One without words leaves what the step before had.
    pub inputs: Vec<&'a [u32]>,
    /// Entry points in order, each with its workgroups.
    pub entries: Vec<(&'static str, usize)>,
}

/// Invocations of a workgroup, in every kernel.
pub(crate) const LANES: usize = 256;

/// Declares the parameters of a kernel: its fields and their words, in the order of the shader.
macro_rules! params {
    ($name:ident { $($field:ident: $words:literal),+ $(,)? }) => {
        /// As the shader declares it; a test compares names and offsets.
        #[repr(C)]
        pub(crate) struct $name {
            $(pub $field: [u32; $words]),+
        }

        impl $name {
            #[cfg(all(test, feature = "gpu"))]
            pub(crate) const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),+];

            pub(crate) fn words(&self) -> zeroize::Zeroizing<Vec<u32>> {
                let mut words = Vec::with_capacity(size_of::<Self>() / 4);
                $(words.extend(self.$field);)+
                words.into()
            }
        }
    };
}
pub(crate) use params;

/// A number of 64 bits as a shader has it, low word first.
pub(crate) fn halves(value: i64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Numbers of 64 bits out of words.
pub(crate) fn joined(words: &[u32]) -> Vec<i64> {
    let pairs = words.as_chunks::<2>().0.iter();
    pairs.map(|[low, high]| i64::from(*high) << 32 | i64::from(*low)).collect()
}

/// Numbers of 64 bits as words; both sides are little-endian.
pub(crate) fn words_of(values: &[i64]) -> &[u32] {
    const { assert!(cfg!(target_endian = "little"), "shaders are little-endian") };
    bytemuck::cast_slice(values)
}
