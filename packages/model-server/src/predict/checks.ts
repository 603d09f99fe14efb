import { ServingError } from "@shardserve/core";
import type { Manager, ServableHandle, SignatureInfo } from "@shardserve/servable";
import { decodeTensorProto, type NumericData, type StringColumn, type Tensor, tfDTypeString } from "@shardserve/tensor";
import type { RequestScope } from "../scope.js";
import type { ModelSpecFields } from "./wire.js";

/** The signature that a request means when it names none. */
export const DEFAULT_SIGNATURE = "serving_default";

/** @throws ServingError INVALID_ARGUMENT, NOT_FOUND with TensorFlow Serving's texts */
export function handleFor(
  manager: Pick<Manager, "handle">,
  spec: ModelSpecFields | undefined,
  stickyKey?: string,
): ServableHandle {
  if (!spec) throw new ServingError("INVALID_ARGUMENT", "Missing ModelSpec");
  if (spec.name === "") throw new ServingError("INVALID_ARGUMENT", "ModelSpec has no name specified.");
  const { name, version, label } = spec;
  return manager.handle({
    name,
    ...(version === undefined ? {} : { version }),
    ...(label === undefined ? {} : { label }),
    ...(stickyKey === undefined ? {} : { stickyKey }),
  });
}

/** @throws ServingError FAILED_PRECONDITION, what gRPC Predict answers; REST and the example calls word it otherwise */
export function predictSignature(handle: ServableHandle, name: string): SignatureInfo {
  const key = name === "" ? DEFAULT_SIGNATURE : name;
  const signature = handle.model.signatures.get(key);
  if (!signature) throw new ServingError("FAILED_PRECONDITION", `Serving signature key "${key}" not found.`);
  return signature;
}

const METHODS = { Classify: "tensorflow/serving/classify", Regress: "tensorflow/serving/regress" } as const;

/**
 * @param api  Predict, Classify or Regress; others check by themselves
 * @throws ServingError INTERNAL for Predict, else INVALID_ARGUMENT, with TensorFlow Serving's texts
 */
export function checkMethod({ method }: SignatureInfo, api: string): void {
  if (api === "Predict") {
    const known = ["tensorflow/serving/predict", METHODS.Classify, METHODS.Regress];
    if (known.includes(method)) return;
    const text = `Expected prediction signature method_name to be one of {${known.join(", ")}}. Was: ${method}`;
    throw new ServingError("INTERNAL", text);
  }
  if (api !== "Classify" && api !== "Regress") return;
  if (method === METHODS[api]) return;
  const kind = api === "Classify" ? "classification" : "regression";
  throw new ServingError(
    "INVALID_ARGUMENT",
    `Expected ${kind} signature method_name to be ${METHODS[api]}. Was: ${method}`,
  );
}

/** @throws ServingError INVALID_ARGUMENT for a signature that answers nothing, as a policy's get_initial_state can be */
export function checkAnswers({ outputs }: SignatureInfo): void {
  if (outputs.size > 0) return;
  throw new ServingError("INVALID_ARGUMENT", "Must specify at least one target to fetch or execute.");
}

/** @throws ServingError INVALID_ARGUMENT when there are too many inputs, or too few and no defaults */
export function checkInputCount(signature: SignatureInfo, sent: ReadonlyMap<string, unknown>): void {
  const { inputs, defaults } = signature;
  if (sent.size === inputs.size || (sent.size < inputs.size && defaults.size > 0)) return;
  const extra = [...sent.keys()].filter((alias) => !inputs.has(alias));
  const missing = [...inputs.keys()].filter((alias) => !sent.has(alias));
  throw new ServingError(
    "INVALID_ARGUMENT",
    `input size does not match signature: ${sent.size}!=${inputs.size} len({${sorted(sent.keys())}}) != ` +
      `len({${sorted(inputs.keys())}}). Sent extra: {${sorted(extra)}}. Missing but required: {${sorted(missing)}}.`,
  );
}

