import { create, PredictRequestSchema, toBinary } from "@shardserve/api";
import { seededRandom } from "@shardserve/core";
import { encodeTensorProto, type Tensor, tensor } from "@shardserve/tensor";
import { zipfIds } from "../load/ids.js";

/** Inputs of one request by alias. */
export type Inputs = ReadonlyMap<string, Tensor>;

/** A PredictRequest for model "m". */
export function encodeRequest(inputs: Inputs): Buffer {
  const request = create(PredictRequestSchema, {
    modelSpec: { name: "m", signatureName: "serving_default" },
    inputs: Object.fromEntries(
      [...inputs].map(([alias, value]) => [alias, encodeTensorProto(value, { asContent: true })]),
    ),
  });
  return Buffer.from(toBinary(PredictRequestSchema, request));
}

/** The same request as a REST body, by columns. */
export function encodeJson(inputs: Inputs): string {
  const columns = [...inputs].map(([alias, { shape, data }]) => [alias, nested(shape, data as ArrayLike<unknown>)]);
  return JSON.stringify({ inputs: Object.fromEntries(columns) }, (_, value: unknown) =>
    typeof value === "bigint" ? Number(value) : value,
  );
}

function nested([batch = 0, width = 1]: readonly number[], data: ArrayLike<unknown>): unknown[][] {
  return Array.from({ length: batch }, (_, i) => Array.from({ length: width }, (__, j) => data[i * width + j]));
}

export function halfInputs(batch: number): Inputs {
  return new Map([
    [
      "x",
      tensor(
        "float32",
        [batch, 1],
        Float32Array.from({ length: batch }, (_, i) => i),
      ),
    ],
  ]);
}

/** Some hundred distinct requests of Zipf-distributed ids. */
export function dlrmInputs(batch: number, tables: readonly number[]): Inputs[] {
  const random = seededRandom(3);
  const sources = tables.map((count) => zipfIds(count, 0.9, random));
  return Array.from({ length: Math.ceil(20_000 / (batch + 20)) }, () => {
    const sparse = BigInt64Array.from({ length: batch * tables.length }, (_, i) =>
      BigInt(sources[i % tables.length]!()),
    );
    const dense = Float32Array.from({ length: batch * 13 }, () => random.next());
    return new Map<string, Tensor>([
      ["dense", tensor("float32", [batch, 13], dense)],
      ["sparse", tensor("int64", [batch, tables.length], sparse)],
    ]);
  });
}
