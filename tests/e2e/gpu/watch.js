// In the engine's worker, before it: counts what is made on WebGPU's prototypes, notes every error and warning, and plays a GPU
// that lies or dies. Faults come in the worker's URL: `?hardware` (calls itself a real GPU), `?wgsl` (changes a shader's
// text), `?drop=N` (leaves out every Nth dispatch), `?lose=N` (loses the device at the Nth submit).
const faults = new URLSearchParams(location.search);
const every = (name) => Number(faults.get(name) ?? Infinity);

/** What tests read, by `worker.evaluate`. */
const watch = { made: {}, live: 0, submits: 0, dispatches: 0, altered: 0, problems: [], devices: [], settled };
globalThis.gpuWatch = watch;

/** How many buffers live, and what was wrong: told to the page at once, because the worker is gone when `close()` resolves. */
const channel = new BroadcastChannel('gpu-watch');
const tell = () => channel.postMessage({ made: watch.made.createBuffer, live: watch.live });
const complain = (problem) => {
  watch.problems.push(problem);
  channel.postMessage({ problem });
};

/** Errors of a device come no sooner than something makes the browser talk with it. */
async function settled() {
  for (const { device } of watch.devices) await device.queue.onSubmittedWorkDone().catch(() => {});
}

/** Replaces a method by `(original, ...arguments)`, called on the same object. */
function wrap(prototype, name, replacement) {
  const original = prototype[name];
  prototype[name] = function (...args) {
    return replacement.call(this, (...own) => original.apply(this, own), ...args);
  };
}

for (const name of ['createBuffer', 'createBindGroup', 'createShaderModule', 'createComputePipeline'])
  wrap(GPUDevice.prototype, name, (original, ...args) => {
    watch.made[name] = (watch.made[name] ?? 0) + 1;
    return original(...args);
  });
wrap(GPUDevice.prototype, 'createComputePipelineAsync', (original, ...args) => {
  watch.made.createComputePipeline = (watch.made.createComputePipeline ?? 0) + 1;
  return original(...args);
});

const living = new Set();
wrap(GPUDevice.prototype, 'createBuffer', (original, ...args) => {
  const buffer = original(...args);
  living.add(buffer);
  watch.live = living.size;
  tell();
  return buffer;
});
wrap(GPUBuffer.prototype, 'destroy', function (original) {
  living.delete(this);
  watch.live = living.size;
  tell();
  return original();
});

wrap(GPUAdapter.prototype, 'requestDevice', async (original, ...args) => {
  const device = await original(...args);
  device.addEventListener('uncapturederror', ({ error }) => complain(`uncaptured: ${error.message}`));
  watch.devices.push({ device, features: [...device.features], limits: args[0]?.requiredLimits });
  return device;
});
for (const name of ['warn', 'error'])
  wrap(console, name, (original, ...args) => {
    complain(`console.${name}: ${args.join(' ')}`);
    return original(...args);
  });
addEventListener('unhandledrejection', ({ reason }) => complain(`unhandled: ${String(reason)}`));

wrap(GPUQueue.prototype, 'submit', (original, ...args) => {
  watch.submits++;
  if (watch.submits === every('lose')) watch.devices.at(-1).device.destroy();
  return original(...args);
});
wrap(GPUComputePassEncoder.prototype, 'dispatchWorkgroups', (original, ...args) => {
  watch.dispatches++;
  if (watch.dispatches % every('drop') === 0) watch.altered++;
  else original(...args);
});

if (faults.has('hardware'))
  Object.defineProperty(GPUAdapter.prototype, 'info', {
    get: () => ({
      vendor: 'acme',
      architecture: 'rocket',
      device: '',
      description: '',
      isFallbackAdapter: false,
      subgroupMinSize: 4,
      subgroupMaxSize: 4,
    }),
  });

if (faults.has('wgsl'))
  wrap(GPUDevice.prototype, 'createShaderModule', (original, descriptor) => {
    // The roots of norms are a hundredth off: nothing that one would see in a text at once.
    const code = descriptor.code.replaceAll(/\b(inverseSqrt|sqrt)\(/g, '1.01 * $1(');
    if (code !== descriptor.code) watch.altered++;
    return original({ ...descriptor, code });
  });
