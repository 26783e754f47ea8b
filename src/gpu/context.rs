//! A GPU that may be used: the device, what is known about it, what it allocated, and whether it is well.
//!
//! Errors of a GPU come late and from anywhere: out of memory and validation from error scopes, the rest from callbacks. All
//! of them are collected here, and every call of the executor asks [`Context::health`] first. Several executors may share a
//! context; it knows no plans.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Task, Poll, Waker},
};

pub use super::ledger::{Buffer, Made};
use super::{
    forms::Forms,
    ledger::Ledger,
    pipelines::Pipelines,
    shader::{Dialect, Shader},
    tune::Tuning,
};
use crate::{
    error::{Error, Result},
    plan::Signal,
};

/// Smallest and largest subgroup that the adapter may run a shader with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subgroups {
    /// At least 4 (WebGPU).
    pub min: u32,
    /// At most 128.
    pub max: u32,
}

/// What to ask for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// In a browser, wgpu cannot ask for subgroups: the page's shim does, and says here that it did. Natively `None` means
    /// what the adapter has.
    pub subgroups: Option<Subgroups>,
    /// The page has seen that WGSL has packed dot products there; natively it always has.
    pub packed_dot: bool,
    /// Do without subgroups even where there are some.
    pub without_subgroups: bool,
    /// Stay at WebGPU's default limits, even where the adapter has more.
    pub default_limits: bool,
    /// Largest binding to use, bytes, where that is less than the adapter's: matrices are split at it.
    pub binding_limit_bytes: Option<u64>,
}

/// What is known about the adapter and the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// As the driver or the browser calls it; may be empty.
    pub name: String,
    /// A processor that plays a GPU.
    pub software: bool,
    /// Present where shaders may use subgroups.
    pub subgroups: Option<Subgroups>,
    /// Shaders may compute in f16.
    pub f16: bool,
    /// Shaders may multiply four bytes at a time; whether that is fast is not said.
    pub packed_dot: bool,
    /// Largest storage binding, bytes.
    pub binding_limit_bytes: u64,
    /// Largest buffer, bytes.
    pub buffer_limit_bytes: u64,
    /// What the WGSL compiler wants to read.
    pub dialect: Dialect,
}

/// A device with its queue.
pub struct Context {
    device: wgpu::Device,
    queue: wgpu::Queue,
    facts: Facts,
    forms: Cell<Forms>,
    pipelines: RefCell<Pipelines>,
    health: Arc<Mutex<Health>>,
    scopes: RefCell<Vec<Scope>>,
    ledger: Rc<Ledger>,
    tuning: RefCell<Option<Tuning>>,
    /// What is made now is for a trial.
    is_trying: Cell<bool>,
    #[cfg(not(target_arch = "wasm32"))]
    faults: RefCell<Vec<super::fault::Fault>>,
}

/// What has gone wrong so far.
#[derive(Debug, Default)]
struct Health {
    lost: Option<String>,
    fault: Option<Error>,
    /// Shaders that do not compile.
    broken: Vec<(Shader, Error)>,
    /// What became of that: bind groups for them.
    consequence: Option<Error>,
    /// Something of the last trial could not be had.
    trial_failed: bool,
    /// Raised when the device is lost: nothing else may come.
    waiting: Vec<Signal>,
}

/// An error scope that is closed, but whose verdict has not come.
struct Scope {
    verdict: Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>,
    subject: Subject,
}

/// What was made inside an error scope.
#[derive(Clone)]
pub(super) enum Subject {
    /// Buffers, for what, and their bytes.
    Memory(String, u64),
    /// Pipelines of this shader.
    Shader(Shader),
    /// Bind groups, for what: they fail where a shader did.
    Bindings(String),
    /// Anything that tuning tries: where it cannot be had, it is done without.
    Trial,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts.fmt(f)
    }
}

