import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  create,
  type DescMessage,
  fromBinary,
  InferTensorContentsSchema,
  type MessageInitShape,
  type MessageShape,
  ModelInferRequestSchema,
  type ModelInferResponse,
  ModelInferResponseSchema,
  ModelMetadataRequestSchema,
  ModelMetadataResponseSchema,
  ModelReadyRequestSchema,
  ModelReadyResponseSchema,
  ServerLiveRequestSchema,
  ServerLiveResponseSchema,
  ServerMetadataRequestSchema,
  ServerMetadataResponseSchema,
  ServerReadyRequestSchema,
  ServerReadyResponseSchema,
  toBinary,
} from "@shardserve/api";
import { type DType, strings, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { call, callRaw, failureOf, startServer, type TestServer } from "./harness.js";
import { FunctionModel, halfPlus } from "./models.js";

const SERVICE = "/inference.GRPCInferenceService/";

/** Requests as tritonclient writes them (scripts/make_v2_vectors.py). */
interface Recorded {
  readonly client: string;
  readonly cases: readonly {
    readonly signature: DType;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly raw: string;
    readonly grpc: string;
    readonly http_binary: { readonly body: string; readonly json_bytes: number | null };
    readonly http_json?: { readonly body: string; readonly json_bytes: number | null };
  }[];
}
const recorded = JSON.parse(
  readFileSync(new URL("../../test/testdata/v2-requests.json", import.meta.url), "utf8"),
) as Recorded;

const DTYPES_OF_ECHO: readonly DType[] = [
  ...new Set(recorded.cases.map(({ signature }) => signature)),
  "bfloat16",
  "complex64",
];

/** One signature per dtype that answers its input; "two" with a default. */
const echo = () =>
  new FunctionModel({
    ...Object.fromEntries(
      DTYPES_OF_ECHO.map((dtype) => [
        dtype,
        {
          inputs: { x: { dtype } },
          outputs: { y: { dtype } },
          run: (inputs: ReadonlyMap<string, unknown>) => ({ y: inputs.get("x") as never }),
        },
      ]),
    ),
    two: {
      inputs: { a: { dtype: "int32" }, s: { dtype: "string" } },
      outputs: { a: { dtype: "int32" }, s: { dtype: "string" } },
      defaults: { s: strings([1], ["default"]) },
      run: (inputs) => ({ a: inputs.get("a")!, s: inputs.get("s")! }),
    },
    complex: {
      inputs: { x: { dtype: "float32" } },
      outputs: { y: { dtype: "complex64" } },
      run: () => ({ y: tensor("complex64", [1], Float32Array.of(1, 2)) }),
    },
  });

describe("Open Inference Protocol v2", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer(
      { echo: { 1: echo() }, m: { 1: halfPlus(2), 3: halfPlus(3) } },
      { serverVersion: "9.9" },
    );
    server.manager.setLabels("m", new Map([["stable", 1]]));
  });
  after(() => server[Symbol.asyncDispose]());

  const grpc = <Q extends DescMessage, A extends DescMessage>(
    method: string,
    request: Q,
    answer: A,
    message: MessageInitShape<Q>,
  ): Promise<MessageShape<A>> => call(server.client, SERVICE + method, request, answer, message);
  const infer = (message: MessageInitShape<typeof ModelInferRequestSchema>): Promise<ModelInferResponse> =>
    grpc("ModelInfer", ModelInferRequestSchema, ModelInferResponseSchema, message);
  const post = async (path: string, body: string | Buffer, headers: Record<string, string> = {}) => {
    const response = await fetch(`${server.baseUrl}${path}`, { method: "POST", body, headers });
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()), headers: response.headers };
  };
  const get = async (path: string) => {
    const response = await fetch(`${server.baseUrl}${path}`);
    return { status: response.status, json: (await response.json()) as unknown };
  };

  for (const each of recorded.cases) {
    const title = `${each.datatype} [${each.shape.join(",")}]`;
    it(`echoes ${title} to the recorded requests of ${recorded.client}`, async () => {
      const raw = Buffer.from(each.raw, "base64");
      const { body, trailers } = await callRaw(server.client, `${SERVICE}ModelInfer`, Buffer.from(each.grpc, "base64"));
      const reply = fromBinary(ModelInferResponseSchema, body);
      assert.deepEqual([reply.modelName, reply.modelVersion, reply.id], ["echo", "1", "7"]);
      assert.equal(trailers["x-shardserve-model-version"], "1");
      const [output] = reply.outputs;
      assert.deepEqual([output!.name, output!.datatype], ["y", each.datatype]);
      assert.deepEqual(output!.shape, each.shape.map(BigInt));
      assert.deepEqual(Buffer.from(reply.rawOutputContents[0]!), raw);

      const lengthOf = (bytes: number | null): Record<string, string> =>
        bytes === null ? {} : { "Inference-Header-Content-Length": String(bytes) };
      const binary = each.http_binary;
      const one = await post("/v2/models/echo/infer", Buffer.from(binary.body, "base64"), lengthOf(binary.json_bytes));
      assert.equal(one.status, 200, one.body.toString());
      assert.equal(one.headers.get("content-type"), "application/octet-stream");
      const jsonBytes = Number(one.headers.get("inference-header-content-length"));
      assert.deepEqual(JSON.parse(one.body.toString("utf8", 0, jsonBytes)), {
        model_name: "echo",
        model_version: "1",
        id: "7",
        outputs: [
          { name: "y", datatype: each.datatype, shape: each.shape, parameters: { binary_data_size: raw.length } },
        ],
      });
      assert.deepEqual(one.body.subarray(jsonBytes), raw);

      if (!each.http_json) return;
      const sent = Buffer.from(each.http_json.body, "base64");
      const two = await post("/v2/models/echo/infer", sent);
      assert.equal(two.status, 200, two.body.toString());
      // The elements come back as they were sent, whatever the form of the numbers; int64 digit by digit.
      const data = (text: string) => /"data":\s*\[(.*?)\](?=[,}])/s.exec(text)![1]!.replaceAll(/[[\]\s]/g, "");
      const [sentData, answered] = [data(sent.toString()), data(two.body.toString())];
      if (!each.datatype.startsWith("FP")) assert.equal(answered, decoded(sentData));
      else if (sentData !== "") {
        const round = each.datatype === "FP32" ? Math.fround : Number;
        assert.deepEqual(answered.split(",").map(Number).map(round), sentData.split(",").map(Number).map(round));
      }
    });
  }

  it("tells of itself and its models", async () => {
    const extensions = ["binary_tensor_data", "model_repository(index)"];
    assert.equal((await grpc("ServerLive", ServerLiveRequestSchema, ServerLiveResponseSchema, {})).live, true);
    assert.equal((await grpc("ServerReady", ServerReadyRequestSchema, ServerReadyResponseSchema, {})).ready, true);
    const metadata = await grpc("ServerMetadata", ServerMetadataRequestSchema, ServerMetadataResponseSchema, {});
    assert.deepEqual([metadata.name, metadata.version, metadata.extensions], ["shardserve", "9.9", extensions]);
    assert.deepEqual(await get("/v2"), { status: 200, json: { name: "shardserve", version: "9.9", extensions } });
    assert.deepEqual(await get("/v2/health/live"), { status: 200, json: { live: true } });
    assert.deepEqual(await get("/v2/health/ready"), { status: 200, json: { ready: true } });

    const index = await fetch(`${server.baseUrl}/v2/repository/index`, { method: "POST", body: "{}" });
    const listed = ["echo 1", "m 3", "m 1"].map((entry) => {
      const [name, version] = entry.split(" ");
      return { name, version, state: "READY" };
    });
    assert.deepEqual(await index.json(), listed);

    const model = await grpc("ModelMetadata", ModelMetadataRequestSchema, ModelMetadataResponseSchema, { name: "m" });
    assert.deepEqual([model.name, model.versions, model.platform], ["m", ["1", "3"], "tensorflow_savedmodel"]);
    assert.deepEqual(
      [model.inputs[0]!.name, model.inputs[0]!.datatype, model.inputs[0]!.shape],
      ["x", "FP32", [-1n, 1n]],
    );
    assert.deepEqual(await get("/v2/models/m/versions/1"), {
      status: 200,
      json: {
        name: "m",
        versions: ["1", "3"],
        platform: "tensorflow_savedmodel",
        inputs: [{ name: "x", datatype: "FP32", shape: [-1, 1] }],
        outputs: [{ name: "y", datatype: "FP32", shape: [-1, 1] }],
      },
    });
    assert.deepEqual(await get("/v2/models/no"), {
      status: 404,
      json: { error: "Servable not found for request: Latest(no)" },
    });
  });

  it("says which models are ready", async () => {
    const ready = async (name: string, version: string) =>
      (await grpc("ModelReady", ModelReadyRequestSchema, ModelReadyResponseSchema, { name, version })).ready;
    assert.deepEqual(
      await Promise.all([ready("m", ""), ready("m", "1"), ready("m", "stable"), ready("m", "2"), ready("no", "")]),
      [true, true, true, false, false],
    );
    assert.deepEqual(await get("/v2/models/m/ready"), { status: 200, json: { name: "m", ready: true } });
    assert.deepEqual(await get("/v2/models/m/versions/2/ready"), { status: 503, json: { name: "m", ready: false } });
  });

  it("runs the version or the label asked for, and fills in defaults", async () => {
    const inputs = [{ name: "x", datatype: "FP32", shape: [1n, 1n], contents: { fp32Contents: [2] } }];
    for (const [version, answer, plus] of [
      ["", "3", 3],
      ["1", "1", 2],
      ["stable", "1", 2],
    ] as const) {
      const reply = await infer({ modelName: "m", modelVersion: version, inputs });
      assert.deepEqual([reply.modelVersion, reply.outputs[0]!.contents!.fp32Contents], [answer, [1 + plus]]);
      assert.equal(reply.rawOutputContents.length, 0, "typed fields are answered with typed fields");
    }
    const reply = await infer({
      modelName: "echo",
      parameters: { signature_name: { parameterChoice: { case: "stringParam", value: "two" } } },
      inputs: [{ name: "a", datatype: "INT32", shape: [2n], contents: { intContents: [1, -2] } }],
      outputs: [{ name: "s" }, { name: "a" }],
    });
    assert.deepEqual(
      reply.outputs.map(({ name }) => name),
      ["s", "a"],
    );
    assert.deepEqual(
      reply.outputs[0]!.contents!.bytesContents.map((item) => Buffer.from(item).toString()),
      ["default"],
    );
    assert.deepEqual(reply.outputs[1]!.contents!.intContents, [1, -2]);
  });

  it("takes every int64 for a version, and what is larger for no label either", async () => {
    for (const version of ["9007199254740993", "9223372036854775807", "18446744073709551616"]) {
      const { status, json } = await get(`/v2/models/m/versions/${version}`);
      const error = `Servable not found for request: Specific(m, ${version})`;
      assert.deepEqual({ status, json }, { status: 404, json: { error } });
    }
  });

  it("answers each output in the form asked for", async () => {
    const body = JSON.stringify({
      parameters: { signature_name: "two", binary_data_output: true },
      inputs: [
        { name: "a", datatype: "INT32", shape: [2], data: [1, 2] },
        { name: "s", datatype: "BYTES", shape: [1, 2], data: [["é", 'q"']] },
      ],
      outputs: [{ name: "s", parameters: { binary_data: false } }, { name: "a" }],
    });
    const reply = await post("/v2/models/echo/infer", body);
    const jsonBytes = Number(reply.headers.get("inference-header-content-length"));
    assert.deepEqual(JSON.parse(reply.body.toString("utf8", 0, jsonBytes)).outputs, [
      { name: "s", datatype: "BYTES", shape: [1, 2], data: ["é", 'q"'] },
      { name: "a", datatype: "INT32", shape: [2], parameters: { binary_data_size: 8 } },
    ]);
    assert.deepEqual(reply.body.subarray(jsonBytes), Buffer.from([1, 0, 0, 0, 2, 0, 0, 0]));
    assert.equal(reply.headers.get("x-shardserve-model-version"), "1");
  });

  it("refuses gRPC requests that contradict themselves, and says why", async () => {
    const signature = (value: string) =>
      ({ signature_name: { parameterChoice: { case: "stringParam", value } } }) as const;
    const x = { name: "x", datatype: "FP32", shape: [2n] };
    const raw = Buffer.alloc(8);
    const cases: [MessageInitShape<typeof ModelInferRequestSchema>, string][] = [
      [{}, "3: ModelSpec has no name specified."],
      [{ modelName: "no" }, "5: Servable not found for request: Latest(no)"],
      [{ modelName: "m", modelVersion: "9" }, "5: Servable not found for request: Specific(m, 9)"],
      [{ modelName: "m", parameters: signature("no") }, '3: Serving signature key "no" not found.'],
      [
        { modelName: "m", inputs: [{ ...x, datatype: "FP31" }], rawInputContents: [raw] },
        '3: input x: datatype "FP31" is none of BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP32, ' +
          "FP64, BYTES, FP16, BF16",
      ],
      [
        { modelName: "m", inputs: [{ ...x, shape: [3n] }], rawInputContents: [raw] },
        "3: input x: 8 bytes of data, FP32 of shape [3] needs 12",
      ],
      [
        { modelName: "m", inputs: [{ ...x, shape: [-1n] }], rawInputContents: [raw] },
        "3: input x: the shape [-1] is no tensor's",
      ],
      [
        { modelName: "m", inputs: [{ ...x, contents: { fp32Contents: [1] } }] },
        "3: input x: 1 elements for a tensor of shape [2], which needs 2",
      ],
      [
        { modelName: "m", inputs: [{ ...x, contents: { int64Contents: [1n, 2n] } }] },
        "3: input x: 0 elements for a tensor of shape [2], which needs 2",
      ],
      [{ modelName: "m", inputs: [x, x] }, "3: input x is given twice"],
      [
        { modelName: "m", inputs: [x], rawInputContents: [raw, raw] },
        "3: raw_input_contents has 2 entries for 1 inputs",
      ],
      [
        { modelName: "m", inputs: [{ ...x, contents: { fp32Contents: [1, 2] } }], rawInputContents: [raw] },
        "3: input x has both contents and raw_input_contents",
      ],
      [
        { modelName: "m", inputs: [{ ...x, datatype: "FP16", shape: [4n] }] },
        "3: input x: FP16 must be sent in raw_input_contents",
      ],
      [
        { modelName: "m", inputs: [{ ...x, datatype: "INT32" }], rawInputContents: [raw] },
        "3: Expects arg[0] to be float but int32 is provided",
      ],
      [
        { modelName: "m", inputs: [x], rawInputContents: [raw], outputs: [{ name: "z" }] },
        "3: output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
      ],
      [
        {
          modelName: "m",
          outputs: [
            { name: "y", parameters: { classification: { parameterChoice: { case: "int64Param", value: 1n } } } },
          ],
        },
        "12: output y: parameter classification is not supported",
      ],
      [
        { modelName: "echo", parameters: signature("complex"), inputs: [x], rawInputContents: [raw] },
        "12: output y: the protocol has no datatype for complex64",
      ],
    ];
    for (const [request, failure] of cases) assert.equal(await failureOf(infer(request)), failure);
    const garbage = callRaw(server.client, `${SERVICE}ModelInfer`, Uint8Array.of(0x0a, 0x05, 0x41));
    assert.match(await failureOf(garbage), /^3: the request is no valid ModelInferRequest: /);
  });

  it("refuses HTTP bodies that contradict themselves, and says why", async () => {
    const errorOf = async (body: unknown, tail = "", jsonBytes?: number | string) => {
      const json = typeof body === "string" ? body : JSON.stringify(body);
      const length = jsonBytes ?? (tail === "" ? undefined : json.length);
      const reply = await post(
        "/v2/models/echo/infer",
        json + tail,
        length === undefined ? {} : { "Inference-Header-Content-Length": String(length) },
      );
      return `${reply.status}: ${(JSON.parse(reply.body.toString()) as { error: string }).error}`;
    };
    const x = { name: "x", datatype: "FP32", shape: [2] };
    const float = { signature_name: "float32" };
    const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`k${i}`, 1]));
    const sized = (bytes: unknown) => ({
      parameters: float,
      inputs: [{ ...x, parameters: { binary_data_size: bytes } }],
    });
    const cases: [Promise<string>, string][] = [
      [errorOf(""), "400: JSON Parse error: The document is empty"],
      [errorOf("{}", "", 3), "400: Inference-Header-Content-Length is 3, the body has 2 bytes"],
      [errorOf("{}", "", "x"), '400: Inference-Header-Content-Length "x" is no length in bytes'],
      [errorOf("[]"), "400: JSON Value: [] Is not object"],
      [errorOf({ inputs: 1 }), "400: 'inputs' is no list"],
      [errorOf({ inputs: [1] }), "400: an element of 'inputs' is no object"],
      [errorOf({ inputs: [{}] }), "400: an input has no name"],
      [errorOf(many), "400: an object of 10001 elements where at most 10000 make sense"],
      [errorOf({ parameters: many, inputs: [] }), "400: an object of 10001 elements where at most 10000 make sense"],
      [errorOf({ inputs: [many] }), "400: an object of 10001 elements where at most 10000 make sense"],
      [errorOf({ inputs: Array(10_001).fill({}) }), "400: a list of 10001 elements where at most 10000 make sense"],
      [errorOf({ parameters: 1, inputs: [] }), "400: 'parameters' is no object"],
      [errorOf({ inputs: [{ name: "x" }] }), "400: input x has no datatype"],
      [errorOf({ inputs: [{ name: "x", datatype: "FP32" }] }), "400: input x has no shape"],
      [errorOf({ inputs: [{ ...x, shape: [-1] }] }), "400: input x: the shape [-1] is no tensor's"],
      [errorOf({ inputs: [{ ...x, shape: ["2"] }] }), "400: input x: the shape [NaN] is no tensor's"],
      [errorOf({ inputs: [x] }), "400: input x has neither data nor binary_data_size"],
      [errorOf({ inputs: [{ ...x, data: [1] }] }), "400: input x: data of shape [1] where shape says [2]"],
      [errorOf({ inputs: [{ ...x, data: 1 }] }), "400: input x: data of shape [] where shape says [2]"],
      [errorOf({ inputs: [{ ...x, data: [[1], [2]] }] }), "400: input x: data of shape [2,1] where shape says [2]"],
      [
        errorOf({ inputs: [{ ...x, data: [1, "a"] }] }),
        '400: input x: JSON Value: "a" Type: String is not of expected type: float',
      ],
      [
        errorOf({ inputs: [{ ...x, datatype: "UINT8", data: [1, 256] }] }),
        "400: input x: 256 is out of the range of uint8",
      ],
      [
        errorOf({ inputs: [{ ...x, datatype: "BF16", data: [1, 2] }] }),
        "400: input x: 16-bit floats have no JSON form; send binary data",
      ],
      [errorOf(sized(4), "1234"), "400: input x: 4 bytes of data, FP32 of shape [2] needs 8"],
      [
        errorOf(sized(8), "1234"),
        "400: input x: binary_data_size is 8, but 4 bytes are left behind the JSON (Inference-Header-Content-Length)",
      ],
      [errorOf(sized(-1), "1234"), "400: input x: binary_data_size is no size in bytes"],
      [errorOf(sized(8), "123456789"), "400: 1 bytes behind the JSON belong to no input"],
      [
        errorOf({ inputs: [{ ...x, data: [1, 2], parameters: { binary_data_size: 8 } }] }, "12345678"),
        "400: input x has both data and binary_data_size",
      ],
      [
        errorOf({ parameters: { signature_name: 1 }, inputs: [{ ...x, data: [1, 2] }] }),
        "400: parameter signature_name: a string is needed",
      ],
      [
        errorOf({ parameters: { ...float, binary_data_output: "yes" }, inputs: [{ ...x, data: [1, 2] }] }),
        "400: parameter binary_data_output: true or false is needed",
      ],
    ];
    for (const [failure, expected] of cases) assert.equal(await failure, expected);

    const binary = Buffer.concat([
      Buffer.from(
        JSON.stringify({
          parameters: { signature_name: "string" },
          inputs: [{ name: "x", datatype: "BYTES", shape: [1], parameters: { binary_data_size: 5 } }],
        }),
      ),
      Buffer.from([1, 0, 0, 0, 0xff]),
    ]);
    const headers = { "Inference-Header-Content-Length": String(binary.length - 5) };
    const reply = await post("/v2/models/echo/infer", binary, headers);
    assert.equal(
      reply.body.toString(),
      JSON.stringify({ error: "output y: string 0 is no UTF-8; ask for binary data (binary_data_output)" }, null, 4),
    );
    for (const [method, path] of [
      ["POST", "/v2/models/m"],
      ["GET", "/v2/models/m/infer"],
      ["GET", "/v2/nothing"],
    ] as const) {
      const { status } = await fetch(server.baseUrl + path, { method });
      assert.equal(status, 404, path);
    }
  });

  it("answers typed fields with typed fields, at the ends of every range", async () => {
    const cases: [DType, string, NonNullable<MessageInitShape<typeof InferTensorContentsSchema>>, number][] = [
      ["bool", "BOOL", { boolContents: [true, false] }, 2],
      ["int8", "INT8", { intContents: [-128, 127] }, 2],
      ["int16", "INT16", { intContents: [-32768, 32767] }, 2],
      ["int32", "INT32", { intContents: [-(2 ** 31), 0, 2 ** 31 - 1] }, 3],
      ["int64", "INT64", { int64Contents: [-(2n ** 63n), -1n, 2n ** 63n - 1n] }, 3],
      ["uint8", "UINT8", { uintContents: [0, 255] }, 2],
      ["uint16", "UINT16", { uintContents: [0, 65535] }, 2],
      ["uint32", "UINT32", { uintContents: [0, 2 ** 32 - 1] }, 2],
      ["uint64", "UINT64", { uint64Contents: [0n, 2n ** 64n - 1n] }, 2],
      ["float32", "FP32", { fp32Contents: [Number.NaN, -0, Number.POSITIVE_INFINITY] }, 3],
      ["float64", "FP64", { fp64Contents: [0.1, 1e-320] }, 2],
      ["string", "BYTES", { bytesContents: [Buffer.of(255), Buffer.of()] }, 2],
    ];
    for (const [signature, datatype, contents, count] of cases) {
      const reply = await infer({
        modelName: "echo",
        parameters: { signature_name: { parameterChoice: { case: "stringParam", value: signature } } },
        inputs: [{ name: "x", datatype, shape: [BigInt(count)], contents }],
      });
      const answered = toBinary(InferTensorContentsSchema, reply.outputs[0]!.contents!);
      assert.deepEqual(
        answered,
        toBinary(InferTensorContentsSchema, create(InferTensorContentsSchema, contents)),
        datatype,
      );
      assert.equal(reply.outputs[0]!.datatype, datatype);
    }
  });

  it("gives back any strings and any floats, over both transports", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 8 }), async (items) => {
        const raw = Buffer.concat(
          items.map((item) => {
            const length = Buffer.alloc(4);
            length.writeUInt32LE(item.length);
            return Buffer.concat([length, item]);
          }),
        );
        const parameters = { signature_name: { parameterChoice: { case: "stringParam", value: "string" } } } as const;
        const input = { name: "x", datatype: "BYTES", shape: [BigInt(items.length)] };
        const one = await infer({ modelName: "echo", parameters, inputs: [input], rawInputContents: [raw] });
        assert.deepEqual(Buffer.from(one.rawOutputContents[0]!), raw);
        const two = await infer({
          modelName: "echo",
          parameters,
          inputs: [{ ...input, contents: { bytesContents: items } }],
        });
        assert.deepEqual(
          two.outputs[0]!.contents?.bytesContents.map((item) => [...item]) ?? [],
          items.map((item) => [...item]),
        );
      }),
      { numRuns: 40 },
    );
  });

  it("survives any bytes", async function () {
    this.timeout(60_000);
    const good = toBinary(
      ModelInferRequestSchema,
      create(ModelInferRequestSchema, {
        modelName: "echo",
        parameters: { signature_name: { parameterChoice: { case: "stringParam", value: "string" } } },
        inputs: [
          {
            name: "x",
            datatype: "BYTES",
            shape: [2n],
            contents: { bytesContents: [Buffer.from("a"), Buffer.from("b")] },
          },
        ],
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), async (at, byte, length) => {
        const bytes = Uint8Array.from(good);
        bytes[at] = byte;
        const failure = await failureOf(callRaw(server.client, `${SERVICE}ModelInfer`, bytes.subarray(0, length)));
        assert.ok(!failure.startsWith("13:") && !failure.startsWith("2:"), failure);
      }),
      { numRuns: 300 },
    );
    const body =
      '{"parameters":{"signature_name":"int64"},"inputs":[{"name":"x","datatype":"INT64","shape":[2],"data":[1,2]}]}';
    await fc.assert(
      fc.asyncProperty(
        fc.nat(body.length - 1),
        fc.constantFrom(...'[]{}",:019.-eax\\ '.split("")),
        async (at, letter) => {
          const { status } = await post("/v2/models/echo/infer", body.slice(0, at) + letter + body.slice(at + 1));
          assert.ok(status < 500, String(status));
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** JSON strings without their escapes of letters beyond ASCII, which the client writes and the server does not. */
function decoded(text: string): string {
  return text.replaceAll(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
