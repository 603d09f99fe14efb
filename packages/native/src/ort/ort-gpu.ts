import { ServingError } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { addressOf } from "../memory/native-memory.js";
import { opModel } from "./op-model.js";
import type { Ort } from "./ort.js";
import type { OrtLibrary } from "./ort-library.js";
import { checkStatus, outPointer } from "./ort-runtime.js";
import { OrtValue } from "./ort-value.js";

/** Execution providers of ONNX Runtime that compute on a GPU, best first. */
export const ORT_GPU_PROVIDERS = ["cuda", "webgpu"] as const;
/** Name of an execution provider of ONNX Runtime that computes on a GPU. */
export type OrtGpuProvider = (typeof ORT_GPU_PROVIDERS)[number];

/** Which GPU, and how much of it. */
export interface OrtGpuOptions {
  /** Which GPU, counted from 0; default 0. */
  readonly device?: number;
  /** Most memory that one session's arena may take; default all. CUDA only. */
  readonly memoryBytesMax?: number;
}

/** An execution provider of ONNX Runtime that computes on a GPU. */
export interface OrtGpu extends OrtGpuOptions {
  readonly provider: OrtGpuProvider;
}

/** Adds the provider to a session's settings. @throws ServingError ENGINE_FAILED with ONNX Runtime's reason */
export function appendGpu(library: OrtLibrary, settings: bigint, gpu: OrtGpu): void {
  const calls = library.functions;
  const doing = `use ${gpu.provider}`;
  const { device = 0, memoryBytesMax } = gpu;
  if (gpu.provider === "webgpu") {
    const names = new CStrings(["deviceId"]);
    const values = new CStrings([String(device)]);
    checkStatus(
      library,
      calls.SessionOptionsAppendExecutionProvider(settings, "WebGPU", names.pointers, values.pointers, 1),
      doing,
    );
    return;
  }
  const options = outPointer(library, doing, (out) => calls.CreateCUDAProviderOptions(out));
  try {
    const entries = [
      ["device_id", String(device)],
      ...(memoryBytesMax === undefined ? [] : [["gpu_mem_limit", String(memoryBytesMax)]]),
    ] as [string, string][];
    const names = new CStrings(entries.map(([name]) => name));
    const values = new CStrings(entries.map(([, value]) => value));
    const count = entries.length;
    checkStatus(library, calls.UpdateCUDAProviderOptions(options, names.pointers, values.pointers, count), doing);
    checkStatus(library, calls.SessionOptionsAppendExecutionProvider_CUDA_V2(settings, options), doing);
  } finally {
    calls.ReleaseCUDAProviderOptions(options);
  }
}

/** NUL-terminated texts and an array of their addresses; both must be reachable during the call that reads them. */
class CStrings {
  readonly pointers: BigUint64Array;
  readonly texts: readonly Uint8Array[];

  constructor(texts: readonly string[]) {
    this.texts = texts.map((text) => new Uint8Array(Buffer.from(`${text}\0`)));
    this.pointers = BigUint64Array.from(this.texts, (text) => addressOf(text));
  }
}

/** As {@link Ort.findGpu}. */
export async function probeGpu(
  ort: Ort,
  providers: readonly OrtGpuProvider[],
  options: OrtGpuOptions,
): Promise<OrtGpu> {
  const reasons: string[] = [];
  for (const provider of providers) {
    const gpu: OrtGpu = { ...options, provider };
    try {
      await multiply(ort, gpu);
      return gpu;
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      reasons.push(`${provider}: ${error.message}`);
    }
  }
  throw new ServingError(
    "DEPENDENCY_MISSING",
    `ONNX Runtime ${ort.version} finds no GPU. ${reasons.join("; ")}. CUDA needs libonnxruntime_providers_cuda.so beside ` +
      `${ort.libraryPath}, CUDA 12 and cuDNN 9; WebGPU needs libvulkan.so.1 and the GPU's Vulkan driver`,
  );
}

/** A product of two matrices that must not fall back to the CPU. */
async function multiply(ort: Ort, gpu: OrtGpu): Promise<void> {
  const matrix = { dtype: "float32", shape: [2, 2] } as const;
  const model = opModel("MatMul", [matrix, matrix], [matrix]);
  using session = await ort.createSession(model, { gpu, config: { "session.disable_cpu_ep_fallback": "1" } });
  using a = OrtValue.fromTensor(tensor("float32", [2, 2], Float32Array.of(1, 2, 3, 4)));
  const [product] = await session.run([a, a]);
  const values = product!.toTensor().data as Float32Array;
  product!.dispose();
  if ([7, 10, 15, 22].some((expected, i) => Math.abs(values[i]! - expected) > 1e-3)) {
    throw new ServingError("ENGINE_FAILED", `${gpu.provider} computes [1 2; 3 4] squared as ${values.join(" ")}`);
  }
}
