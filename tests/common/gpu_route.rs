//! A few numbers through a compute shader and back, on bare wgpu without the engine: where this fails, the adapter, its driver
//! or the browser's flags are at fault and no kernel is. Says which adapter it was. Called by the tests that need an adapter.

use wgpu::util::DeviceExt;

/// What to do where there is no adapter at all: a test that needs one fails with this line, it never skips.
#[cfg(not(target_arch = "wasm32"))]
pub const NO_ADAPTER: &str = "no Vulkan adapter: `./build.sh test gpu` sets up two software ones; by hand, install \
    mesa-vulkan-drivers, or name a driver in VK_DRIVER_FILES (Debian's chromium: /usr/lib/chromium/vk_swiftshader_icd.json)";
#[cfg(target_arch = "wasm32")]
pub const NO_ADAPTER: &str =
    "this browser gives no WebGPU adapter: webdriver.json has the flags and preferences that it needs";

const N: u32 = 1000;
const SHADER: &str = "
@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < arrayLength(&values) { values[at.x] = 2u * values[at.x] + 1u; }
}";

/// The adapter that a test gets, in one line.
pub fn describe(adapter: &wgpu::Adapter) -> String {
    let (info, features) = (adapter.get_info(), adapter.features());
    let has = |feature: wgpu::Features, name: &str| {
        if features.contains(feature) { format!(", {name}") } else { String::new() }
    };
    format!(
        "adapter: {} ({:?}, {:?}, driver {} {}){}{}",
        info.name,
        info.device_type,
        info.backend,
        info.driver,
        info.driver_info,
        has(wgpu::Features::SHADER_F16, "f16"),
        has(wgpu::Features::SUBGROUP, "subgroups"),
    )
}

/// The adapter that wgpu would take, or a panic that says what to install.
pub async fn adapter() -> wgpu::Adapter {
    let mut options = wgpu::InstanceDescriptor::new_without_display_handle();
    options.backends = wgpu::Backends::VULKAN | wgpu::Backends::BROWSER_WEBGPU;
    let instance = wgpu::Instance::new(options);
    match instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await {
        Ok(adapter) => adapter,
        Err(error) => panic!("{NO_ADAPTER} ({error})"),
    }
}

/// Doubles and adds one on the GPU; panics unless every number is right. Default limits, no features.
pub async fn prove(adapter: &wgpu::Adapter) {
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await.expect("a device");
    let input: Vec<u32> = (0..N).collect();
    let values = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(&input),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    });
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: values.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(SHADER.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: values.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(N.div_ceil(64), 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&values, 0, &staging, 0, values.size());
    queue.submit([encoder.finish()]);

    let mapped = kinglet::plan::Signal::default();
    let raised = mapped.clone();
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        result.expect("a mapped buffer");
        raised.raise();
    });
    // In a browser the event loop maps; natively the device has to be asked.
    #[cfg(not(target_arch = "wasm32"))]
    device.poll(wgpu::PollType::wait_indefinitely()).expect("a device that finishes");
    mapped.await;
    let bytes = staging.get_mapped_range(..).expect("a mapped buffer");
    let output: &[u32] = bytemuck::cast_slice(&bytes);
    assert!(output.iter().zip(&input).all(|(o, i)| *o == 2 * i + 1), "wrong numbers come back: {:?}", &output[..8]);
}
