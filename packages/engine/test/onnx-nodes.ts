import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, onnx, toBinary } from "@shardserve/api";
import { loadOnnxModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import type { RowSource } from "@shardserve/rowstore";
import { bytesOf, DTYPES } from "@shardserve/tensor";

export const FLOAT = DTYPES.float32.onnx;
export const INT64 = DTYPES.int64.onnx;
const { INT, STRING } = onnx.AttributeProto_AttributeType;

export const int = (name: string, i: number) => create(onnx.AttributeProtoSchema, { name, type: INT, i: BigInt(i) });
export const text = (name: string, s: string) =>
  create(onnx.AttributeProtoSchema, { name, type: STRING, s: Buffer.from(s) });
export const node = (opType: string, input: string[], output: string[], attribute: onnx.AttributeProto[] = []) =>
  create(onnx.NodeProtoSchema, { opType, name: opType.toLowerCase(), input, output, attribute });
export const floats = (name: string, dims: number[]) =>
  create(onnx.TensorProtoSchema, {
    name,
    dims: dims.map(BigInt),
    dataType: FLOAT,
    rawData: bytesOf(new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(0.5)),
  });
export const value = (name: string, elemType: number, dims?: (string | number)[]) =>
  create(onnx.ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: "tensorType",
        value: {
          elemType,
          ...(dims && { shape: { dim: dims.map(dimension) } }),
        },
      },
    },
  });

function dimension(size: string | number) {
  return typeof size === "string"
    ? ({ value: { case: "dimParam", value: size } } as const)
    : ({ value: { case: "dimValue", value: BigInt(size) } } as const);
}

export interface Parts {
  readonly nodes: onnx.NodeProto[];
  readonly inputs: onnx.ValueInfoProto[];
  readonly outputs: onnx.ValueInfoProto[];
  readonly initialisers?: onnx.TensorProto[];
  readonly functions?: onnx.FunctionProto[];
  readonly opset?: number;
}

/** Loads a model of those nodes, written into `dir`. */
export async function loadNodes(
  dir: string,
  { nodes, inputs, outputs, initialisers = [], functions = [], opset = 17 }: Parts,
  rowSource?: RowSource,
) {
  const graph = { name: "test", node: nodes, input: inputs, output: outputs, initializer: initialisers };
  const opsetImport = [{ version: BigInt(opset) }, { domain: "own", version: 1n }];
  const model = create(onnx.ModelProtoSchema, { irVersion: 8n, opsetImport, graph, functions });
  await writeFile(join(dir, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
  return loadOnnxModel({ dir, ort: loadOrt(), rowSource });
}
