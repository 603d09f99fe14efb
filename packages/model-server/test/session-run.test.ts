import assert from "node:assert/strict";
import { SessionRunRequestSchema, SessionRunResponseSchema, type MessageInitShape } from "@shardserve/api";
import { decodeTensorProto, encodeTensorProto, tensor } from "@shardserve/tensor";
import { call, callRaw, failureOf, PREDICT, predictRequest, startServer, type TestServer } from "./harness.js";
import { halfPlus } from "./models.js";

const PATH = "/tensorflow.serving.SessionService/SessionRun";
const x = encodeTensorProto(tensor("float32", [2, 1], Float32Array.of(1, 2)));

describe("SessionRun", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ m: { 1: halfPlus(2), 3: halfPlus(3) } });
  });
  after(() => server[Symbol.asyncDispose]());

  const run = async (request: MessageInitShape<typeof SessionRunRequestSchema>) => {
    const response = await call(server.client, PATH, SessionRunRequestSchema, SessionRunResponseSchema, request);
    const tensors = response.tensor.map(({ name, tensor: bytes }) => [
      name,
      [...(decodeTensorProto(bytes).data as Float32Array)],
    ]);
    return { tensors, spec: response.modelSpec! };
  };

  it("feeds and fetches by the names of tensors, in the order asked for", async () => {
    const { tensors, spec } = await run({
      modelSpec: { name: "m" },
      feed: [{ name: "x:0", tensor: x }],
      fetch: ["y:0", "y"],
    });
    assert.deepEqual(tensors, [
      ["y:0", [3.5, 4]],
      ["y", [3.5, 4]],
    ]);
    assert.equal(spec.signatureName, "serving_default");
    assert.equal(spec.versionChoice.case === "version" && spec.versionChoice.value.value, 3n);
  });

  it("takes aliases when told to, and a version", async () => {
    const version = { case: "version", value: { value: 1n } } as const;
    const { tensors } = await run({
      modelSpec: { name: "m", versionChoice: version },
      feed: [{ name: "x", tensor: x }],
      fetch: ["y"],
      tensorNameIsAlias: true,
    });
    assert.deepEqual(tensors, [["y", [2.5, 3]]]);
  });

  it("refuses what no signature has", async () => {
    const modelSpec = { name: "m" };
    const feed = [{ name: "x", tensor: x }];
    const cases: [MessageInitShape<typeof SessionRunRequestSchema>, string][] = [
      [{}, "3: Missing ModelSpec"],
      [{ modelSpec, feed }, "3: Must specify at least one target to fetch or execute."],
      [{ modelSpec, feed, fetch: ["y"], target: ["init"] }, "12: target: nodes are not run by name (init)"],
      [{ modelSpec, feed: [{ name: "z", tensor: x }], fetch: ["y"] }, "5: FeedInputs: unable to find feed output z:0"],
      [
        { modelSpec, feed, fetch: ["mul:0"] },
        "5: FetchOutputs node mul:0: not found among the outputs of signatures: {outputs:0,scores:0,y:0}",
      ],
      [{ modelSpec, feed, fetch: ["scores"] }, "3: no signature takes {x:0} and gives {scores:0}"],
      [{ modelSpec, feed: [...feed, ...feed], fetch: ["y"] }, "3: Feed x is given twice"],
      [
        { modelSpec: { name: "m", signatureName: "no" }, feed, fetch: ["y"] },
        '9: Serving signature key "no" not found.',
      ],
      [{ modelSpec, feed: [{ name: "x", tensor: Uint8Array.of(255) }], fetch: ["y"] }, "3: tensor parsing error: x"],
    ];
    for (const [request, failure] of cases) assert.equal(await failureOf(run(request)), failure);
  });
});

describe("the version that answered", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ m: { 1: halfPlus(2), 3: halfPlus(3) } });
    server.manager.setLabels("m", new Map([["stable", 1]]));
  });
  after(() => server[Symbol.asyncDispose]());

  it("stands in the headers of REST answers", async () => {
    const versionOf = async (path: string, body?: string) => {
      const reply = await fetch(
        `${server.baseUrl}/v1/models/m${path}`,
        body === undefined ? {} : { method: "POST", body },
      );
      await reply.arrayBuffer();
      return reply.headers.get("x-shardserve-model-version");
    };
    assert.equal(await versionOf(":predict", '{"instances": [1.0]}'), "3");
    assert.equal(await versionOf("/labels/stable:predict", '{"instances": [1.0]}'), "1");
    const examples = '{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}';
    assert.equal(await versionOf("/versions/1:regress", examples), "1");
    assert.equal(await versionOf("/metadata"), "3");
    assert.equal(await versionOf(""), null);
    assert.equal(await versionOf(":predict", "{}"), null);
  });

  it("stands in the trailers of gRPC answers", async () => {
    const value = tensor("float32", [1, 1], Float32Array.of(1));
    const { trailers } = await callRaw(server.client, PREDICT, predictRequest({ x: value }));
    assert.equal(trailers["x-shardserve-model-version"], "3");
  });
});
