//! The one file that names wgpu: an adapter of Vulkan, and jobs on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use wgpu::{BufferUsages, ErrorFilter};

use super::{Adapter, Cause, Choice, Clock, Job, NoGpu, Shader};

#[cfg(test)]
pub(crate) use wgpu::naga;

/// Longest wait for one step.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Steps that are under way at once: each holds its inputs until it is done.
const STEPS_UNDER_WAY: usize = 2;

/// An open device. It is used by one thread at a time.
pub(crate) struct Gpu {
    adapter: Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    lost: Arc<AtomicBool>,
    pipelines: RefCell<HashMap<(&'static str, &'static str), wgpu::ComputePipeline>>,
    provoked: Cell<Option<Cause>>,
    clock: Cell<Option<Clock>>,
    busy: Cell<Duration>,
}

impl Gpu {
    pub(super) fn open(choice: Choice) -> Result<Self, NoGpu> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::VULKAN;
        // No labels, no validation layers, nothing captured: buffers hold keys.
        descriptor.flags = wgpu::InstanceFlags::empty();
        let instance = wgpu::Instance::new(descriptor);
        let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let adapter = chosen(found, choice)?;
        // The least that WebGPU promises of small devices is enough.
        let wanted = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::downlevel_defaults(),
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = pollster::block_on(adapter.request_device(&wanted));
        let (device, queue) = opened.map_err(|error| NoGpu::Refused(error.to_string()))?;
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, _| flag.store(true, Ordering::Release));
        // Outside of a job's scopes nothing is asked of it; without a handler wgpu would panic.
        let flag = Arc::clone(&lost);
        device.on_uncaptured_error(Arc::new(move |_| flag.store(true, Ordering::Release)));
        let info = adapter.get_info();
        let adapter = Adapter {
            name: info.name,
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
        };
        let (pipelines, provoked) = (RefCell::default(), Cell::new(None));
        let (clock, busy) = (Cell::new(None), Cell::default());
        Ok(Self { adapter, device, queue, lost, pipelines, provoked, clock, busy })
    }

    pub(super) fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    pub(super) fn provoke(&self, cause: Option<Cause>) {
        self.provoked.set(cause);
    }

    /// A batch comes, whose jobs are timed by this clock.
    pub(super) fn begin(&self, clock: Option<Clock>) {
        self.clock.set(clock);
    }

    /// How long jobs took since this was asked last.
    pub(super) fn busy(&self) -> Duration {
        self.busy.take()
    }

    /// # Errors
    /// Whatever went wrong: nothing of the output is used then.
    pub(crate) fn run(&self, job: &Job<'_>) -> Result<Vec<u32>, Cause> {
        let Some(clock) = self.clock.get() else { return self.run_untimed(job) };
        let began = clock();
        let ran = self.run_untimed(job);
        self.busy.set(self.busy.get() + clock().saturating_sub(began));
        ran
    }

    fn run_untimed(&self, job: &Job<'_>) -> Result<Vec<u32>, Cause> {
        let provoked = self.provoked.take();
        let filters = [ErrorFilter::Validation, ErrorFilter::OutOfMemory, ErrorFilter::Internal];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let buffers = Buffers::new(&self.device, job);
        let ran = self.steps(&buffers, job, provoked);
        // Whatever came of it.
        self.clear(&buffers);
        // The last that was pushed is the first to be taken.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        let errors: Vec<wgpu::Error> = errors.flatten().collect();
        // Whether the device is lost is said while it is polled.
        let _ = self.device.poll(wgpu::PollType::Poll);
        if self.lost.load(Ordering::Acquire) {
            return Err(Cause::DeviceLost);
        }
        if provoked == Some(Cause::OutOfMemory) {
            return Err(Cause::OutOfMemory);
        }
        // A lack of memory makes what follows invalid, so it is named first.
        let rank = |error: &wgpu::Error| match error {
            wgpu::Error::OutOfMemory { .. } => (0, Cause::OutOfMemory),
            wgpu::Error::Internal { .. } => (1, Cause::Internal),
            wgpu::Error::Validation { .. } => (2, Cause::Validation),
        };
        if let Some((_, cause)) = errors.iter().map(rank).min_by_key(|(rank, _)| *rank) {
            return Err(cause);
        }
        let mut output = ran?;
        let middle = output.len() / 3;
        if provoked == Some(Cause::Differs)
            && let Some(word) = output.get_mut(middle)
        {
            *word ^= 1;
        }
        Ok(output)
    }

    fn steps(
        &self,
        buffers: &Buffers,
        job: &Job<'_>,
        provoked: Option<Cause>,
    ) -> Result<Vec<u32>, Cause> {
        let mut under_way = Vec::new();
        for (index, step) in job.steps.iter().enumerate() {
            self.queue.write_buffer(&buffers.params, 0, &bytes_of(&step.params));
            for (buffer, words) in buffers.inputs.iter().zip(&step.inputs) {
                if !words.is_empty() {
                    self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(words));
                }
            }
            if provoked == Some(Cause::DeviceLost) {
                self.device.destroy();
            }
            let mut encoder = self.device.create_command_encoder(&Default::default());
            for (entry, workgroups) in &step.entries {
                let pipeline = self.pipeline(job.shader, entry, &buffers.layout);
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &buffers.group, &[]);
                let most = self.device.limits().max_compute_workgroups_per_dimension;
                let asked = match provoked {
                    Some(Cause::Validation) => most + 1,
                    _ => u32::try_from(*workgroups).unwrap_or(u32::MAX),
                };
                pass.dispatch_workgroups(asked, 1, 1);
            }
            under_way.push(self.queue.submit([encoder.finish()]));
            if index >= STEPS_UNDER_WAY {
                self.wait(under_way[index - STEPS_UNDER_WAY].clone(), provoked)?;
            }
        }
        self.read(buffers, provoked)
    }

    fn read(&self, buffers: &Buffers, provoked: Option<Cause>) -> Result<Vec<u32>, Cause> {
        let size = buffers.output.size();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffers.output, 0, &buffers.read, 0, size);
        let submitted = self.queue.submit([encoder.finish()]);
        let (said, heard) = mpsc::channel();
        let slice = buffers.read.slice(..);
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // Nobody listens any more only after a timeout.
            let _ = said.send(result);
        });
        let waited = self.wait(submitted, provoked);
        let words = waited.and_then(|()| match heard.try_recv() {
            Ok(Ok(())) => {
                let view = slice.get_mapped_range().map_err(|_| Cause::Internal)?;
                let words = view.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four));
                Ok(words.take(buffers.output_words).collect())
            }
            _ => Err(Cause::DeviceLost),
        });
        // Only so may it be written again; a mapping that did not come is called off.
        buffers.read.unmap();
        words
    }

    /// Nothing of a job stays on the device: parameters may hold a key, the rest are rows or noise. It
    /// is done before anything else that is asked of the queue.
    fn clear(&self, buffers: &Buffers) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        buffers.all().for_each(|buffer| encoder.clear_buffer(buffer, 0, None));
        self.queue.submit([encoder.finish()]);
    }

    fn wait(&self, for_index: wgpu::SubmissionIndex, provoked: Option<Cause>) -> Result<(), Cause> {
        if provoked == Some(Cause::Timeout) {
            return Err(Cause::Timeout);
        }
        let waited = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(for_index),
            timeout: Some(WAIT_MAX),
        });
        match waited {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(Cause::Timeout),
            Err(_) => Err(Cause::Internal),
        }
    }

    fn pipeline(
        &self,
        shader: &Shader,
        entry: &'static str,
        layout: &wgpu::BindGroupLayout,
    ) -> wgpu::ComputePipeline {
        if let Some(made) = self.pipelines.borrow().get(&(shader.name, entry)) {
            return made.clone();
        }
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(shader.source().into()),
        });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(layout)],
            immediate_size: 0,
        });
        let made = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        self.pipelines.borrow_mut().insert((shader.name, entry), made.clone());
        made
    }
}

