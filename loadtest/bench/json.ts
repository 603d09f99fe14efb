import { parseArgs } from "node:util";
import { seededRandom } from "@shardserve/core";
import { indexJson, readPredictBody, rootObject, rowsToJson } from "@shardserve/model-server/internal";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { type DType, type Tensor, tensor } from "@shardserve/tensor";
import { median } from "./figures.js";
import { report } from "./machine.js";

const ROUNDS = 9;

/**
 * A REST predict body into tensors, and a tensor into a reply, beside what JSON.parse and JSON.stringify do for the same
 * bytes: parse and copy into typed arrays, make nested arrays and stringify. Both take turns; the figure is CPU time.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { elements: { type: "string", default: "1000000" }, json: { type: "string" } },
  });
  const elements = Number(values.elements);
  const lines = [
    readLine(
      "images, float32 [n,28,28]",
      rows(elements, 784, (row) => nested(row, 28)),
      { x: "float32" },
      elements,
    ),
    readLine(
      "features, float32 [n,16]",
      rows(elements, 16, (row) => row),
      { x: "float32" },
      elements,
    ),
    readLine("ids, int64 [n,8]", idRows(elements), { x: "int64" }, elements),
    readLine(
      "named, 13 floats and 6 ids",
      namedRows(elements),
      { dense: "float32", sparse: "int64" },
      Math.floor(elements / 19) * 19,
    ),
    writeLine("answers, float32 [n,1]", elements, 1),
    writeLine("embeddings, float32 [n,64]", elements, 64),
  ];
  report("json", lines, values.json);
  console.log(
    `${elements} numbers; CPU time, median of ${ROUNDS} pairs. ratio = the runtime's time over ours: more than 1 is faster.` +
      " longest = the longest stretch without letting other requests in (CPU time of all threads, the collector's among them).",
  );
}

/** Floats of about six digits. */
function seededFloats(count: number): Float32Array {
  const random = seededRandom(7);
  return Float32Array.from({ length: count }, () => Math.round(random.next() * 1e6) / 1e6);
}

/** Instances of `width` floats of six digits, as an image or a feature vector has. */
function rows(elements: number, width: number, shape: (row: number[]) => unknown): string {
  const values = seededFloats(elements);
  const count = Math.floor(elements / width);
  return JSON.stringify({
    instances: Array.from({ length: count }, (_, i) => shape(Array.from(values.subarray(i * width, (i + 1) * width)))),
  });
}

function nested(row: number[], width: number): number[][] {
  return Array.from({ length: row.length / width }, (_, i) => row.slice(i * width, (i + 1) * width));
}

function idRows(elements: number): string {
  // Beyond 2^53: JSON.parse rounds them, which is one of the reasons for a parser of our own.
  const ids = Array.from(
    { length: elements / 8 },
    (_, i) => `[${Array.from({ length: 8 }, (__, j) => `9007199254${740_993 + ((i * 8 + j) % 99_999)}`).join(",")}]`,
  );
  return `{"instances":[${ids.join(",")}]}`;
}

function namedRows(elements: number): string {
  const values = seededFloats(elements);
  const count = Math.floor(elements / 19);
  return JSON.stringify({
    instances: Array.from({ length: count }, (_, i) => ({
      dense: Array.from(values.subarray(i * 13, (i + 1) * 13)),
      sparse: Array.from({ length: 6 }, (__, j) => (i * 6 + j) % 1_000_000),
    })),
  });
}

function readLine(
  what: string,
  text: string,
  dtypes: Readonly<Record<string, DType>>,
  elements: number,
): Record<string, string | number> {
  const bytes = Buffer.from(text);
  const signature = signatureOf(dtypes);
  const slices = new Slices();
  const ours = (): number => {
    const document = slices.run(indexJson(bytes, () => undefined));
    const { inputs } = slices.run(readPredictBody(document, rootObject(document), signature));
    let count = 0;
    for (const { data } of inputs.values()) count += data.length;
    return count;
  };
  const runtime = (): number => {
    const { instances } = JSON.parse(bytes.toString()) as { instances: unknown[] };
    let count = 0;
    for (const [name, dtype] of Object.entries(dtypes)) {
      const data = dtype === "int64" ? new BigInt64Array(elements) : new Float32Array(elements);
      let at = 0;
      const push = (value: unknown): void => {
        if (Array.isArray(value)) for (const item of value) push(item);
        else if (data instanceof BigInt64Array) data[at++] = BigInt(value as number);
        else data[at++] = value as number;
      };
      const isNamed = Object.keys(dtypes).length > 1;
      for (const instance of instances) push(isNamed ? (instance as Record<string, unknown>)[name] : instance);
      count += at;
    }
    return count;
  };
  return line(what, bytes.length, elements, ours, runtime, slices);
}

function writeLine(what: string, elements: number, width: number): Record<string, string | number> {
  const data = seededFloats(elements);
  const count = elements / width;
  const value: Tensor = tensor("float32", [count, width], data);
  const slices = new Slices();
  const ours = () => slices.run(rowsToJson(new Map([["y", value]]))).length;
  const runtime = () =>
    Buffer.from(
      JSON.stringify({
        predictions: Array.from({ length: count }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width))),
      }),
    ).length;
  return line(what, ours(), elements, ours, runtime, slices);
}

function line(
  what: string,
  byteLength: number,
  elements: number,
  ours: () => number,
  runtime: () => number,
  slices: Slices,
): Record<string, string | number> {
  ours(); // compiles
  runtime();
  slices.longestMs = 0;
  const pairs = Array.from({ length: ROUNDS }, () => [cpuMs(ours), cpuMs(runtime)] as const);
  const oursMs = median(pairs.map(([ms]) => ms));
  return {
    what,
    MiB: Number((byteLength / 2 ** 20).toFixed(1)),
    "ns/number": Math.round((oursMs * 1e6) / elements),
    "MiB/s": Math.round(byteLength / 2 ** 20 / (oursMs / 1000)),
    ratio: Number(median(pairs.map(([a, b]) => b / a)).toFixed(2)),
    "longest ms": Number(slices.longestMs.toFixed(1)),
  };
}

function cpuMs(run: () => number): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Runs computations that pause, and notes the longest stretch between two pauses. */
class Slices {
  longestMs = 0;

  run<T>(slices: Generator<undefined, T>): T {
    for (;;) {
      const before = process.cpuUsage();
      const slice = slices.next();
      const { user, system } = process.cpuUsage(before);
      this.longestMs = Math.max(this.longestMs, (user + system) / 1000);
      if (slice.done) return slice.value;
    }
  }
}

function signatureOf(dtypes: Readonly<Record<string, DType>>): SignatureInfo {
  const inputs = Object.entries(dtypes).map(([name, dtype]): [string, TensorSpec] => [
    name,
    { name, dtype, shape: undefined, tensorName: `${name}:0` },
  ]);
  return { name: "serving_default", method: "", inputs: new Map(inputs), outputs: new Map(), defaults: new Map() };
}
