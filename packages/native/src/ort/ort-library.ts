import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ServingError } from "@shardserve/core";
import koffi, { type LibraryHandle } from "koffi";
import "../memory/libc.js"; // sets koffi's stack size, before any library is loaded

/** What koffi takes for a pointer: an address, null, or memory whose address it passes. */
export type Pointer = bigint | null | ArrayBufferView;
type Argument = Pointer | number | string;

export interface NativeFunction {
  /** Pointers come back as bigint, or null; void as undefined. */
  (...args: Argument[]): bigint | number | null | undefined;
  /** The same call on another thread. Every buffer must stay reachable until the callback. */
  readonly async: (...args: [...Argument[], (error: Error | null, result: bigint | number | null) => void]) => void;
}

/**
 * The functions that we call: index in OrtApi, result, arguments. OrtApi only ever grows at its end, so an index means
 * the same in every later release. Order of include/onnxruntime/core/session/onnxruntime_c_api.h, v1.17 (API 17) on.
 */
const FUNCTIONS = {
  GetErrorCode: [1, "int", ["void *"]],
  GetErrorMessage: [2, "const char *", ["void *"]],
  CreateSessionFromArray: [8, "void *", ["void *", "void *", "size_t", "void *", "void *"]],
  Run: [9, "void *", ["void *", "void *", "void *", "void *", "size_t", "void *", "size_t", "void *"]],
  CreateSessionOptions: [10, "void *", ["void *"]],
  SetSessionExecutionMode: [13, "void *", ["void *", "int"]],
  DisableMemPattern: [17, "void *", ["void *"]],
  DisableCpuMemArena: [19, "void *", ["void *"]],
  SetSessionGraphOptimizationLevel: [23, "void *", ["void *", "int"]],
  SetIntraOpNumThreads: [24, "void *", ["void *", "int"]],
  SessionGetInputCount: [30, "void *", ["void *", "void *"]],
  SessionGetOutputCount: [31, "void *", ["void *", "void *"]],
  SessionGetInputTypeInfo: [33, "void *", ["void *", "size_t", "void *"]],
  SessionGetOutputTypeInfo: [34, "void *", ["void *", "size_t", "void *"]],
  SessionGetInputName: [36, "void *", ["void *", "size_t", "void *", "void *"]],
  SessionGetOutputName: [37, "void *", ["void *", "size_t", "void *", "void *"]],
  CreateRunOptions: [39, "void *", ["void *"]],
  RunOptionsSetTerminate: [46, "void *", ["void *"]],
  CreateTensorAsOrtValue: [48, "void *", ["void *", "void *", "size_t", "int", "void *"]],
  CreateTensorWithDataAsOrtValue: [49, "void *", ["void *", "void *", "size_t", "void *", "size_t", "int", "void *"]],
  GetTensorMutableData: [51, "void *", ["void *", "void *"]],
  FillStringTensor: [52, "void *", ["void *", "void *", "size_t"]],
  GetStringTensorDataLength: [53, "void *", ["void *", "void *"]],
  GetStringTensorContent: [54, "void *", ["void *", "void *", "size_t", "void *", "size_t"]],
  CastTypeInfoToTensorInfo: [55, "void *", ["void *", "void *"]],
  GetOnnxTypeFromTypeInfo: [56, "void *", ["void *", "void *"]],
  GetTensorElementType: [60, "void *", ["void *", "void *"]],
  GetDimensionsCount: [61, "void *", ["void *", "void *"]],
  GetDimensions: [62, "void *", ["void *", "void *", "size_t"]],
  GetSymbolicDimensions: [63, "void *", ["void *", "void *", "size_t"]],
  GetTensorTypeAndShape: [65, "void *", ["void *", "void *"]],
  GetValueType: [67, "void *", ["void *", "void *"]],
  CreateCpuMemoryInfo: [69, "void *", ["int", "int", "void *"]],
  AllocatorFree: [76, "void *", ["void *", "void *"]],
  GetAllocatorWithDefaultOptions: [78, "void *", ["void *"]],
  ReleaseStatus: [93, "void", ["void *"]],
  ReleaseSession: [95, "void", ["void *"]],
  ReleaseValue: [96, "void", ["void *"]],
  ReleaseRunOptions: [97, "void", ["void *"]],
  ReleaseTypeInfo: [98, "void", ["void *"]],
  ReleaseTensorTypeAndShapeInfo: [99, "void", ["void *"]],
  ReleaseSessionOptions: [100, "void", ["void *"]],
  CreateEnvWithGlobalThreadPools: [119, "void *", ["int", "const char *", "void *", "void *"]],
  DisablePerSessionThreads: [120, "void *", ["void *"]],
  CreateThreadingOptions: [121, "void *", ["void *"]],
  ReleaseThreadingOptions: [122, "void", ["void *"]],
  AddSessionConfigEntry: [130, "void *", ["void *", "const char *", "const char *"]],
  SetGlobalIntraOpNumThreads: [147, "void *", ["void *", "int"]],
  SetGlobalInterOpNumThreads: [148, "void *", ["void *", "int"]],
  SetGlobalSpinControl: [149, "void *", ["void *", "int"]],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, "void *", ["void *", "void *"]],
  CreateCUDAProviderOptions: [205, "void *", ["void *"]],
  UpdateCUDAProviderOptions: [206, "void *", ["void *", "void *", "void *", "size_t"]],
  ReleaseCUDAProviderOptions: [208, "void", ["void *"]],
  SessionOptionsAppendExecutionProvider: [216, "void *", ["void *", "const char *", "void *", "void *", "size_t"]],
  AddInitializer: [150, "void *", ["void *", "const char *", "void *"]],
  GetResizedStringTensorElementBuffer: [252, "void *", ["void *", "size_t", "size_t", "void *"]],
  SessionOptionsSetLoadCancellationFlag: [293, "void *", ["void *", "int"]],
  TensorTypeAndShape_HasShape: [390, "int", ["void *"]],
} as const satisfies Record<string, readonly [number, string, readonly string[]]>;