/// Any adapter for `gpu`, hardware first; hardware only for `auto`.
fn chosen(found: Vec<wgpu::Adapter>, choice: Choice) -> Result<wgpu::Adapter, NoGpu> {
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        DiscreteGpu => 0,
        IntegratedGpu => 1,
        VirtualGpu => 2,
        Other => 3,
        Cpu => 4,
    };
    let best = found.into_iter().min_by_key(rank).ok_or(NoGpu::NotFound)?;
    match choice {
        Choice::Auto if best.get_info().device_type == Cpu => Err(NoGpu::SoftwareOnly),
        _ => Ok(best),
    }
}

fn bytes_of(words: &[u32]) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// What a job lies in.
struct Buffers {
    params: wgpu::Buffer,
    inputs: Vec<wgpu::Buffer>,
    between: Option<wgpu::Buffer>,
    output: wgpu::Buffer,
    output_words: usize,
    read: wgpu::Buffer,
    layout: wgpu::BindGroupLayout,
    group: wgpu::BindGroup,
}

/// An empty buffer cannot be bound, and one of a multiple of 16 bytes fits every element.
fn padded(words: usize) -> u64 {
    (4 * words as u64).next_multiple_of(16).max(16)
}

impl Buffers {
    fn new(device: &wgpu::Device, job: &Job<'_>) -> Self {
        let buffer = |words: usize, usage: BufferUsages| {
            let (size, mapped_at_creation) = (padded(words), false);
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation,
            })
        };
        let params_words = job.steps.first().map_or(0, |step| step.params.len());
        let params = buffer(params_words, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
        let given = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let inputs: Vec<_> = job.input_words.iter().map(|words| buffer(*words, given)).collect();
        let between = job.shader.has_between.then(|| buffer(job.between_words, given));
        // wgpu fills new buffers with zeros.
        let output = buffer(job.output_words, given | BufferUsages::COPY_SRC);
        let read = buffer(job.output_words, BufferUsages::MAP_READ | BufferUsages::COPY_DST);

        let all: Vec<(&wgpu::Buffer, wgpu::BufferBindingType)> =
            std::iter::once((&params, wgpu::BufferBindingType::Uniform))
                .chain(inputs.iter().map(|buffer| (buffer, storage(true))))
                .chain(between.iter().map(|buffer| (buffer, storage(false))))
                .chain(std::iter::once((&output, storage(false))))
                .collect();
        let entries: Vec<_> = (0..).zip(&all).map(|(at, (_, ty))| layout_entry(at, *ty)).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        });
        let bound = (0..).zip(&all).map(|(binding, (buffer, _))| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &bound.collect::<Vec<_>>(),
        });
        drop(all);
        let output_words = job.output_words;
        Self { params, inputs, between, output, output_words, read, layout, group }
    }

    fn all(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        let inputs = self.inputs.iter().chain(&self.between);
        [&self.params, &self.output, &self.read].into_iter().chain(inputs)
    }
}

