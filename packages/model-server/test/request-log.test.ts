import assert from "node:assert/strict";
import { mkdir, open, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ClassificationRequestSchema,
  create,
  ExampleSchema,
  fromBinary,
  MultiInferenceRequestSchema,
  type PredictionLog,
  PredictionLogSchema,
  SessionRunRequestSchema,
  toBinary,
} from "@shardserve/api";
import { ManualClock, seededRandom, ServingError, silentLogger } from "@shardserve/core";
import { configuredModels, parseTextFormat, RequestLog, warmingLoader } from "@shardserve/model-server";
import { decodeTensorProto, encodeTensorProto, tensor } from "@shardserve/tensor";
import { ModelServerConfigSchema } from "@shardserve/api";
import { type TempDir, tempDir } from "@shardserve/testkit";
import { RecordFileWriter } from "../src/request-log/record-file-writer.js";
import { readRecords } from "../src/warm-up/record-file.js";
import { callRaw, exampleInput, PREDICT, predictRequest, startServer } from "./harness.js";
import { halfPlus } from "./models.js";

const x = tensor("float32", [2, 1], Float32Array.of(1, 2));
const example = toBinary(
  ExampleSchema,
  create(ExampleSchema, { features: { feature: { x: { kind: { case: "floatList", value: { value: [4] } } } } } }),
);

