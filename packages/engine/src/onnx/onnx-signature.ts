import { create, SignatureDefMapSchema, type TensorInfo, TensorInfoSchema, toBinary } from "@shardserve/api";
import { type Logger, ServingError } from "@shardserve/core";
import { ONNX_SIGNATURE } from "@shardserve/onnx";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { type DType, DTYPES } from "@shardserve/tensor";

const METHOD = "tensorflow/serving/predict";

/** An input or output of an ONNX model. */
export interface OnnxValue {
  readonly name: string;
  /** undefined for sequences and maps, and for element types that requests do not carry. */
  readonly dtype: DType | undefined;
  readonly shape: readonly number[] | undefined;
}

/**
 * The one signature of an ONNX model: its inputs, and those outputs that are tensors.
 *
 * @param path  names the model in errors
 * @throws ServingError OP_UNSUPPORTED
 */
export function onnxSignature(
  inputs: readonly OnnxValue[],
  outputs: readonly OnnxValue[],
  path: string,
  logger: Logger,
): SignatureInfo {
  const foreign = inputs.find(({ dtype }) => dtype === undefined);
  if (foreign) throw foreignInput(foreign.name, path);
  const tensors = outputs.filter(({ dtype }) => dtype !== undefined);
  if (tensors.length === 0) throw new ServingError("OP_UNSUPPORTED", `${path}: no output is a tensor`);
  for (const { name, dtype } of outputs) {
    if (dtype === undefined)
      logger.warn({ path, output: name }, "an output that is no tensor that answers can carry is left out");
  }
  return { name: ONNX_SIGNATURE, method: METHOD, inputs: specs(inputs), outputs: specs(tensors), defaults: new Map() };
}

/** Sequences, maps and optional tensors have no form in a request, nor has float8. */
export function foreignInput(name: string, path: string): ServingError {
  return new ServingError("OP_UNSUPPORTED", `${path}: the input "${name}" is no tensor that requests can carry`);
}

function specs(values: readonly OnnxValue[]): ReadonlyMap<string, TensorSpec> {
  return new Map(values.map(({ name, dtype, shape }) => [name, { name, dtype: dtype!, shape, tensorName: name }]));
}

/** Serialised SignatureDefMap. */
export function onnxMetadata({ inputs, outputs, method }: SignatureInfo): Uint8Array {
  const infos = (tensors: ReadonlyMap<string, TensorSpec>): Record<string, TensorInfo> =>
    Object.fromEntries(
      [...tensors.values()].map(({ name, dtype, shape, tensorName }) => [
        name,
        create(TensorInfoSchema, {
          encoding: { case: "name", value: tensorName },
          dtype: DTYPES[dtype].tf,
          tensorShape: shape ? { dim: shape.map((size) => ({ size: BigInt(size) })) } : { unknownRank: true },
        }),
      ]),
    );
  const definition = { inputs: infos(inputs), outputs: infos(outputs), methodName: method };
  return toBinary(
    SignatureDefMapSchema,
    create(SignatureDefMapSchema, { signatureDef: { [ONNX_SIGNATURE]: definition } }),
  );
}