/**
 * Decodes the inputs of a request and fills in the signature's defaults; in the signature's order.
 *
 * @param decode  makes a tensor of what was sent under an alias
 * @throws ServingError INVALID_ARGUMENT with TensorFlow Serving's texts
 */
export function fillInputs<T>(
  signature: SignatureInfo,
  sent: ReadonlyMap<string, T>,
  decode: (alias: string, value: T) => Tensor,
): ReadonlyMap<string, Tensor> {
  checkInputCount(signature, sent);
  const inputs = new Map<string, Tensor>();
  let used = 0;
  for (const spec of signature.inputs.values()) {
    const value = sent.get(spec.name);
    const fallback = signature.defaults.get(spec.name);
    if (value === undefined && fallback === undefined) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Signature input alias: ${spec.name}(feed name: ${spec.tensorName}) not found in request and no default value ` +
          `provided. Inputs expected to be in the request {${sorted(sent.keys())}}, or default input alias set: ` +
          sorted(signature.defaults.keys()),
      );
    }
    if (value !== undefined) used++;
    inputs.set(spec.name, value === undefined ? fallback! : decode(spec.name, value));
  }
  if (used !== sent.size) {
    const known = [...sent.keys()].filter((alias) => signature.inputs.has(alias));
    throw new ServingError(
      "INVALID_ARGUMENT",
      `Inputs contains invalid name. Used request inputs: ${sorted(known)}, request input: ${sorted(sent.keys())}`,
    );
  }
  return inputs;
}

/** No encoding of all values is shorter than an eighth of them: an int64 takes a byte at least. */
const EXPANSION_MAX = 8;

/** @throws ServingError INVALID_ARGUMENT for bytes that are no TensorProto, RESOURCE_EXHAUSTED */
export function decodeInput(alias: string, bytes: Uint8Array, scope: RequestScope): Tensor {
  try {
    const value = decodeTensorProto(bytes);
    const filledBytes = byteLength(value) - EXPANSION_MAX * bytes.length;
    if (filledBytes > 0) scope.hold(filledBytes);
    return value;
  } catch (error) {
    const reason = ServingError.from(error);
    // A tensor that asks for more memory than its bytes justify is refused as such; TensorFlow would allocate it.
    if (reason.code === "RESOURCE_EXHAUSTED") throw reason;
    throw new ServingError("INVALID_ARGUMENT", `tensor parsing error: ${alias}`, { cause: error });
  }
}

function byteLength({ dtype, data }: Tensor): number {
  if (dtype !== "string") return (data as NumericData).byteLength;
  const { bytes, offsets } = data as StringColumn;
  return bytes.length + offsets.byteLength;
}

/** @throws ServingError INVALID_ARGUMENT for an output that is unknown or asked for twice */
export function checkOutputFilter(signature: SignatureInfo, filter: readonly string[]): readonly string[] | undefined {
  if (filter.length === 0) return undefined;
  const seen = new Set<string>();
  for (const alias of filter) {
    if (!signature.outputs.has(alias)) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `output tensor alias not found in signature: ${alias} Outputs expected to be in the set ` +
          `{${sorted(signature.outputs.keys())}}.`,
      );
    }
    if (seen.has(alias)) throw new ServingError("INVALID_ARGUMENT", `duplicate output tensor alias: ${alias}`);
    seen.add(alias);
  }
  return filter;
}

/** @throws ServingError INVALID_ARGUMENT; shapes are not checked here, the model does that */
export function checkDTypes(signature: SignatureInfo, inputs: ReadonlyMap<string, Tensor>): void {
  let position = 0;
  for (const spec of signature.inputs.values()) {
    const value = inputs.get(spec.name)!;
    const expected = spec.feedDType ?? spec.dtype;
    if (value.dtype !== expected) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Expects arg[${position}] to be ${tfDTypeString(expected)} but ${tfDTypeString(value.dtype)} is provided`,
      );
    }
    position++;
  }
}

function sorted(names: Iterable<string>): string {
  return [...names].sort().join(",");
}
