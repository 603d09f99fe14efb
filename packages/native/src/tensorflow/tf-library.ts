import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ServingError } from "@shardserve/core";
import koffi, { type LibraryHandle } from "koffi";
import { neverUnload, setDefaultEnvironment } from "../memory/libc.js";
import type { NativeFunction } from "../ort/ort-library.js";

/**
 * The functions of TensorFlow's C API that we call: result, arguments. Stable from TensorFlow 2.4 on (c_api.h, tf_tensor.h,
 * tf_tstring.h, tf_buffer.h, kernels.h).
 */
const FUNCTIONS = {
  TF_Version: ["const char *", []],
  TF_NewStatus: ["void *", []],
  TF_DeleteStatus: ["void", ["void *"]],
  TF_GetCode: ["int", ["void *"]],
  TF_Message: ["const char *", ["void *"]],
  TF_NewBufferFromString: ["void *", ["void *", "size_t"]],
  TF_DeleteBuffer: ["void", ["void *"]],
  TF_GetAllOpList: ["void *", []],
  TF_GetRegisteredKernelsForOp: ["void *", ["const char *", "void *"]],
  TF_NewGraph: ["void *", []],
  TF_DeleteGraph: ["void", ["void *"]],
  TF_NewImportGraphDefOptions: ["void *", []],
  TF_DeleteImportGraphDefOptions: ["void", ["void *"]],
  TF_GraphImportGraphDef: ["void", ["void *", "void *", "void *", "void *"]],
  TF_GraphOperationByName: ["void *", ["void *", "const char *"]],
  TF_OperationNumOutputs: ["int", ["void *"]],
  TF_NewSessionOptions: ["void *", []],
  TF_SetConfig: ["void", ["void *", "void *", "size_t", "void *"]],
  TF_DeleteSessionOptions: ["void", ["void *"]],
  TF_NewSession: ["void *", ["void *", "void *", "void *"]],
  TF_CloseSession: ["void", ["void *", "void *"]],
  TF_DeleteSession: ["void", ["void *", "void *"]],
  TF_SessionRun: [
    "void",
    [
      "void *", // session
      "void *", // RunOptions, a TF_Buffer or null
      "void *", // TF_Output[]: inputs
      "void *", // TF_Tensor *[]: their values
      "int",
      "void *", // TF_Output[]: outputs
      "void *", // TF_Tensor *[]: written
      "int",
      "void *", // TF_Operation *[]: targets
      "int",
      "void *", // RunMetadata
      "void *", // status
    ],
  ],
  TF_SessionListDevices: ["void *", ["void *", "void *"]],
  TF_DeleteDeviceList: ["void", ["void *"]],
  TF_DeviceListCount: ["int", ["void *"]],
  TF_DeviceListName: ["const char *", ["void *", "int", "void *"]],
  TF_DeviceListType: ["const char *", ["void *", "int", "void *"]],
  TF_DeviceListMemoryBytes: ["int64_t", ["void *", "int", "void *"]],
  TF_AllocateTensor: ["void *", ["int", "void *", "int", "size_t"]],
  TF_NewTensor: ["void *", ["int", "void *", "int", "void *", "size_t", "void *", "void *"]],
  TF_DeleteTensor: ["void", ["void *"]],
  TF_TensorType: ["int", ["void *"]],
  TF_NumDims: ["int", ["void *"]],
  TF_Dim: ["int64_t", ["void *", "int"]],
  TF_TensorByteSize: ["size_t", ["void *"]],
  TF_TensorData: ["void *", ["void *"]],
  TF_StringCopy: ["void", ["void *", "void *", "size_t"]],
  TF_StringDealloc: ["void", ["void *"]],
} as const satisfies Record<string, readonly [string, readonly string[]]>;

export type TfFunctions = { readonly [K in keyof typeof FUNCTIONS]: NativeFunction };

export interface TfLibrary {
  /** koffi's handles: must stay reachable as long as any function below may be called. */
  readonly handles: readonly LibraryHandle[];
  readonly path: string;
  /** "2.21.0" */
  readonly version: string;
  readonly functions: TfFunctions;
}

/** Names under which TensorFlow's C API is distributed: in pip's wheel, and in the C library of tensorflow.org and tfjs-node. */
const LIBRARY_NAMES = [
  "libtensorflow_cc.so.2",
  "libtensorflow.so.2",
  "libtensorflow_cc.2.dylib",
  "libtensorflow.2.dylib",
];
const FRAMEWORK_NAMES = ["libtensorflow_framework.so.2", "libtensorflow_framework.2.dylib"];
const TFJS_PACKAGES = ["@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-node"];

/** The folder of the libtensorflow that an installed tfjs-node-gpu or tfjs-node brought, if there is one. */
export function installedTensorFlow(): string | undefined {
  const require = createRequire(import.meta.url);
  for (const name of TFJS_PACKAGES) {
    let root: string;
    try {
      root = dirname(require.resolve(`${name}/package.json`));
    } catch {
      continue; // not installed
    }
    const folder = join(root, "deps/lib");
    if (fileIn(folder, LIBRARY_NAMES)) return folder;
  }
  return undefined;
}

function fileIn(folder: string, names: readonly string[]): string | undefined {
  return names.map((name) => join(folder, name)).find((path) => existsSync(path));
}

/**
 * Loads libtensorflow from a folder: that of pip's wheel, tfjs-node's `deps/lib`, or the `lib` of the C library.
 *
 * @throws ServingError DEPENDENCY_MISSING when there is none, or it cannot be loaded
 */
export function openTfLibrary(folder: string): TfLibrary {
  // The wheel's own folder, one that holds the wheel's, or an unpacked archive of the C library.
  const folders = [folder, join(folder, "lib"), join(folder, "tensorflow")];
  const found = folders.find((candidate) => fileIn(candidate, LIBRARY_NAMES));
  if (found === undefined) {
    throw new ServingError(
      "DEPENDENCY_MISSING",
      `no libtensorflow in ${folder}: give the folder that holds ${LIBRARY_NAMES.slice(0, 2).join(" or ")}, ` +
        "such as site-packages/tensorflow of `pip install tensorflow`",
    );
  }
  const path = fileIn(found, LIBRARY_NAMES)!;
  const framework = fileIn(found, FRAMEWORK_NAMES);
  setDefaultEnvironment("TF_CPP_MIN_LOG_LEVEL", "2"); // its banners are no news; the operator may set another level
  try {
    const handles = [...(framework === undefined ? [] : [koffi.load(framework)]), koffi.load(path)];
    for (const file of [framework, path]) if (file !== undefined) neverUnload(file);
    const functions: Partial<Record<keyof TfFunctions, NativeFunction>> = {};
    for (const [name, [result, args]] of Object.entries(FUNCTIONS) as [
      keyof TfFunctions,
      readonly [string, readonly string[]],
    ][]) {
      functions[name] = resolve(handles, name, result, args);
    }
    const version = String(functions.TF_Version!());
    return { handles, path, version, functions: functions as TfFunctions };
  } catch (error) {
    throw new ServingError("DEPENDENCY_MISSING", `cannot load TensorFlow from ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Tensors are in libtensorflow_framework, the rest in the other; which is which differs from release to release. */
function resolve(
  handles: readonly LibraryHandle[],
  name: string,
  result: string,
  args: readonly string[],
): NativeFunction {
  let missing: unknown;
  for (const handle of handles) {
    try {
      return handle.func(name, result, [...args]) as unknown as NativeFunction;
    } catch (error) {
      missing = error;
    }
  }
  throw missing;
}
