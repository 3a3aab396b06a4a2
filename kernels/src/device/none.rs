//! A build without a GPU: there is none to open.

use std::time::Duration;

use super::{Adapter, Cause, Choice, Clock, Job, NoGpu};

pub(crate) enum Gpu {}

impl Gpu {
    pub(super) fn open(_choice: Choice) -> Result<Self, NoGpu> {
        Err(NoGpu::NotBuilt)
    }

    pub(super) fn adapter(&self) -> &Adapter {
        match *self {}
    }

    pub(super) fn provoke(&self, _cause: Option<Cause>) {
        match *self {}
    }

    pub(super) fn begin(&self, _clock: Option<Clock>) {
        match *self {}
    }

    pub(super) fn busy(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn run(&self, _job: &Job<'_>) -> Result<Vec<u32>, Cause> {
        match *self {}
    }
}
