import { ServingError } from "@shardserve/core";
import type { RowsReport, ServableId } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { checkOutputFilter, DEFAULT_SIGNATURE, fillInputs } from "../predict/checks.js";
import type { Predictor } from "../predict/predictor.js";
import type { ModelSpecFields } from "../predict/wire.js";
import type { RequestScope } from "../scope.js";

/** Values of the `parameters` of a request, an input or an output. */
export type Parameters = ReadonlyMap<string, string | number | bigint | boolean>;

/** The parameter of a request that chooses a signature; the protocol itself knows one function per model. */
const SIGNATURE_PARAMETER = "signature_name";

/** What both transports ask for: a model and its outputs. */
export interface InferCall {
  readonly spec: ModelSpecFields;
  readonly outputs: readonly string[];
}

export interface InferResult {
  readonly by: ServableId;
  readonly signature: string;
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly report: RowsReport | undefined;
}

/**
 * Which model a request means. A version that is no number is a label.
 *
 * @throws ServingError INVALID_ARGUMENT for a signature name that is no string
 */
export function specOf(name: string, version: string, parameters: Parameters): ModelSpecFields {
  const signatureName = parameters.get(SIGNATURE_PARAMETER) ?? "";
  if (typeof signatureName !== "string") {
    throw new ServingError("INVALID_ARGUMENT", `parameter ${SIGNATURE_PARAMETER}: a string is needed`);
  }
  const isNumber = /^\d{1,20}$/.test(version);
  return {
    name,
    version: isNumber ? BigInt(version) : undefined,
    label: isNumber || version === "" ? undefined : version,
    signatureName,
  };
}

/**
 * ModelInfer without its transports. Inputs and outputs are the aliases of the signature, and its defaults fill in for
 * inputs that are left out.
 *
 * @param decode  makes a tensor of what was sent under a name
 * @throws ServingError with the texts of Predict
 */
export async function infer<T>(
  predictor: Predictor,
  call: InferCall,
  sent: ReadonlyMap<string, T>,
  decode: (name: string, value: T) => Tensor,
  scope: RequestScope,
): Promise<InferResult> {
  using handle = predictor.handle(call.spec, scope);
  const name = call.spec.signatureName || DEFAULT_SIGNATURE;
  const signature = handle.model.signatures.get(name);
  if (!signature) throw new ServingError("INVALID_ARGUMENT", `Serving signature key "${name}" not found.`);
  const inputs = fillInputs(signature, sent, decode);
  const outputs = checkOutputFilter(signature, call.outputs);
  const result = await predictor.run(handle, signature, inputs, outputs, scope, "Predict");
  const { requestLog } = predictor;
  if (requestLog?.isSampled(handle.id.name)) requestLog.writePredict(inputs, result.outputs, handle.id, name);
  return { by: handle.id, signature: name, outputs: result.outputs, report: result.report };
}

/** Extensions that change what an answer means, and that are not here. */
export function refuseExtensions(what: string, parameters: Parameters): void {
  for (const name of ["classification", "shared_memory_region"]) {
    if (parameters.has(name)) throw new ServingError("UNIMPLEMENTED", `${what}: parameter ${name} is not supported`);
  }
}