export type OrtFunctions = { readonly [K in keyof typeof FUNCTIONS]: NativeFunction };

/** OrtApi version that first had every function above but the optional ones. */
const API_VERSION = 17;
/** Functions newer than {@link API_VERSION}: present only in new enough libraries. */
const SINCE_VERSION: Partial<Record<keyof OrtFunctions, number>> = {
  SessionOptionsSetLoadCancellationFlag: 22,
  TensorTypeAndShape_HasShape: 24,
};

export interface OrtLibrary {
  /** koffi's handle: must stay reachable as long as any function below may be called. */
  readonly handle: LibraryHandle;
  readonly path: string;
  /** "1.30.0" */
  readonly version: string;
  readonly functions: OrtFunctions;
}

/**
 * The libonnxruntime inside the installed onnxruntime-node package.
 *
 * @throws ServingError DEPENDENCY_MISSING when the package has none for this platform
 */
export function bundledLibraryPath(): string {
  const root = dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
  const bin = join(root, "bin");
  for (const napi of existsSync(bin) ? readdirSync(bin) : []) {
    const dir = join(bin, napi, process.platform, process.arch);
    const file = existsSync(dir) && readdirSync(dir).find((name) => /^libonnxruntime\.(so\.1|1\.dylib)$/.test(name));
    if (file) return join(dir, file);
  }
  throw new ServingError(
    "DEPENDENCY_MISSING",
    `onnxruntime-node at ${root} has no library for ${process.platform}-${process.arch}; ` +
      "name a libonnxruntime 1.17 or newer with the environment variable SHARDSERVE_ORT",
  );
}

/** @throws ServingError DEPENDENCY_MISSING when the library cannot be loaded or is too old */
export function openOrtLibrary(path: string): OrtLibrary {
  let handle: LibraryHandle;
  try {
    handle = koffi.load(path);
  } catch (error) {
    throw new ServingError("DEPENDENCY_MISSING", `cannot load ONNX Runtime from ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const base = handle.func("OrtGetApiBase", "void *", [])() as bigint;
  const getApi = koffi.decode(koffi.decode(base, 0, "void *"), koffi.proto("void *", ["uint32_t"])) as unknown as (
    version: number,
  ) => bigint | null;
  const version = (koffi.decode(koffi.decode(base, 8, "void *"), koffi.proto("const char *", [])) as () => string)();
  const api = getApi(API_VERSION);
  if (api === null) {
    throw new ServingError("DEPENDENCY_MISSING", `${path} is ONNX Runtime ${version}; 1.17 or newer is needed`);
  }
  const minor = Number(version.split(".")[1]);
  const functions: Partial<Record<keyof OrtFunctions, NativeFunction>> = {};
  for (const [name, [index, result, args]] of Object.entries(FUNCTIONS) as [
    keyof OrtFunctions,
    readonly [number, string, readonly string[]],
  ][]) {
    if ((SINCE_VERSION[name] ?? 0) > minor) continue; // reading past the end of the table would crash
    const pointer = koffi.decode(api, index * 8, "void *") as bigint;
    functions[name] = koffi.decode(pointer, koffi.proto(result, [...args])) as unknown as NativeFunction;
  }
  return { handle, path, version, functions: functions as OrtFunctions };
}
