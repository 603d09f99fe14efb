import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  ClassificationRequestSchema,
  create,
  type DescMessage,
  GetModelMetadataRequestSchema,
  GetModelStatusRequestSchema,
  type MessageInitShape,
  ModelInferRequestSchema,
  ModelMetadataRequestSchema,
  ModelReadyRequestSchema,
  MultiInferenceRequestSchema,
  PredictRequestSchema,
  RegressionRequestSchema,
  ReloadConfigRequestSchema,
  ServerLiveRequestSchema,
  SessionRunRequestSchema,
  toBinary,
} from "@shardserve/api";
import { ManualClock } from "@shardserve/core";
import { Access, parseTokensFile, readWatched, WatchedFile } from "@shardserve/model-server";
import { eventually, tempDir } from "@shardserve/testkit";
import { startServer, type TestServer } from "./harness.js";
import { halfPlus } from "./models.js";

const hash = (token: string) => createHash("sha256").update(token).digest("hex");
const file = (...tokens: readonly object[]) => JSON.stringify({ tokens });
const TOKENS = file(
  { name: "web", sha256: hash("web-token"), models: ["ranker", "exp-*"], actions: ["predict"] },
  { name: "probe", sha256: hash("probe-token"), models: ["*"], actions: ["describe", "metrics"] },
  {
    name: "operator",
    sha256: hash("operator-token"),
    models: ["*"],
    actions: ["predict", "describe", "reload", "metrics"],
  },
);

const spec = (name: string) => ({ modelSpec: { name } });
/** Every method that is about a model, with the right that it needs. */
const METHODS: readonly [string, string, DescMessage, (model: string) => object][] = [
  ["tensorflow.serving.PredictionService/Predict", "predict", PredictRequestSchema, spec],
  ["tensorflow.serving.PredictionService/Classify", "predict", ClassificationRequestSchema, spec],
  ["tensorflow.serving.PredictionService/Regress", "predict", RegressionRequestSchema, spec],
  [
    "tensorflow.serving.PredictionService/MultiInference",
    "predict",
    MultiInferenceRequestSchema,
    (name) => ({ tasks: [spec(name)] }),
  ],
  ["tensorflow.serving.SessionService/SessionRun", "predict", SessionRunRequestSchema, spec],
  ["inference.GRPCInferenceService/ModelInfer", "predict", ModelInferRequestSchema, (modelName) => ({ modelName })],
  [
    "tensorflow.serving.PredictionService/GetModelMetadata",
    "describe",
    GetModelMetadataRequestSchema,
    (name) => ({ ...spec(name), metadataField: ["signature_def"] }),
  ],
  ["tensorflow.serving.ModelService/GetModelStatus", "describe", GetModelStatusRequestSchema, spec],
  ["inference.GRPCInferenceService/ModelReady", "describe", ModelReadyRequestSchema, (name) => ({ name })],
  ["inference.GRPCInferenceService/ModelMetadata", "describe", ModelMetadataRequestSchema, (name) => ({ name })],
];
const REST: readonly [string, string, (model: string) => string][] = [
  ["POST", "predict", (name) => `/v1/models/${name}:predict`],
  ["POST", "predict", (name) => `/v1/models/${name}/versions/1:classify`],
  ["POST", "predict", (name) => `/v2/models/${name}/infer`],
  ["GET", "describe", (name) => `/v1/models/${name}`],
  ["GET", "describe", (name) => `/v1/models/${name}/metadata`],
  ["GET", "describe", (name) => `/v2/models/${name}`],
  ["GET", "describe", (name) => `/v2/models/${name}/ready`],
];

