//! Pipelines by shader and constants: each is made once per context, whoever asks.

use super::{
    context::{Context, Subject},
    dispatch::Dispatch,
    shader::{Name, Shader},
};
use crate::sorted::{SortedMap, SortedSet};

/// What has been compiled.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    modules: SortedMap<Shader, wgpu::ShaderModule>,
    pipelines: SortedMap<Key, wgpu::ComputePipeline>,
}

/// Constants by their bits.
pub(super) type Key = (Shader, Vec<(Name, u64)>);

impl Pipelines {
    /// Those that there are.
    pub(super) fn keys(&self) -> SortedSet<Key> {
        self.pipelines.keys().map(|key| (key.clone(), ())).collect()
    }

    /// Forgets those of some shaders, which are compiled again.
    pub(super) fn forget(&mut self, shaders: &dyn Fn(&Shader) -> bool) {
        self.pipelines.retain(|(shader, _), _| !shaders(shader));
        self.modules.retain(|shader, _| !shaders(shader));
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, keys: &SortedSet<Key>) {
        self.pipelines.retain(|key, _| keys.contains(key));
        let Self { modules, pipelines } = self;
        modules.retain(|shader, _| pipelines.keys().any(|(s, _)| s == shader));
    }
}

/// The pipeline of a dispatch.
pub(super) fn pipeline(context: &Context, dispatch: &Dispatch) -> wgpu::ComputePipeline {
    let constants = dispatch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
    let key: Key = (dispatch.shader.clone(), constants);
    let Pipelines { modules, pipelines } = &mut *context.pipelines().borrow_mut();
    if let Some(pipeline) = pipelines.get(&key) {
        return pipeline.clone();
    }
    let pipeline = context.guarded_as(Subject::Shader(dispatch.shader.clone()), || {
        let module = modules.get_or_insert_with(dispatch.shader.clone(), || module(context, &dispatch.shader));
        create(context, dispatch, module)
    });
    context.count(|made| made.pipelines += 1);
    pipelines.insert(key, pipeline.clone());
    pipeline
}

fn module(context: &Context, shader: &Shader) -> wgpu::ShaderModule {
    let text = shader.compose(context.facts().dialect);
    #[cfg(not(target_arch = "wasm32"))]
    let text = super::fault::refused(context, shader).unwrap_or(text);
    let source = wgpu::ShaderSource::Wgsl(text.into());
    context.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(&shader.label()), source })
}

fn create(context: &Context, dispatch: &Dispatch, module: &wgpu::ShaderModule) -> wgpu::ComputePipeline {
    context.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&dispatch.shader.label()),
        layout: None,
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &dispatch.constants,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: None,
    })
}