fn storage(read_only: bool) -> wgpu::BufferBindingType {
    wgpu::BufferBindingType::Storage { read_only }
}

fn layout_entry(binding: u32, ty: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Step;

    #[test]
    fn nothing_of_a_job_stays_on_the_device() {
        let gpu = Gpu::open(Choice::Gpu).unwrap();
        let shader = Shader {
            name: "doubled",
            sources: &["@group(0) @binding(0) var<uniform> params: vec4<u32>;
                @group(0) @binding(1) var<storage, read> given: array<u32>;
                @group(0) @binding(2) var<storage, read_write> made: array<u32>;
                @compute @workgroup_size(4)
                fn doubled(@builtin(global_invocation_id) at: vec3<u32>) {
                    made[at.x] = params.x * given[at.x];
                }"],
            has_between: false,
        };
        let step = Step {
            params: vec![2, 0, 0, 0].into(),
            inputs: vec![&[1, 2, 3, 4]],
            entries: vec![("doubled", 1)],
        };
        let job = Job {
            shader: &shader,
            input_words: vec![4],
            between_words: 0,
            output_words: 4,
            steps: vec![step],
        };
        let buffers = Buffers::new(&gpu.device, &job);
        assert_eq!(gpu.steps(&buffers, &job, None).unwrap(), [2, 4, 6, 8]);
        // Control: it lies there until it is cleared.
        assert_eq!(gpu.read(&buffers, None).unwrap(), [2, 4, 6, 8]);
        gpu.clear(&buffers);
        assert_eq!(gpu.read(&buffers, None).unwrap(), [0; 4]);
        // Neither does what it was made of: the same again makes nothing.
        let nothing = Step {
            params: vec![3, 0, 0, 0].into(),
            inputs: vec![&[]],
            entries: vec![("doubled", 1)],
        };
        let again = Job { input_words: vec![4], steps: vec![nothing], ..job };
        assert_eq!(gpu.steps(&buffers, &again, None).unwrap(), [0; 4]);
        // Control: with what it is made of it does.
        let full = Step {
            params: vec![3, 0, 0, 0].into(),
            inputs: vec![&[1, 2, 3, 4]],
            entries: vec![("doubled", 1)],
        };
        let again = Job { steps: vec![full], ..again };
        assert_eq!(gpu.steps(&buffers, &again, None).unwrap(), [3, 6, 9, 12]);
        assert_eq!(gpu.run(&again).unwrap(), [3, 6, 9, 12]);
    }
}