describe("access by tokens", () => {
  let server: TestServer;
  let client: Client;
  const access = new Access(parseTokensFile(TOKENS, "tokens"));
  before(async () => {
    const models = { ranker: { 1: halfPlus(2) }, "exp-a": { 1: halfPlus(2) }, secret: { 1: halfPlus(2) } };
    server = await startServer(models, { access, isCorsEnabled: true });
    client = new Client(`127.0.0.1:${server.server.grpcPort}`, credentials.createInsecure());
  });
  after(async () => {
    client.close();
    await server[Symbol.asyncDispose]();
  });

  /** gRPC status code of a call; 0 = answered. */
  const code = (path: string, schema: DescMessage, message: object, authorization?: string) =>
    new Promise<number>((resolve) => {
      const metadata = new Metadata();
      if (authorization !== undefined) metadata.set("authorization", authorization);
      const bytes = Buffer.from(toBinary(schema, create(schema, message as MessageInitShape<DescMessage>)));
      const same = (buffer: Buffer) => buffer;
      client.makeUnaryRequest(`/${path}`, same, same, bytes, metadata, (error: ServiceError | null) =>
        resolve(error?.code ?? 0),
      );
    });
  const http = async (method: string, path: string, authorization?: string) => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const reply = await fetch(server.baseUrl + path, { method, headers, ...(method === "POST" && { body: "{}" }) });
    return { status: reply.status, text: await reply.text(), headers: reply.headers };
  };
  const UNAUTHENTICATED = 16;
  const PERMISSION_DENIED = 7;

  it("gRPC: no method answers without a known token, and each needs its right on its model", async () => {
    for (const [path, action, schema, request] of METHODS) {
      for (const wrong of [undefined, "Bearer nobody", "Basic web-token", "web-token", "Bearer"]) {
        assert.equal(await code(path, schema, request("ranker"), wrong), UNAUTHENTICATED, `${path} ${wrong}`);
      }
      const asked = async (token: string, model: string) => code(path, schema, request(model), `Bearer ${token}`);
      const isAllowed = (status: number) => status !== UNAUTHENTICATED && status !== PERMISSION_DENIED;
      for (const model of ["ranker", "exp-a"]) {
        assert.equal(isAllowed(await asked("web-token", model)), action === "predict", `${path} ${model}`);
      }
      for (const model of ["secret", "rankers", "no"])
        assert.equal(await asked("web-token", model), PERMISSION_DENIED, path);
      assert.equal(isAllowed(await asked("probe-token", "secret")), action === "describe", path);
      assert.ok(isAllowed(await asked("operator-token", "secret")), path);
    }
    const reload = "tensorflow.serving.ModelService/HandleReloadConfigRequest";
    assert.equal(await code(reload, ReloadConfigRequestSchema, {}), UNAUTHENTICATED);
    assert.equal(await code(reload, ReloadConfigRequestSchema, {}, "Bearer probe-token"), PERMISSION_DENIED);
    assert.equal(await code(reload, ReloadConfigRequestSchema, {}, "Bearer operator-token"), 12);
    assert.equal(await code("inference.GRPCInferenceService/ServerLive", ServerLiveRequestSchema, {}), 0);
  });

  it("REST: the same", async () => {
    for (const [method, action, path] of REST) {
      const refused = await http(method, path("ranker"));
      assert.equal(refused.status, 401, path("ranker"));
      assert.equal(refused.headers.get("www-authenticate"), "Bearer");
      assert.equal(refused.headers.get("x-shardserve-error"), "UNAUTHENTICATED");
      assert.equal((await http(method, path("ranker"), "Bearer nobody")).status, 401);
      const isAllowed = async (token: string, model: string) =>
        ![401, 403].includes((await http(method, path(model), `Bearer ${token}`)).status);
      assert.equal(await isAllowed("web-token", "exp-a"), action === "predict", path("exp-a"));
      assert.equal(await isAllowed("web-token", "secret"), false, path("secret"));
      assert.equal(await isAllowed("web-token", "%73ecret"), false, "an escaped name");
      assert.equal(await isAllowed("probe-token", "secret"), action === "describe", path("secret"));
    }
    assert.deepEqual(JSON.parse((await http("POST", "/v1/models/secret:predict", "Bearer web-token")).text), {
      error: 'token "web" does not allow predict of model "secret"',
    });
    assert.equal((await http("GET", "/v1/config")).status, 401);
    assert.equal((await http("GET", "/v1/config", "Bearer web-token")).status, 403);
    assert.equal((await http("GET", "/v1/config", "Bearer operator-token")).status, 200);
    const metrics = "/monitoring/prometheus/metrics";
    assert.equal((await http("GET", metrics)).status, 401);
    assert.equal((await http("GET", metrics, "Bearer web-token")).status, 403);
    assert.equal((await http("GET", metrics, "bearer probe-token")).status, 200);
    for (const path of ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2"]) {
      assert.equal((await http("GET", path)).status, 200, path);
    }
    const preflight = await fetch(`${server.baseUrl}/v1/models/ranker:predict`, {
      method: "OPTIONS",
      headers: { origin: "http://a" },
    });
    assert.equal(preflight.headers.get("access-control-allow-headers"), "Content-Type, Authorization");
  });

  it("other tokens hold from the moment on that they are replaced", async () => {
    const path = "/v1/models/secret";
    access.replace(
      parseTokensFile(file({ name: "new", sha256: hash("new"), models: ["secret"], actions: ["describe"] }), "t"),
    );
    assert.equal((await http("GET", path, "Bearer probe-token")).status, 401);
    assert.equal((await http("GET", path, "Bearer new")).status, 200);
    access.replace(parseTokensFile(TOKENS, "tokens"));
    assert.equal((await http("GET", path, "Bearer new")).status, 401);
  });
});

