//! A GPU that does wrong on purpose, so that tests can see whether it is found out. Natively only: no build for a browser has
//! any of this.
//!
//! Faults are put where bind groups are made: a dispatch that flips bits follows the one that it falsifies, a dispatch that
//! goes stale knows from which run on it is left out, and a shader that is refused gets a text that is no WGSL.

use super::{
    context::Context,
    dispatch::Dispatch,
    shader::{Dialect, Shader},
};

/// What is wrong with which shaders.
pub struct Fault {
    /// The shaders that it befalls.
    pub shaders: Box<dyn Fn(&Shader) -> bool>,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What may happen to a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// After every dispatch, a word of the `written`-th of the buffers that it writes is changed by `mask`.
    FlipBits {
        /// Counts the written buffers from 0; where there are fewer, nothing happens.
        written: usize,
        /// Index of the word, modulo the length of the buffer.
        word: u32,
        /// The bits that change.
        mask: u32,
    },
    /// It is left out from this run of a prepared plan on (the first is 0): its results are those of the run before.
    StaleFrom(usize),
    /// It does not compile.
    Refused,
}

impl Fault {
    /// A fault of the shaders whose [label](Shader::label) begins so.
    pub fn of(label: impl Into<String>, kind: FaultKind) -> Self {
        let label = label.into();
        Self { shaders: Box::new(move |shader| shader.label().starts_with(&label)), kind }
    }
}

impl Context {
    fn faults_of(&self, shader: &Shader) -> Vec<FaultKind> {
        self.faults().iter().filter(|f| (f.shaders)(shader)).map(|f| f.kind).collect()
    }
}

/// Text that is compiled in place of the shader's, if any.
pub(super) fn refused(context: &Context, shader: &Shader) -> Option<String> {
    context.faults_of(shader).contains(&FaultKind::Refused).then(|| "this is refused".to_owned())
}

/// The run from which on a dispatch is left out.
pub(super) fn stale_from(context: &Context, dispatch: &Dispatch) -> usize {
    let stale = context.faults_of(&dispatch.shader).into_iter().filter_map(|kind| match kind {
        FaultKind::StaleFrom(run) => Some(run),
        _ => None,
    });
    stale.min().unwrap_or(usize::MAX)
}

/// Pipelines and bind groups of the dispatches of one workgroup that falsify what this one writes.
pub(super) fn saboteurs(
    context: &Context,
    dispatch: &Dispatch,
    entries: &[wgpu::BindGroupEntry<'_>],
) -> Vec<(wgpu::ComputePipeline, wgpu::BindGroup)> {
    let written = written_bindings(&dispatch.shader.compose(Dialect::Naga));
    let flips = context.faults_of(&dispatch.shader).into_iter().filter_map(|kind| match kind {
        FaultKind::FlipBits { written: n, word, mask } => Some((*written.get(n)?, word, mask)),
        _ => None,
    });
    let saboteur = |(binding, word, mask): (u32, u32, u32)| {
        let entry = entries.iter().find(|e| e.binding == binding)?;
        let pipeline = flipper(context, word, mask);
        let bind_group = context.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("sabotage"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: entry.resource.clone() }],
        });
        Some((pipeline, bind_group))
    };
    flips.filter_map(saboteur).collect()
}

fn flipper(context: &Context, word: u32, mask: u32) -> wgpu::ComputePipeline {
    const TEXT: &str = "
        @group(0) @binding(0) var<storage, read_write> words: array<u32>;
        override WORD: u32;
        override MASK: u32;
        @compute @workgroup_size(1)
        fn main() { words[WORD % arrayLength(&words)] ^= MASK; }";
    let source = wgpu::ShaderSource::Wgsl(TEXT.into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some("sabotage"), source };
    let module = context.device().create_shader_module(descriptor);
    let constants = [("WORD", f64::from(word)), ("MASK", f64::from(mask))];
    context.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("sabotage"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
        cache: None,
    })
}

/// Numbers of the bindings that a text declares as written.
fn written_bindings(text: &str) -> Vec<u32> {
    let number = |line: &str| {
        let (_, rest) = line.split_once("@binding(")?;
        let (number, rest) = rest.split_once(')')?;
        rest.contains("read_write").then(|| number.parse().ok()).flatten()
    };
    text.lines().filter_map(number).collect()
}
