import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  create,
  ExampleSchema,
  type MessageInitShape,
  PredictionLogSchema,
  PredictRequestSchema,
  toBinary,
} from "@shardserve/api";
import type { ServingError } from "@shardserve/core";
import { warmingLoader } from "@shardserve/model-server";
import { checksum, maskChecksum } from "@shardserve/savedmodel";
import { encodeTensorProto, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { readRecords } from "../src/warm-up/record-file.js";
import { type FunctionModel, halfPlus } from "./models.js";
import { exampleInput } from "./harness.js";

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** One record of a TFRecord file. */
function framed(data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  const crc = (bytes: Uint8Array) => uint32(maskChecksum(checksum(bytes)));
  return Buffer.concat([length, crc(length), data, crc(data)]);
}

type Log = NonNullable<MessageInitShape<typeof PredictionLogSchema>["logType"]>;
const record = (logType: Log) => framed(toBinary(PredictionLogSchema, create(PredictionLogSchema, { logType })));

const x = encodeTensorProto(tensor("float32", [1, 1], Float32Array.of(1)));
const example = toBinary(
  ExampleSchema,
  create(ExampleSchema, { features: { feature: { x: { kind: { case: "floatList", value: { value: [3] } } } } } }),
);
const input = exampleInput([example]);
const predict = (inputs: Record<string, Uint8Array>, modelSpec?: object) =>
  record({
    case: "predictLog",
    value: { request: create(PredictRequestSchema, { inputs, ...(modelSpec && { modelSpec }) }) },
  });
const task = (signatureName: string, kind: string) => ({
  modelSpec: { name: "any", signatureName },
  methodName: `tensorflow/serving/${kind}`,
});

describe("warm-up", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "shardserve-warm-"));
    await mkdir(join(dir, "assets.extra"));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const file = () => join(dir, "assets.extra", "tf_serving_warmup_requests");

  /** Loads with these bytes as the file; the model and what became of it. */
  async function load(bytes: Buffer | undefined, iterations = 1): Promise<{ model: FunctionModel; failure?: string }> {
    if (bytes) await writeFile(file(), bytes);
    const model = halfPlus(2);
    const loader = warmingLoader({ load: async () => model }, { directoryOf: async (_id, path) => path, iterations });
    const { signal } = new AbortController();
    return loader.load({ name: "m", version: 1 }, dir, { signal }).then(
      () => ({ model }),
      (error: ServingError) => ({ model, failure: `${error.status}: ${error.message.replace(dir, "")}` }),
    );
  }

  it("runs every kind of request before the model is handed out, as often as told", async () => {
    const bytes = Buffer.concat([
      predict({ x }),
      predict({ x }, { name: "another", versionChoice: { case: "versionLabel", value: "x" } }),
      record({ case: "classifyLog", value: { request: { modelSpec: { signatureName: "classify_x_to_y" }, input } } }),
      record({ case: "regressLog", value: { request: { modelSpec: { signatureName: "regress_x_to_y" }, input } } }),
      record({
        case: "multiInferenceLog",
        value: {
          request: { tasks: [task("regress_x_to_y", "regress"), task("classify_x_to_y", "classify")], input },
        },
      }),
      record({ case: undefined }),
    ]);
    const once = await load(bytes);
    assert.equal(once.failure, undefined);
    assert.equal(once.model.runCount, 6);
    assert.equal((await load(bytes, 3)).model.runCount, 18);
    assert.equal(once.model.isClosed, false);
  });

  it("does nothing without the file, or with an empty one", async () => {
    for (const bytes of [undefined, Buffer.alloc(0)]) {
      const { model, failure } = await load(bytes);
      assert.equal(failure, undefined);
      assert.equal(model.runCount, 0);
    }
  });

  it("fails the load when a request fails, and closes the model", async () => {
    const at = "/assets.extra/tf_serving_warmup_requests";
    const flipped = predict({ x });
    flipped[14]! ^= 1;
    const wrongLength = predict({ x });
    wrongLength[0]! ^= 1;
    for (const [bytes, failure] of [
      [
        Buffer.concat([predict({ x }), predict({ y: x })]),
        `INVALID_ARGUMENT: ${at}, record 2: Signature input alias: x(feed name: x:0) not found in request and no default value provided.`,
      ],
      [
        record({ case: "sessionRunLog", value: {} }),
        `UNIMPLEMENTED: ${at}, record 1: Unsupported log_type for warmup: 5`,
      ],
      [
        record({ case: "predictStreamedLog", value: {} }),
        `UNIMPLEMENTED: ${at}, record 1: Unsupported log_type for warmup: 7`,
      ],
      [framed(Buffer.from("0aff", "hex")), `INVALID_ARGUMENT: ${at}, record 1: it is no PredictionLog: `],
      [flipped, `DATA_LOSS: ${at}: corrupted record at byte 0. Please verify your warmup data is in TFRecord format.`],
      [wrongLength, `DATA_LOSS: ${at}: corrupted record at byte 0.`],
      [predict({ x }).subarray(0, -1), `DATA_LOSS: ${at}: truncated record at byte 0.`],
      [Buffer.from("no records"), `DATA_LOSS: ${at}: truncated record at byte 0.`],
      [
        Buffer.concat(Array<Buffer>(1001).fill(record({ case: undefined }))),
        `INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at ${at}`,
      ],
    ] as const) {
      const { model, failure: actual } = await load(bytes);
      assert.equal(actual?.slice(0, failure.length), failure);
      assert.equal(model.isClosed, true);
    }
  });

  it("says which file cannot be read", async () => {
    await rm(file(), { force: true });
    await mkdir(file());
    const loader = warmingLoader({ load: async () => halfPlus(2) }, { directoryOf: async () => dir, iterations: 1 });
    const { signal } = new AbortController();
    await assert.rejects(loader.load({ name: "m", version: 1 }, dir, { signal }), {
      code: "FAILED_PRECONDITION",
      message: `${file()} cannot be read: it is no file`,
    });
    await rmdir(file());
  });

  it("stops when the load is not wanted any more", async () => {
    await writeFile(file(), predict({ x }));
    const model = halfPlus(2);
    const loader = warmingLoader({ load: async () => model }, { directoryOf: async () => dir, iterations: 1 });
    const abort = new AbortController();
    abort.abort(new Error("not wanted"));
    await assert.rejects(loader.load({ name: "m", version: 1 }, dir, { signal: abort.signal }), /not wanted/);
    assert.equal(model.isClosed, true);
  });

  it("reads any records back, and notices any flipped bit", async () => {
    const bytes = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 });
    const all = async () => {
      const records: Buffer[] = [];
      for await (const each of readRecords(file())) records.push(each);
      return records;
    };
    await fc.assert(
      fc.asyncProperty(bytes, fc.nat(), async (records, bit) => {
        const whole = Buffer.concat(records.map(framed));
        await writeFile(file(), whole);
        assert.deepEqual(
          await all(),
          records.map((each) => Buffer.from(each)),
        );
        if (whole.length === 0) return;
        const at = bit % (whole.length * 8);
        whole[at >> 3]! ^= 1 << (at & 7);
        await writeFile(file(), whole);
        await assert.rejects(all(), { code: "CHECKSUM_MISMATCH" });
      }),
      { numRuns: 60 },
    );
  });
});