impl Context {
    /// Asks for a device. [`Error::GpuUnavailable`] says in words what could not be had.
    pub async fn request(request: &Request) -> Result<Rc<Self>> {
        let unavailable = |what: String| Error::GpuUnavailable { what };
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = instance.request_adapter(&options).await;
        let adapter = adapter.map_err(|e| unavailable(format!("no GPU adapter was granted: {e}")))?;
        let browser = cfg!(target_arch = "wasm32");
        let info = adapter.get_info();
        let native = adapter.features().contains(wgpu::Features::SUBGROUP);
        let subgroups = match request.subgroups {
            _ if request.without_subgroups => None,
            Some(subgroups) => Some(subgroups),
            None => native.then_some(Subgroups { min: info.subgroup_min_size.max(4), max: info.subgroup_max_size }),
        };
        let required_limits = required_limits(&adapter.limits(), request.default_limits);
        let subgroup = if browser || subgroups.is_none() { wgpu::Features::empty() } else { wgpu::Features::SUBGROUP };
        // For who asks where the time goes.
        let timestamps = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        let f16 = adapter.features() & wgpu::Features::SHADER_F16;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("kinglet"),
            required_features: subgroup | timestamps | f16,
            required_limits: required_limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let device = adapter.request_device(&descriptor).await;
        let (device, queue) = device.map_err(|e| unavailable(format!("the GPU gave no device: {e}")))?;
        let own_limit = request.binding_limit_bytes.unwrap_or(u64::MAX);
        let facts = Facts {
            name: info.name,
            software: info.device_type == wgpu::DeviceType::Cpu,
            subgroups,
            f16: !f16.is_empty(),
            // naga has it everywhere.
            packed_dot: request.packed_dot || !browser,
            binding_limit_bytes: required_limits.max_storage_buffer_binding_size.min(own_limit),
            buffer_limit_bytes: required_limits.max_buffer_size.min(own_limit),
            dialect: if browser { Dialect::Browser } else { Dialect::Naga },
        };
        Ok(Rc::new(Self::new(device, queue, facts)))
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, facts: Facts) -> Self {
        let health = Arc::new(Mutex::new(Health::default()));
        let of_loss = health.clone();
        device.set_device_lost_callback(move |_, what| {
            let waiting = {
                let mut health = lock(&of_loss);
                health.lost = Some(what);
                std::mem::take(&mut health.waiting)
            };
            waiting.iter().for_each(Signal::raise);
        });
        let of_faults = health.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&of_faults).fault.get_or_insert(Error::internal(format!("the GPU refused a command: {error}")));
        }));
        Self {
            device,
            queue,
            forms: Cell::new(Forms::of(&facts)),
            facts,
            pipelines: RefCell::default(),
            health,
            scopes: RefCell::default(),
            ledger: Rc::default(),
            tuning: RefCell::default(),
            is_trying: Cell::default(),
            #[cfg(not(target_arch = "wasm32"))]
            faults: RefCell::default(),
        }
    }

    /// What is known about the device.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Which form each kernel takes now.
    pub fn forms(&self) -> Forms {
        self.forms.get()
    }

    /// Takes other forms from now on; plans are lowered again.
    pub fn set_forms(&self, forms: Forms) {
        self.forms.set(forms);
    }

    /// What is used of the device, for people: `subgroups 32–32`, `tiles`.
    pub fn features(&self) -> Vec<String> {
        self.forms().names()
    }

    /// How many objects were made so far.
    pub fn made(&self) -> Made {
        self.ledger.made.get()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Made)) {
        self.ledger.count(count);
    }

    /// Bytes of all buffers that exist now.
    pub fn allocated_bytes(&self) -> u64 {
        self.ledger.bytes.get()
    }

    /// Number of buffers that exist now.
    pub fn n_buffers(&self) -> usize {
        self.ledger.buffers.get()
    }

    /// Gives the device up, as if it were lost.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Submits nothing: some browsers look for finished work only when something is submitted.
    pub fn nudge(&self) {
        self.queue.submit([]);
    }

    /// What is wrong with the device, if anything that is known by now. Natively this is also when callbacks run.
    pub fn health(&self) -> Result<()> {
        self.poll();
        let mut task = Task::from_waker(Waker::noop());
        self.scopes.borrow_mut().retain_mut(|scope| match scope.verdict.as_mut().poll(&mut task) {
            Poll::Pending => true,
            Poll::Ready(error) => {
                self.judge(error, &scope.subject);
                false
            }
        });
        self.known(true)
    }

    /// [`Self::health`] once every error scope has given its verdict.
    pub fn settled(self: &Rc<Self>) -> impl Future<Output = Result<()>> + use<> {
        let context = self.clone();
        async move {
            loop {
                let Some(scope) = context.scopes.borrow_mut().pop() else { break };
                let verdict = scope.verdict.await;
                context.judge(verdict, &scope.subject);
            }
            context.known(true)
        }
    }

    /// Makes buffers inside error scopes. `what` they are for and how many bytes they need is said where they cannot be had.
    pub(super) fn guarded<T>(&self, what: &str, needed_bytes: u64, make: impl FnOnce() -> T) -> T {
        self.guarded_as(Subject::Memory(what.into(), needed_bytes), make)
    }

    /// Makes objects inside error scopes.
    pub(super) fn guarded_as<T>(&self, subject: Subject, make: impl FnOnce() -> T) -> T {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let verdicts: [Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>; 3] =
            [Box::pin(validation.pop()), Box::pin(internal.pop()), Box::pin(memory.pop())];
        let mut scopes = self.scopes.borrow_mut();
        let subject = if self.is_trying.get() { Subject::Trial } else { subject };
        scopes.extend(verdicts.map(|verdict| Scope { verdict, subject: subject.clone() }));
        made
    }

    /// The shaders that did not compile, and why; they are forgotten with all that came of it. To be asked once everything has
    /// [settled](Self::settled).
    pub(super) fn take_broken(&self) -> Vec<(Shader, Error)> {
        let broken = {
            let mut health = lock(&self.health);
            if !health.broken.is_empty() {
                health.consequence = None;
            }
            std::mem::take(&mut health.broken)
        };
        self.pipelines.borrow_mut().forget(&|shader| broken.iter().any(|(s, _)| s == shader));
        broken
    }

    pub(super) fn tuning(&self) -> &RefCell<Option<Tuning>> {
        &self.tuning
    }

    /// Begins or ends a trial: what is made in it and cannot be had is nobody's fault.
    pub(super) fn set_trying(&self, is_trying: bool) {
        lock(&self.health).trial_failed &= !is_trying;
        self.is_trying.set(is_trying);
    }

    /// Whether all of the last trial could be had; `None` while that is not known.
    pub(super) fn trial(&self) -> Option<bool> {
        // What else is wrong is said elsewhere.
        drop(self.health());
        let is_open = self.scopes.borrow().iter().any(|scope| matches!(scope.subject, Subject::Trial));
        (!is_open).then(|| !lock(&self.health).trial_failed)
    }

    /// A buffer; to be called inside [`Self::guarded`]. It is filled with zeros.
    pub(super) fn buffer(&self, label: &str, n_bytes: u64, usage: wgpu::BufferUsages) -> Buffer {
        self.ledger.buffer((&self.device, &self.queue), label, n_bytes, usage)
    }

    /// Whether tests watch what lies behind the buffers.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn zones(&self) -> &super::zones::Zones {
        &self.ledger.zones
    }

    /// `signal` is raised at the latest when the device is lost.
    pub(super) fn raise_on_loss(&self, signal: &Signal) {
        let mut health = lock(&self.health);
        health.waiting.retain(|s| !s.is_raised());
        if health.lost.is_some() {
            signal.raise();
        } else {
            health.waiting.push(signal.clone());
        }
    }

    /// Why results cannot be read. Browsers refuse them before they say that the device is lost, so that where nothing else
    /// is known it counts as lost from here on.
    pub(super) fn map_failed(&self) -> Error {
        if let Err(error) = self.health() {
            return error;
        }
        let what = "it did not give its results back".to_owned();
        lock(&self.health).lost = Some(what.clone());
        Error::GpuLost { what }
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    pub(super) fn pipelines(&self) -> &RefCell<Pipelines> {
        &self.pipelines
    }

    fn judge(&self, error: Option<wgpu::Error>, subject: &Subject) {
        let Some(error) = error else { return };
        let mut health = lock(&self.health);
        let refused = |what: &str| Error::internal(format!("{what}: the GPU refused it: {error}"));
        match (&error, subject) {
            (_, Subject::Trial) => health.trial_failed = true,
            (wgpu::Error::OutOfMemory { .. }, subject) => {
                let (what, needed_bytes) = match subject {
                    Subject::Memory(what, needed_bytes) => (what.clone(), *needed_bytes),
                    Subject::Shader(shader) => (shader.label(), 0),
                    Subject::Bindings(what) => (what.clone(), 0),
                    Subject::Trial => (String::new(), 0),
                };
                health.fault.get_or_insert(Error::Memory { what: format!("{what} on the GPU"), needed_bytes });
            }
            // Browsers and wgpu say that a buffer is too long before they try.
            (_, &Subject::Memory(ref what, needed_bytes)) if needed_bytes > self.facts.buffer_limit_bytes => {
                health.fault.get_or_insert(Error::Memory { what: format!("{what} on the GPU"), needed_bytes });
            }
            (_, Subject::Memory(what, _)) => {
                health.fault.get_or_insert(refused(what));
            }
            (_, Subject::Shader(shader)) => health.broken.push((shader.clone(), refused(&shader.label()))),
            (_, Subject::Bindings(what)) => {
                health.consequence.get_or_insert(refused(what));
            }
        }
    }

    /// What is wrong but for shaders that do not compile: what may be called before the self-check asks this, since it may
    /// find other forms.
    pub(super) fn usable(&self) -> Result<()> {
        match self.health() {
            Err(_) => self.known(false),
            Ok(()) => Ok(()),
        }
    }

    fn known(&self, shaders_count: bool) -> Result<()> {
        let health = lock(&self.health);
        if let Some(what) = &health.lost {
            return Err(Error::GpuLost { what: what.clone() });
        }
        let broken = health.broken.first().map(|(_, error)| error).or(health.consequence.as_ref());
        match health.fault.as_ref().or(broken.filter(|_| shaders_count)) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// From now on this device does wrong on purpose, in what is prepared from now on.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn inject(&self, fault: super::fault::Fault) {
        self.pipelines.borrow_mut().forget(&fault.shaders);
        self.faults.borrow_mut().push(fault);
    }

    /// The device as it was: without faults, with every form.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn heal(&self) {
        self.faults.take().iter().for_each(|fault| self.pipelines.borrow_mut().forget(&fault.shaders));
        // What is known by now is over.
        drop(self.health());
        let mut health = lock(&self.health);
        (health.fault, health.consequence) = (None, None);
        health.broken.clear();
        self.forms.set(Forms::of(&self.facts));
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn faults(&self) -> std::cell::Ref<'_, Vec<super::fault::Fault>> {
        self.faults.borrow()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn poll(&self) {
        // An error means that the device is lost, which the callback has said.
        drop(self.device.poll(wgpu::PollType::Poll));
    }

    #[cfg(target_arch = "wasm32")]
    fn poll(&self) {}
}

/// Runs a future on this thread while the device works: for tests and tools, where nobody else polls it.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<T>(context: Option<&Context>, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut task = Task::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut task) {
            return value;
        }
        if let Some(context) = context {
            context.poll();
        }
        std::thread::yield_now();
    }
}

fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

/// WebGPU's defaults; larger buffers and bindings where the adapter has them. Nothing else is ever needed.
fn required_limits(adapter: &wgpu::Limits, default_limits: bool) -> wgpu::Limits {
    let defaults = wgpu::Limits::defaults();
    if default_limits {
        return defaults;
    }
    wgpu::Limits {
        max_buffer_size: adapter.max_buffer_size.max(defaults.max_buffer_size),
        max_storage_buffer_binding_size: adapter
            .max_storage_buffer_binding_size
            .max(defaults.max_storage_buffer_binding_size),
        ..defaults
    }
}
