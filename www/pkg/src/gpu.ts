// The graphics processor as the engine's worker sees it: which adapter there is, whether it is a real one, and the policy that
// chooses between it and the CPU with a reason in words. Also the shim by which wgpu's device gets subgroups. Computes nothing:
// the wasm module talks to the device itself. Called by engine-host.ts (policy) and worker.ts (looking, shim); node tests
// call all of it with made-up adapters.

import { KingletError, type TypedError } from './errors.js';
import type { Device } from './types.js';

/** What the engine and the policy want to know of an adapter. */
export interface AdapterFacts {
  /** What it is called for people, such as `nvidia ampere`: browsers keep the exact product to themselves. */
  name: string;
  /** The CPU plays the GPU: right results, slowly. */
  software: boolean;
  subgroups: boolean;
  subgroupMinSize: number;
  subgroupMaxSize: number;
  f16: boolean;
  /** WGSL has dot products of four bytes. */
  packedDot: boolean;
}

/** What is known of the GPU: an adapter; why there is none; or how an adapter failed while the model loaded. */
export type GpuState =
  | { kind: 'found'; adapter: AdapterFacts }
  | { kind: 'missing'; why: string }
  | { kind: 'failed'; adapter: AdapterFacts; error: TypedError };

/** The device to use, and why in words. */
export type Decision = { kind: 'cpu'; reason: string } | { kind: 'webgpu'; adapter: AdapterFacts; reason: string };

/** An adapter of which any of these names says that it is no hardware. `isFallbackAdapter` says it too, where it exists. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** What WebGPU promises of subgroups where it says nothing. */
const SUBGROUP_SIZES = { least: 4, most: 128 };

/** The failures of a GPU after which 'auto' goes on with the CPU. Others (a broken file, a defect) would come again there. */
const FALL_BACK: Readonly<Record<string, string>> = {
  E_GPU_UNAVAILABLE: 'could not be used',
  E_GPU_LOST: 'stopped answering while the model was loaded',
  E_GPU_WRONG: 'failed the self-check',
  E_MEMORY: 'has no room for the model',
};

/** Looks for the adapter that the engine would use. Never rejects: what goes wrong is the answer. */
export async function findGpu(
  gpu: GPU | undefined = globalThis.navigator?.gpu,
  isSecureContext = globalThis.isSecureContext,
): Promise<GpuState> {
  if (!gpu) {
    return missing(
      isSecureContext
        ? 'this browser has no WebGPU (no navigator.gpu)'
        : 'the page is no secure context: browsers offer WebGPU to https: and localhost only (no navigator.gpu)',
    );
  }
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (adapter) return { kind: 'found', adapter: factsOf(adapter, gpu) };
    return missing(
      'the browser gave no WebGPU adapter: there is no GPU that it supports, or it has been turned off or blocked',
    );
  } catch (thrown) {
    return missing(`asking for a WebGPU adapter failed: ${String(thrown)}`);
  }
}

const missing = (why: string): GpuState => ({ kind: 'missing', why });

function factsOf(adapter: GPUAdapter, gpu: GPU): AdapterFacts {
  const { info, features } = adapter;
  const { vendor, architecture, device, description } = info;
  const names = [vendor, architecture, device, description];
  return {
    name: description || [vendor, architecture || device].filter(Boolean).join(' ') || 'unnamed adapter',
    // Until 2025 the adapter itself said it.
    software:
      info.isFallbackAdapter === true ||
      (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter === true ||
      names.some((name) => SOFTWARE.test(name)),
    subgroups: features.has('subgroups'),
    subgroupMinSize: info.subgroupMinSize || SUBGROUP_SIZES.least,
    subgroupMaxSize: info.subgroupMaxSize || SUBGROUP_SIZES.most,
    f16: features.has('shader-f16'),
    packedDot: !!gpu.wgslLanguageFeatures?.has('packed_4x8_integer_dot_product'),
  };
}

/**
 * The whole device policy. 'webgpu' never falls back: what keeps it from the GPU is thrown. 'auto' takes a hardware adapter and
 * never a software one, and goes on with the CPU when the GPU is missing or has failed as one may. `gpu` is undefined where
 * nobody has looked for one.
 */
export function decide(wanted: 'auto' | Device, gpu: GpuState | undefined): Decision {
  if (wanted === 'cpu' || !gpu) return { kind: 'cpu', reason: 'CPU, as asked' };
  const auto = wanted === 'auto';
  switch (gpu.kind) {
    case 'missing':
      if (!auto) throw new KingletError('E_GPU_UNAVAILABLE', `device 'webgpu': ${gpu.why}`);
      return { kind: 'cpu', reason: `CPU: ${gpu.why}` };
    case 'failed': {
      const { adapter, error } = gpu;
      const how = FALL_BACK[error.code];
      if (!auto || how === undefined) throw error;
      return { kind: 'cpu', reason: `CPU: the GPU (${adapter.name}) ${how}: ${error.message}` };
    }
    case 'found': {
      const { adapter } = gpu;
      const { name, software } = adapter;
      if (auto && software)
        return { kind: 'cpu', reason: `CPU: the only GPU is a software adapter (${name}), slower than the CPU itself` };
      const what = software ? ', a software adapter: right results, but slow' : ', which passed the self-check';
      return { kind: 'webgpu', adapter, reason: `GPU${auto ? '' : ', as asked'}: ${name}${what}` };
    }
  }
}

/**
 * Runs `create`, during which every device of an adapter that has subgroups is asked for with them.
 *
 * Why: a device has only the features that `requestDevice` was given, and wgpu 30.0.1 does not know 'subgroups' on the web
 * (gfx-rs/wgpu#10146), so that it cannot ask. Only the engine's worker runs this, and only round its own request. To be deleted
 * with its call in worker.ts when src/gpu/context.rs can name the feature.
 */
export async function withSubgroups<T>(
  create: () => Promise<T>,
  Adapter: { prototype: Pick<GPUAdapter, 'requestDevice' | 'features'> } | undefined = globalThis.GPUAdapter,
): Promise<T> {
  if (!Adapter) return create();
  const { prototype } = Adapter;
  const { requestDevice } = prototype;
  prototype.requestDevice = function (descriptor = {}) {
    const wanted = new Set(descriptor.requiredFeatures);
    if (this.features.has('subgroups')) wanted.add('subgroups');
    return requestDevice.call(this, { ...descriptor, requiredFeatures: [...wanted] });
  };
  try {
    return await create();
  } finally {
    prototype.requestDevice = requestDevice;
  }
}
