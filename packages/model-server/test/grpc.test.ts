import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import {
  AnySchema,
  anyUnpack,
  ClassificationRequestSchema,
  ClassificationResponseSchema,
  create,
  ExampleSchema,
  GetModelMetadataRequestSchema,
  GetModelMetadataResponseSchema,
  GetModelStatusRequestSchema,
  GetModelStatusResponseSchema,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  Int64ValueSchema,
  MultiInferenceRequestSchema,
  MultiInferenceResponseSchema,
  RegressionRequestSchema,
  type RegressionResult,
  RegressionResponseSchema,
  SignatureDefMapSchema,
  toBinary,
} from "@shardserve/api";
import { type CancelSignal, ServingError } from "@shardserve/core";
import { ModelServer } from "@shardserve/model-server";
import { Manager } from "@shardserve/servable";
import { scalar, strings, type Tensor, tensor } from "@shardserve/tensor";
import {
  call,
  callRaw,
  exampleInput,
  failureOf,
  PREDICT,
  predict,
  predictRequest,
  startServer,
  type TestServer,
} from "./harness.js";
import { FunctionModel, halfPlus } from "./models.js";

const PREDICTION = "/tensorflow.serving.PredictionService";
const STATUS = "/tensorflow.serving.ModelService/GetModelStatus";
const floats = (...values: number[]) => tensor("float32", [values.length, 1], Float32Array.from(values));
const version = (value: bigint) => ({ case: "version", value: create(Int64ValueSchema, { value }) }) as const;
const example = (feature: Record<string, number[]>) =>
  toBinary(
    ExampleSchema,
    create(ExampleSchema, {
      features: {
        feature: Object.fromEntries(
          Object.entries(feature).map(([name, value]) => [
            name,
            { kind: { case: "floatList" as const, value: { value } } },
          ]),
        ),
      },
    }),
  );

const report = { cacheRows: 5, shardRows: 4, redisRows: 3, staleRows: 2, defaultRows: 1, epoch: 7, tables: [] };

/** Two inputs, one with a default; two outputs. */
const withDefaults = new FunctionModel({
  serving_default: {
    inputs: { a: { dtype: "float32" }, b: { dtype: "float32", tensorName: "feed_b:0" } },
    outputs: { sum: { dtype: "float32" }, first: { dtype: "float32" } },
    defaults: { b: scalar("float32", 10) },
    run: (inputs) => {
      const value = (alias: string) => (inputs.get(alias)!.data as Float32Array)[0]!;
      return { sum: scalar("float32", value("a") + value("b")), first: inputs.get("a") as Tensor };
    },
  },
});

const slow = new FunctionModel({
  serving_default: {
    inputs: { x: { dtype: "float32" } },
    outputs: { y: { dtype: "float32" } },
    run: (_inputs, { signal }) =>
      new Promise((_resolve, reject) => {
        slowRuns.push(signal!);
        signal!.addEventListener("abort", () => reject(signal!.reason as Error), { once: true });
      }),
  },
});
const slowRuns: CancelSignal[] = [];

const failing = new FunctionModel({
  serving_default: {
    inputs: { x: { dtype: "float32" } },
    outputs: { y: { dtype: "float32" } },
    run: () => {
      throw new ServingError("ROW_OUT_OF_RANGE", `indices[0] = 7 is not in [0, 5) ${"x".repeat(2000)}`);
    },
  },
  broken: {
    inputs: { x: { dtype: "float32" } },
    outputs: { y: { dtype: "float32" } },
    run: () => {
      throw new TypeError("a bug");
    },
  },
  silent: { inputs: { x: { dtype: "float32" } }, outputs: {}, run: () => ({}) },
});