describe("tokens file", () => {
  it("refuses what it does not understand, and never quotes it", () => {
    const token = { name: "a", sha256: hash("a"), models: ["m"], actions: ["predict"] };
    const cases: [string, string][] = [
      ["{", "f: it is no JSON"],
      ["[]", 'f: {"tokens": [...]} is expected'],
      ['{"tokens": 1}', 'f: "tokens" is no list'],
      ['{"tokens": [], "more": 1}', 'f: {"tokens": [...]} is expected'],
      [file({ ...token, expires: 1 }), "f: token 0: exactly name, sha256, models, actions are expected"],
      [file({ ...token, name: "" }), "f: token 0: name is no text"],
      [
        file({ ...token, sha256: "plain" }),
        "f: token 0: sha256 is not 64 hexadecimal digits (printf %s TOKEN | sha256sum)",
      ],
      [file({ ...token, models: [] }), "f: token 0: models is no list of names"],
      [file({ ...token, models: ["a*b"] }), 'f: token 0: "a*b": * is allowed at the end only'],
      [
        file({ ...token, actions: ["all"] }),
        "f: token 0: actions is no list of predict, describe, reload, metrics, update",
      ],
      [file(token, { ...token, sha256: hash("b") }), 'f: two tokens are named "a"'],
      [file(token, { ...token, name: "b" }), 'f: "b" has the hash of another token'],
      [file(...Array.from({ length: 1001 }, () => token)), "f: 1001 tokens; at most 1000 are supported"],
    ];
    for (const [text, message] of cases)
      assert.throws(() => parseTokensFile(text, "f"), { message, code: "CONFIG_INVALID" });
    assert.equal(parseTokensFile(file(token), "f").length, 1);
  });

  it("is followed while it changes; a bad one leaves what was before", async () => {
    await using dir = await tempDir("shardserve-tokens-");
    const path = join(dir.path, "tokens.json");
    const one = file({ name: "a", sha256: hash("a"), models: ["m"], actions: ["predict"] });
    await writeFile(path, one);
    const clock = new ManualClock();
    const seen: string[][] = [];
    const watched = new WatchedFile({
      path,
      text: await readWatched(path),
      parse: parseTokensFile,
      onChange: (rules) => seen.push(rules.map(({ name }) => name)),
      clock,
    });
    await watched.start();
    const swap = async (text: string) => {
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
    };
    const turn = async () => {
      clock.advance(2000);
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
    };
    await turn();
    assert.deepEqual(seen, []);
    await swap("broken");
    await turn();
    assert.deepEqual(seen, []);
    await swap(one.replace('"a"', '"b"'));
    await eventually(async () => {
      await turn();
      assert.deepEqual(seen, [["b"]]);
    });
    await watched.close();
  });
});