describe("request log", () => {
  let dir: TempDir;
  beforeEach(async () => {
    dir = await tempDir("shardserve-request-log-");
  });
  afterEach(() => dir.remove());

  const logsIn = async (folder: string): Promise<PredictionLog[]> => {
    const logs: PredictionLog[] = [];
    for (const name of (await readdir(folder)).sort()) {
      assert.match(name, /^m-\d{8}T\d{6}Z-7-\d+\.tfrecord$/);
      for await (const record of readRecords(join(folder, name))) logs.push(fromBinary(PredictionLogSchema, record));
    }
    return logs;
  };
  const logOf = (more: Partial<ConstructorParameters<typeof RequestLog>[0]> = {}) =>
    new RequestLog({ directory: dir.path, samplingRate: 1, tags: ["serve"], pid: 7, random: seededRandom(1), ...more });

  it("holds every kind of call with its answer, over both transports, and serves as warm-up", async () => {
    const requestLog = logOf({ clock: new ManualClock(1_700_000_000_000) });
    await requestLog.start();
    {
      await using server = await startServer({ m: { 5: halfPlus(2) } }, { requestLog });
      const rest = async (path: string, body: string) => {
        const reply = await fetch(server.baseUrl + path, { method: "POST", body });
        assert.equal(reply.status, 200, await reply.text());
      };
      const grpc = (path: string, bytes: Uint8Array) => callRaw(server.client, path, bytes);
      await grpc(PREDICT, predictRequest({ x }));
      await rest("/v1/models/m:predict", '{"instances": [[1.0], [2.0]]}');
      await rest(
        "/v2/models/m/infer",
        '{"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}]}',
      );
      const input = exampleInput([example]);
      const spec = { name: "m", signatureName: "classify_x_to_y" };
      const classification = create(ClassificationRequestSchema, { modelSpec: spec, input });
      await grpc(
        "/tensorflow.serving.PredictionService/Classify",
        toBinary(ClassificationRequestSchema, classification),
      );
      await rest("/v1/models/m:classify", '{"signature_name": "classify_x_to_y", "examples": [{"x": 4.0}]}');
      await rest("/v1/models/m:regress", '{"signature_name": "regress_x_to_y", "examples": [{"x": 4.0}]}');
      const tasks = [
        { modelSpec: { name: "m", signatureName: "regress_x_to_y" }, methodName: "tensorflow/serving/regress" },
      ];
      const multi = create(MultiInferenceRequestSchema, { tasks, input });
      await grpc("/tensorflow.serving.PredictionService/MultiInference", toBinary(MultiInferenceRequestSchema, multi));
      const feed = [{ name: "x:0", tensor: encodeTensorProto(x) }];
      const run = create(SessionRunRequestSchema, { modelSpec: { name: "m" }, feed, fetch: ["y:0"] });
      await grpc("/tensorflow.serving.SessionService/SessionRun", toBinary(SessionRunRequestSchema, run));
      await assert.rejects(grpc(PREDICT, predictRequest({})), /input size does not match/); // failures are not logged
      await requestLog.close();
      const metrics = await (await fetch(`${server.baseUrl}/monitoring/prometheus/metrics`)).text();
      assert.match(metrics, /:tensorflow:serving:request_log_count\{model_name="m",status_code="OK"\} 8\n/);
    }
    const logs = await logsIn(dir.path);
    assert.deepEqual(
      logs.map(({ logType }) => logType.case),
      [
        "predictLog",
        "predictLog",
        "predictLog",
        "classifyLog",
        "classifyLog",
        "regressLog",
        "multiInferenceLog",
        "sessionRunLog",
      ],
    );
    for (const { logMetadata, logType } of logs) {
      assert.equal(logMetadata!.timestampSecs, 1_700_000_000n);
      assert.deepEqual([logMetadata!.savedModelTags, logMetadata!.samplingConfig!.samplingRate], [["serve"], 1]);
      const { modelSpec } = logMetadata!;
      assert.equal(modelSpec!.name, "m");
      assert.equal(modelSpec!.versionChoice.case === "version" && modelSpec!.versionChoice.value.value, 5n);
      if (logType.case === "predictLog") {
        const { request, response } = logType.value;
        assert.deepEqual(decodeTensorProto(request!.inputs["x"]!), x);
        assert.deepEqual([...(decodeTensorProto(response!.outputs["y"]!).data as Float32Array)], [2.5, 3]);
        assert.equal(modelSpec!.signatureName, "serving_default");
      } else if (logType.case === "classifyLog") {
        assert.deepEqual(Buffer.from(logType.value.request!.input), Buffer.from(exampleInput([example])));
        assert.equal(logType.value.response!.result!.classifications[0]!.classes[0]!.score, 4);
      } else if (logType.case === "regressLog") {
        assert.equal(logType.value.response!.result!.regressions[0]!.value, 4);
      }
    }

    const [file] = await readdir(dir.path);
    const version = join(dir.path, "version");
    await mkdir(join(version, "assets.extra"), { recursive: true });
    const model = halfPlus(2);
    // SessionRun is no warm-up, as in TensorFlow Serving: all but the last record.
    const kept = logs.slice(0, -1).map((log) => toBinary(PredictionLogSchema, log));
    const writer = new RecordFileWriter({
      directory: dir.path,
      prefix: "w",
      pid: 1,
      clock: new ManualClock(0),
      logger: silentLogger,
      onSettled: () => undefined,
    });
    for (const record of kept) assert.ok(writer.write("m", Buffer.from(record)));
    await writer.close();
    assert.ok(file);
    const written = (await readdir(dir.path)).find((name) => name.startsWith("w-"))!;
    await rename(join(dir.path, written), join(version, "assets.extra", "tf_serving_warmup_requests"));
    const loader = warmingLoader({ load: async () => model }, { directoryOf: async () => version, iterations: 1 });
    await loader.load({ name: "m", version: 5 }, version, { signal: new AbortController().signal });
    assert.equal(model.runCount, kept.length);
  });

  it("takes the share of the requests that it is told to, by model", () => {
    const requestLog = logOf({ samplingRate: 0 });
    const share = (model: string) =>
      Array.from({ length: 10_000 }, () => requestLog.isSampled(model)).filter(Boolean).length / 10_000;
    requestLog.configure(new Map([["a", { samplingRate: 0.25, filePrefix: "a" }]]));
    assert.equal(share("m"), 0);
    assert.ok(Math.abs(share("a") - 0.25) < 0.02);
    requestLog.configure(new Map());
    assert.equal(share("a"), 0);
    assert.equal(logOf().isSampled("m"), true);
  });

  it("begins a new file when one is full, and shows only whole ones under their name", async () => {
    let settled = 0;
    const onSettled = (_model: string, count: number) => (settled += count);
    const options = {
      directory: dir.path,
      prefix: "m",
      pid: 7,
      clock: new ManualClock(0),
      logger: silentLogger,
      onSettled,
      fileBytesMax: 250,
    };
    const writer = new RecordFileWriter(options);
    for (let i = 0; i < 5; i++) {
      assert.ok(writer.write("m", Buffer.alloc(100, i)));
      while (settled <= i) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(
      (await readdir(dir.path)).map((name) => name.split("-").at(-1)),
      ["0.tfrecord", "1.tfrecord.partial"],
    );
    await writer.close();
    const sizes: number[] = [];
    for (const name of (await readdir(dir.path)).sort()) {
      for await (const record of readRecords(join(dir.path, name))) sizes.push(record[0]!);
    }
    assert.deepEqual(sizes, [0, 1, 2, 3, 4]);
  });

  it("drops what a slow disk does not take, and counts what it lost", async () => {
    const lost: (ServingError | undefined)[] = [];
    const common = { directory: dir.path, prefix: "m", pid: 7, clock: new ManualClock(0), logger: silentLogger };
    const onSettled = (_model: string, count: number, error: ServingError | undefined) =>
      lost.push(...Array<ServingError | undefined>(count).fill(error));
    const small = new RecordFileWriter({ ...common, onSettled, queueBytesMax: 250 });
    const taken = Array.from({ length: 5 }, () => small.write("m", Buffer.alloc(100)));
    assert.deepEqual(taken, [true, true, false, false, false]);
    await small.close();
    assert.deepEqual(lost.splice(0), [undefined, undefined]);
    assert.ok(small.write("m", Buffer.alloc(100)), "there is room again");
    await small.close();

    await writeFile(join(dir.path, "file"), "");
    const blocked = new RecordFileWriter({ ...common, prefix: "file/m", onSettled });
    assert.ok(blocked.write("m", Buffer.alloc(100)));
    await blocked.close();
    assert.deepEqual(
      lost.splice(0).map((error) => error?.code),
      [undefined, "INTERNAL"],
    );
  });

  it("gathers no files while the disk is full, and keeps the whole records of the one that it filled", async () => {
    const probe = await open(import.meta.filename);
    await probe.close();
    const handles = Object.getPrototypeOf(probe) as { writeFile: (this: unknown, bytes: Buffer) => Promise<void> };
    const { writeFile: written } = handles;
    const common = { directory: dir.path, prefix: "m", pid: 7, clock: new ManualClock(0), logger: silentLogger };
    let settled = 0;
    const writer = new RecordFileWriter({ ...common, onSettled: (_model, count) => (settled += count) });
    const write = async () => {
      const before = settled;
      assert.ok(writer.write("m", Buffer.alloc(100, 1)));
      while (settled === before) await new Promise((resolve) => setImmediate(resolve));
    };
    await write();
    handles.writeFile = async function (bytes) {
      await written.call(this, bytes.subarray(0, 50));
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    };
    try {
      for (let i = 0; i < 5; i++) await write();
    } finally {
      handles.writeFile = written;
    }
    await write();
    await writer.close();
    const records: Buffer[] = [];
    const names = await readdir(dir.path);
    for (const name of names) for await (const record of readRecords(join(dir.path, name))) records.push(record);
    assert.deepEqual([names.length, records.length], [2, 2], names.join(", "));
  });

  it("leaves its directory for no model's name, and no prefix", async () => {
    const inside = join(dir.path, "inside");
    for (const prefix of [".", ".."]) {
      const writer = new RecordFileWriter({
        directory: inside,
        prefix,
        pid: 7,
        clock: new ManualClock(1_700_000_000_000),
        logger: silentLogger,
        onSettled: (_model, _count, error) => assert.equal(error, undefined),
      });
      assert.ok(writer.write("m", Buffer.alloc(10)));
      await writer.close();
    }
    assert.equal((await readdir(inside)).length, 2);
    assert.deepEqual(
      (await readdir(dir.path)).filter((name) => name.startsWith("inside")),
      ["inside"],
    );
  });

  it("counts the records of models that share a prefix under each of them", async () => {
    const log = logOf();
    const logged: string[] = [];
    log.onLogged = (model, status, count) => logged.push(`${model} ${status} ${count}`);
    const shared = { samplingRate: 1, filePrefix: "shared" };
    log.configure(
      new Map([
        ["a", shared],
        ["b", shared],
      ]),
    );
    await log.start();
    const outputs = new Map([["y", x]]);
    for (const name of ["a", "b", "b"]) log.writePredict(new Map([["x", x]]), outputs, { name, version: 1 }, "s");
    await log.close();
    const counts = new Map<string, number>();
    for (const line of logged) {
      const [model, status, count] = line.split(" ");
      assert.equal(status, "OK");
      counts.set(model!, (counts.get(model!) ?? 0) + Number(count));
    }
    assert.deepEqual(
      [...counts],
      [
        ["a", 1],
        ["b", 2],
      ],
    );
    assert.equal((await readdir(dir.path)).length, 1);
  });

  it("is configured by logging_config, inside its directory only", () => {
    const models = (logging: string, isPossible = true) => {
      const text = `model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" logging_config { ${logging} } } }`;
      const { config } = parseTextFormat(ModelServerConfigSchema, text, "f");
      return configuredModels(config.case === "modelConfigList" ? config.value : assert.fail(), {
        isLoggingPossible: isPossible,
      });
    };
    const collector = (prefix: string) => `log_collector_config { type: "file" filename_prefix: "${prefix}" }`;
    assert.deepEqual(models(`${collector("a/b")} sampling_config { sampling_rate: 0.5 }`)[0]!.logging, {
      samplingRate: 0.5,
      filePrefix: "a/b",
    });
    assert.deepEqual(models("sampling_config { sampling_rate: 1 }")[0]!.logging, { samplingRate: 1, filePrefix: "m" });
    for (const prefix of ["/etc/m", "../m", "a/../../m", "a/..", "..\\\\m"]) {
      assert.throws(() => models(collector(prefix)), /leads out of the log directory/, prefix);
    }
    const refused: [string, RegExp][] = [
      ["sampling_config { sampling_rate: 2 }", /sampling_rate 2 is not 0 to 1/],
      ["sampling_config { sampling_rate: nan }", /sampling_rate NaN is not 0 to 1/],
      ["sampling_config { attributes: 1 }", /only sampling_rate is supported/],
      ['log_collector_config { type: "kafka" }', /type "kafka" is not "file"/],
      ["custom_logging_config {}", /custom_logging_config is not supported/],
    ];
    for (const [logging, message] of refused)
      assert.throws(() => models(logging), { code: "INVALID_ARGUMENT", message });
    assert.throws(() => models("", false), /No request-logger-creator provided.*--request-log-dir/);
  });
});
