//! Pipelines by shader and constants: each is made once per context, whoever asks.

use std::collections::BTreeMap;

use super::{
    context::Context,
    dispatch::Dispatch,
    shader::{Name, Shader},
};

/// What has been compiled.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    modules: BTreeMap<Shader, wgpu::ShaderModule>,
    pipelines: BTreeMap<Key, wgpu::ComputePipeline>,
}

/// Constants by their bits.
type Key = (Shader, Vec<(Name, u64)>);

/// The pipeline of a dispatch; to be called inside [`Context::guarded`].
pub(super) fn pipeline(context: &Context, dispatch: &Dispatch) -> wgpu::ComputePipeline {
    let constants = dispatch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
    let key: Key = (dispatch.shader.clone(), constants);
    let Pipelines { modules, pipelines } = &mut *context.pipelines().borrow_mut();
    if let Some(pipeline) = pipelines.get(&key) {
        return pipeline.clone();
    }
    let label = dispatch.shader.label();
    let module = modules.entry(dispatch.shader.clone()).or_insert_with(|| {
        let text = dispatch.shader.compose(context.facts().dialect);
        let source = wgpu::ShaderSource::Wgsl(text.into());
        context.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(&label), source })
    });
    let descriptor = wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: None,
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &dispatch.constants,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: None,
    };
    let pipeline = context.device().create_compute_pipeline(&descriptor);
    pipelines.insert(key, pipeline.clone());
    pipeline
}