describe("gRPC", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({
      m: { 1: halfPlus(1), 123: halfPlus(2, report) },
      d: { 1: withDefaults },
      slow: { 1: slow },
      failing: { 1: failing },
    });
    server.manager.setLabels("m", new Map([["stable", 1]]));
  });
  after(() => server[Symbol.asyncDispose]());
  const predictFailure = (...request: Parameters<typeof predictRequest>) =>
    failureOf(predict(server.client, ...request));

  it("predicts with the latest version and says which one it was", async () => {
    const { outputs, spec, trailers } = await predict(server.client, { x: floats(1, 2, 5) });
    assert.deepEqual(outputs["y"], floats(2.5, 3, 4.5));
    assert.equal(spec!.name, "m");
    assert.equal(spec!.signatureName, "serving_default");
    assert.equal((spec!.versionChoice.value as { value: bigint }).value, 123n);
    assert.equal(trailers["x-shardserve-rows-cache"], "5");
    assert.equal(trailers["x-shardserve-rows-default"], "1");
    assert.equal(trailers["x-shardserve-rows-stale"], "2");
    assert.equal(trailers["x-shardserve-epoch"], "7");
  });

  it("predicts with the version or the label asked for", async () => {
    const byVersion = await predict(server.client, { x: floats(1) }, { name: "m", versionChoice: version(1n) });
    assert.deepEqual(byVersion.outputs["y"], floats(1.5));
    const byLabel = await predict(
      server.client,
      { x: floats(1) },
      { name: "m", versionChoice: { case: "versionLabel", value: "stable" } },
    );
    assert.deepEqual(byLabel.outputs["y"], floats(1.5));
    assert.equal(byLabel.trailers["x-shardserve-epoch"], undefined);
  });

  it("refuses a request without model, version or label with TensorFlow Serving's texts", async () => {
    assert.equal(await failureOf(callRaw(server.client, PREDICT, new Uint8Array())), "3: Missing ModelSpec");
    assert.equal(await predictFailure({}, { name: "" }), "3: ModelSpec has no name specified.");
    assert.equal(await predictFailure({}, { name: "nope" }), "5: Servable not found for request: Latest(nope)");
    assert.equal(
      await predictFailure({}, { name: "m", versionChoice: version(99n) }),
      "5: Servable not found for request: Specific(m, 99)",
    );
    assert.equal(
      await predictFailure({}, { name: "m", versionChoice: version(2n ** 60n) }),
      `5: Servable not found for request: Specific(m, ${2n ** 60n})`,
    );
    assert.equal(
      await predictFailure({}, { name: "m", versionChoice: { case: "versionLabel", value: "nope" } }),
      "3: Unrecognized servable version label: nope",
    );
    assert.equal(
      await predictFailure({}, { name: "m", signatureName: "nope" }),
      '9: Serving signature key "nope" not found.',
    );
  });

  it("refuses inputs that do not fit the signature", async () => {
    assert.equal(
      await predictFailure({}),
      "3: input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    );
    assert.equal(
      await predictFailure({ z: floats(1), b: floats(1), x: floats(1) }),
      "3: input size does not match signature: 3!=1 len({b,x,z}) != len({x}). Sent extra: {b,z}. Missing but required: {}.",
    );
    assert.equal(
      await predictFailure({ z: floats(1) }),
      "3: Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs expected " +
        "to be in the request {z}, or default input alias set: ",
    );
    assert.equal(await predictFailure({ x: Buffer.from("0801120410ff", "hex") }), "3: tensor parsing error: x");
    assert.equal(
      await predictFailure({ x: tensor("int32", [1], Int32Array.of(1)) }),
      "3: Expects arg[0] to be float but int32 is provided",
    );
    assert.equal(
      await predictFailure({ x: strings([1], ["a"]) }),
      "3: Expects arg[0] to be float but string is provided",
    );
  });

  it("fills in defaults, and refuses names that they leave over", async () => {
    const both = await predict(server.client, { a: scalar("float32", 1) }, { name: "d" });
    assert.deepEqual(both.outputs["sum"], scalar("float32", 11));
    assert.equal(
      await predictFailure({ b: scalar("float32", 1) }, { name: "d" }),
      "3: Signature input alias: a(feed name: a:0) not found in request and no default value provided. Inputs expected " +
        "to be in the request {b}, or default input alias set: b",
    );
    assert.equal(
      await predictFailure({ a: scalar("float32", 1), c: scalar("float32", 1) }, { name: "d" }),
      "3: Inputs contains invalid name. Used request inputs: a, request input: a,c",
    );
  });

  it("answers only the outputs of the filter", async () => {
    const inputs = { a: scalar("float32", 1), b: scalar("float32", 2) };
    const { outputs } = await predict(server.client, inputs, { name: "d" }, ["first"]);
    assert.deepEqual(Object.keys(outputs), ["first"]);
    assert.equal(
      await predictFailure(inputs, { name: "d" }, ["nope"]),
      "3: output tensor alias not found in signature: nope Outputs expected to be in the set {first,sum}.",
    );
    assert.equal(await predictFailure(inputs, { name: "d" }, ["sum", "sum"]), "3: duplicate output tensor alias: sum");
  });

  it("refuses a signature that answers nothing, as TensorFlow does", async () => {
    assert.equal(
      await predictFailure({ x: floats(1) }, { name: "failing", signatureName: "silent" }),
      "3: Must specify at least one target to fetch or execute.",
    );
  });

  it("passes a model's error on, cut to what a header carries, and hides no bug as the client's fault", async () => {
    const failure = await predictFailure({ x: floats(1) }, { name: "failing" });
    assert.match(failure, /^3: indices\[0\] = 7 is not in \[0, 5\) x+\.\.\.TRUNCATED$/);
    assert.equal(failure.length, 3 + 1024 + "...TRUNCATED".length);
    assert.equal(await predictFailure({ x: floats(1) }, { name: "failing", signatureName: "broken" }), "13: a bug");
  });

  it("stops a run when its client cancels or its deadline passes", async () => {
    const request = predictRequest({ x: floats(1) }, { name: "slow" });
    const cancelled = callRaw(server.client, PREDICT, request, {
      onCall: (cancel) => void setTimeout(cancel, 50),
    });
    assert.match(await failureOf(cancelled), /^1: /);
    assert.match(await failureOf(callRaw(server.client, PREDICT, request, { deadlineMs: 100 })), /^4: /);
    for (let i = 0; i < 100 && !slowRuns.every((signal) => signal.aborted); i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const [first, second] = slowRuns.map((signal) => (signal.reason as ServingError).code);
    assert.equal(first, "CANCELLED");
    // The client resets its call at the deadline, too; whichever of the two arrives first counts.
    assert.ok(second === "DEADLINE_EXCEEDED" || second === "CANCELLED", second);
  });

  it("takes and sends messages beyond 4 MiB", async () => {
    const values = new Float32Array(3_000_000).fill(2);
    const { outputs } = await predict(server.client, { x: tensor("float32", [3_000_000, 1], values) });
    assert.equal((outputs["y"]!.data as Float32Array)[2_999_999], 3);
  });

  it("refuses bytes that are no PredictRequest", async () => {
    assert.match(
      await failureOf(callRaw(server.client, PREDICT, Buffer.from("0aff", "hex"))),
      /^3: the request is no valid PredictRequest: /,
    );
    assert.match(
      await failureOf(callRaw(server.client, STATUS, Buffer.from("0aff", "hex"))),
      /^3: .*GetModelStatusRequest/,
    );
  });

  it("refuses requests of nothing but fields, before each becomes an object", async () => {
    const fieldsOf = (tag: number) => Buffer.alloc(200_002).map((_, i) => (i % 2 === 0 ? tag : 0));
    const tooMany = async (path: string, tag: number) => {
      assert.match(await failureOf(callRaw(server.client, path, fieldsOf(tag))), /^3: .* more than 100000 fields/);
    };
    await tooMany(PREDICT, 0x12);
    await tooMany(`${PREDICTION}/MultiInference`, 0x0a);
    await tooMany("/tensorflow.serving.SessionService/SessionRun", 0x12);
    await tooMany("/inference.GRPCInferenceService/ModelInfer", 0x2a);
  });

  it("classifies and regresses examples, with a context in front", async () => {
    const input = exampleInput([example({ x: [80] })]);
    const regression = await call(
      server.client,
      `${PREDICTION}/Regress`,
      RegressionRequestSchema,
      RegressionResponseSchema,
      { modelSpec: { name: "m", signatureName: "regress_x_to_y" }, input },
    );
    assert.deepEqual(
      regression.result!.regressions.map((each) => each.value),
      [42],
    );
    assert.equal(regression.modelSpec!.signatureName, "regress_x_to_y");
    const withContext = exampleInput([example({}), example({ x: [80] })], example({ x: [20] }));
    const classification = await call(
      server.client,
      `${PREDICTION}/Classify`,
      ClassificationRequestSchema,
      ClassificationResponseSchema,
      { modelSpec: { name: "m", signatureName: "classify_x_to_y" }, input: withContext },
    );
    assert.deepEqual(
      classification.result!.classifications.map((each) => each.classes.map(({ label, score }) => [label, score])),
      [[["", 12]], [["", 42]]],
    );
  });

  it("refuses examples and signatures that do not fit", async () => {
    const failure = (method: "Classify" | "Regress", signatureName: string, examples: Uint8Array[]) =>
      failureOf(
        call(server.client, `${PREDICTION}/${method}`, RegressionRequestSchema, RegressionResponseSchema, {
          modelSpec: { name: "m", signatureName },
          input: exampleInput(examples),
        }),
      );
    assert.equal(await failure("Regress", "nope", []), "3: No signature was found with the name: nope");
    assert.equal(await failure("Classify", "nope", []), "3: No signature was found with the name: nope");
    assert.equal(await failure("Regress", "regress_x_to_y", []), "3: Input is empty.");
    assert.match(
      await failure("Regress", "", [example({ x: [1] })]),
      /^3: No regression inputs found in SignatureDef: /,
    );
    assert.match(
      await failure("Classify", "regress_x_to_y", [example({})]),
      /^3: Expected classification signature outputs/,
    );
    assert.equal(
      await failureOf(
        call(server.client, `${PREDICTION}/Regress`, RegressionRequestSchema, RegressionResponseSchema, {}),
      ),
      "3: Missing ModelSpec",
    );
  });

  it("runs several signatures on the same examples", async () => {
    const task = (signatureName: string, method: string, name = "m") => ({
      modelSpec: { name, signatureName },
      methodName: `tensorflow/serving/${method}`,
    });
    const infer = (...tasks: ReturnType<typeof task>[]) =>
      call(server.client, `${PREDICTION}/MultiInference`, MultiInferenceRequestSchema, MultiInferenceResponseSchema, {
        tasks,
        input: exampleInput([example({ x: [80] })]),
      });
    const { results } = await infer(task("regress_x_to_y2", "regress"), task("classify_x_to_y", "classify"));
    assert.deepEqual(
      results.map(({ modelSpec, result }) => [modelSpec!.signatureName, result.case]),
      [
        ["regress_x_to_y2", "regressionResult"],
        ["classify_x_to_y", "classificationResult"],
      ],
    );
    assert.equal((results[0]!.result.value as RegressionResult).regressions[0]!.value, 43);
    const regression = task("regress_x_to_y", "regress");
    for (const [tasks, failure] of [
      [[], "3: ModelSpec has no name specified."],
      [[task("", "regress", "nope")], "5: Servable not found for request: Latest(nope)"],
      [[regression, task("x", "regress", "")], "3: Found ModelSpec with an empty model name."],
      [
        [regression, task("x", "regress", "d")],
        "3: All ModelSpecs in a MultiInferenceRequest must access the same model name.",
      ],
      [[regression, regression], "3: Duplicate evaluation of signature: regress_x_to_y"],
      [[task("nope", "regress")], "3: Requested signature not found in model graph: nope"],
      [[task("", "predict")], "12: Unsupported signature method_name: tensorflow/serving/predict"],
    ] as const) {
      assert.equal(await failureOf(infer(...tasks)), failure);
    }
  });

  it("answers metadata", async () => {
    const response = await call(
      server.client,
      `${PREDICTION}/GetModelMetadata`,
      GetModelMetadataRequestSchema,
      GetModelMetadataResponseSchema,
      { modelSpec: { name: "m" }, metadataField: ["signature_def"] },
    );
    assert.equal(response.modelSpec!.signatureName, "");
    const any = create(AnySchema, response.metadata["signature_def"]!);
    const map = anyUnpack(any, SignatureDefMapSchema)!;
    assert.equal(map.signatureDef["serving_default"]!.inputs["x"]!.encoding.value, "x:0");
    const failure = (message: object) =>
      failureOf(
        call(
          server.client,
          `${PREDICTION}/GetModelMetadata`,
          GetModelMetadataRequestSchema,
          GetModelMetadataResponseSchema,
          message,
        ),
      );
    assert.equal(await failure({}), "3: Missing ModelSpec");
    assert.equal(
      await failure({ modelSpec: { name: "m" } }),
      "3: GetModelMetadataRequest must specify at least one metadata_field",
    );
    assert.equal(
      await failure({ modelSpec: { name: "m" }, metadataField: ["nope"] }),
      "3: Metadata field nope is not supported",
    );
    assert.equal(
      await failure({ modelSpec: { name: "nope" }, metadataField: ["signature_def"] }),
      "5: Servable not found for request: Latest(nope)",
    );
  });

  it("answers the status of all versions, highest first, or of one", async () => {
    const status = (message: object) =>
      call(server.client, STATUS, GetModelStatusRequestSchema, GetModelStatusResponseSchema, message);
    const all = await status({ modelSpec: { name: "m" } });
    assert.deepEqual(
      all.modelVersionStatus.map((each) => [each.version, each.state, each.status!.errorCode]),
      [
        [123n, 30, 0],
        [1n, 30, 0],
      ],
    );
    const one = await status({ modelSpec: { name: "m", versionChoice: version(1n) } });
    assert.equal(one.modelVersionStatus.length, 1);
    assert.equal(await failureOf(status({})), "3: Missing ModelSpec");
    assert.equal(await failureOf(status({ modelSpec: { name: "x" } })), "5: Could not find any versions of model x");
    assert.equal(
      await failureOf(status({ modelSpec: { name: "m", versionChoice: version(9n) } })),
      "5: Could not find version 9 of model m",
    );
  });

  it("listens on a Unix socket", async () => {
    const path = join(await mkdtemp(join(tmpdir(), "shardserve-")), "s");
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { grpcPort: `unix:${path}` });
    const client = new Client(`unix:${path}`, credentials.createInsecure());
    assert.deepEqual((await predict(client, { x: floats(1) })).outputs["y"], floats(2.5));
    client.close();
    assert.equal(other.server.grpcPort, 0);
  });

  it("checks method names when told to", async () => {
    const odd = new FunctionModel({
      p: { inputs: { x: { dtype: "float32" } }, outputs: {}, method: "odd", run: () => ({}) },
      c: { inputs: { inputs: { dtype: "string" } }, outputs: { scores: { dtype: "float32" } }, run: () => ({}) },
    });
    await using other = await startServer({ m: { 1: halfPlus(2) }, odd: { 1: odd } }, { isMethodChecked: true });
    assert.deepEqual((await predict(other.client, { x: floats(1) })).outputs["y"], floats(2.5));
    assert.equal(
      await failureOf(predict(other.client, { x: floats(1) }, { name: "odd", signatureName: "p" })),
      "13: Expected prediction signature method_name to be one of {tensorflow/serving/predict, " +
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd",
    );
    const input = exampleInput([example({ x: [1] })]);
    const [path, modelSpec] = [`${PREDICTION}/Classify`, { name: "odd", signatureName: "c" }];
    assert.equal(
      await failureOf(
        call(other.client, path, ClassificationRequestSchema, ClassificationResponseSchema, { modelSpec, input }),
      ),
      "3: Expected classification signature method_name to be tensorflow/serving/classify. Was: tensorflow/serving/predict",
    );
  });

  it("answers with tensor_content when told to", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { isContentEncoded: true });
    assert.deepEqual((await predict(other.client, { x: floats(1, 2) })).outputs["y"], floats(2.5, 3));
  });

  it("is not ready before the first model where it needs one, and is from then on", async () => {
    const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
    const manager = new Manager({ loader: { load: async () => halfPlus(2) } });
    await manager.start();
    const server = new ModelServer({ manager, grpcPort: 0, restPort: 0, host: "127.0.0.1", needsModel: () => true });
    await server.start();
    const client = new Client(`127.0.0.1:${server.grpcPort}`, credentials.createInsecure());
    const isServing = async () => {
      const paths = ["/grpc.health.v1.Health/Check", HealthCheckRequestSchema, HealthCheckResponseSchema] as const;
      const { status } = await call(client, ...paths, { service: "" });
      const url = `http://127.0.0.1:${server.restPort}`;
      const [alive, ready] = await Promise.all(
        ["/healthz", "/readyz"].map(async (at) => (await fetch(url + at)).status),
      );
      return [status, alive, ready];
    };
    try {
      assert.deepEqual(await isServing(), [NOT_SERVING, 200, 503]);
      await assert.rejects(
        callRaw(client, PREDICT, predictRequest({ x: tensor("float32", [1], Float32Array.of(1)) })),
        {
          code: 5,
        },
      );
      manager.setAspired("m", [{ version: 1, path: "" }]);
      await manager.whenAvailable(["m"]);
      assert.deepEqual(await isServing(), [SERVING, 200, 200]);
      manager.setAspired("m", []);
      while (manager.isAvailable("m")) await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(await isServing(), [SERVING, 200, 200]);
    } finally {
      client.close();
      await server.close();
      await manager.close();
    }
  });

  it("answers health checks", async () => {
    const check = (service: string) =>
      call(server.client, "/grpc.health.v1.Health/Check", HealthCheckRequestSchema, HealthCheckResponseSchema, {
        service,
      });
    assert.equal((await check("")).status, 1);
    assert.equal((await check("tensorflow.serving.PredictionService")).status, 1);
    assert.match(await failureOf(check("nope")), /^5: /);
  });
});
