import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { get, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { deflateSync, gunzipSync, gzipSync } from "node:zlib";
import {
  create,
  ExampleSchema,
  fromBinary,
  fromJson,
  SignatureDefMapSchema,
  TensorProtoSchema,
  toBinary,
} from "@shardserve/api";
import { type StringColumn, strings, tensor } from "@shardserve/tensor";
import { startServer, type TestServer } from "./harness.js";
import { FunctionModel, halfPlus } from "./models.js";
import { restConformance, SHARED } from "./rest-conformance.js";

restConformance("REST conformance, models by hand", async (folder) => halfPlus(folder.includes("three") ? 3 : 2));

const any = (
  dtype: "float32" | "float64" | "int64" | "uint64" | "int32" | "uint8" | "bool" | "string" | "float16",
) => ({
  inputs: { x: { dtype } },
  outputs: { y: { dtype } },
  run: (inputs: ReadonlyMap<string, unknown>) => ({ y: inputs.get("x") as never }),
});

const ROWS = { cacheRows: 1, shardRows: 2, redisRows: 0, staleRows: 0, defaultRows: 3 };

/** Echoes; and a signature of two inputs with a bytes output. */
const echo = () =>
  new FunctionModel(
    {
      serving_default: any("float32"),
      float64: any("float64"),
      int64: any("int64"),
      uint64: any("uint64"),
      int32: any("int32"),
      uint8: any("uint8"),
      bool: any("bool"),
      string: any("string"),
      float16: any("float16"),
      two: {
        inputs: { a: { dtype: "int32" }, s: { dtype: "string" } },
        outputs: { a: { dtype: "int32" }, s_bytes: { dtype: "string" } },
        run: (inputs) => ({ a: inputs.get("a")!, s_bytes: inputs.get("s")! }),
      },
      none: {
        inputs: {},
        outputs: { y: { dtype: "int32" } },
        run: () => ({ y: tensor("int32", [], Int32Array.of(1)) }),
      },
      scalar: {
        inputs: { x: { dtype: "float32" } },
        outputs: { y: { dtype: "float32" }, z: { dtype: "float32" } },
        run: (inputs) => ({ y: inputs.get("x")!, z: tensor("float32", [1], Float32Array.of(1)) }),
      },
      raw: {
        inputs: { x: { dtype: "float32" } },
        outputs: { y: { dtype: "string" } },
        run: () => ({ y: strings([2], [Buffer.from([0xff, 0x22, 0x0a]), "é"]) }),
      },
    },
    { ...ROWS, epoch: 0, tables: [{ table: "user/table", ...ROWS }] },
  );

describe("REST", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer(
      { m: { 123: halfPlus(2) }, "a b": { 1: halfPlus(2) }, echo: { 1: echo() } },
      { limits: { bodyBytesMax: 200_000, inflatedBytesMax: 100_000 } },
    );
  });
  after(() => server[Symbol.asyncDispose]());

  const post = async (path: string, body: string | Buffer, headers: Record<string, string> = {}) => {
    const response = await fetch(`${server.baseUrl}${path}`, { method: "POST", body, headers });
    return { status: response.status, text: await response.text(), headers: response.headers };
  };
  const predict = (signature: string, body: string) =>
    post("/v1/models/echo:predict", `{"signature_name": "${signature}", ${body}}`);
  const errorOf = async (signature: string, body: string) => {
    const { status, text } = await predict(signature, body);
    return `${status}: ${(JSON.parse(text) as { error: string }).error}`;
  };

  it("prints rows as TensorFlow Serving does", async () => {
    const { text, headers } = await post("/v1/models/m:predict", '{"instances": [1.0, 2.0, 5.0]}');
    assert.equal(text, '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}');
    assert.equal(headers.get("content-type"), "application/json");
    const named = await predict("two", '"instances": [{"a": 1, "s": "x"}, {"s": {"b64": "/w=="}, "a": 2}]');
    assert.equal(
      named.text,
      '{\n    "predictions": [\n        {\n            "a": 1,\n            "s_bytes": {"b64": "eA=="}\n        },' +
        '\n        {\n            "a": 2,\n            "s_bytes": {"b64": "/w=="}\n        }\n    ]\n}',
    );
    assert.equal(named.headers.get("x-shardserve-rows-default"), "3");
  });

  it("takes columns and answers columns", async () => {
    assert.deepEqual(JSON.parse((await predict("serving_default", '"inputs": [[1, 2], [3, 4]]')).text), {
      outputs: [
        [1, 2],
        [3, 4],
      ],
    });
    assert.deepEqual(JSON.parse((await predict("serving_default", '"inputs": 3')).text), { outputs: 3 });
    assert.deepEqual(JSON.parse((await predict("two", '"inputs": {"s": ["é"], "a": [7], "extra": {}}')).text), {
      outputs: { a: [7], s_bytes: [{ b64: Buffer.from("é").toString("base64") }] },
    });
  });

  it("keeps 64-bit integers, NaN and infinities exact both ways", async () => {
    const int64 = "[9223372036854775807, -9223372036854775808, 9007199254740993, -1, 0, -4294967296, 4294967295]";
    assert.equal((await predict("int64", `"inputs": ${int64}`)).text, `{\n    "outputs": ${int64}\n}`);
    const uint64 = "[18446744073709551615, 9223372036854775808, 0]";
    assert.equal((await predict("uint64", `"inputs": ${uint64}`)).text, `{\n    "outputs": ${uint64}\n}`);
    assert.equal(
      (await predict("float64", '"inputs": [NaN, Infinity, -Inf, -0, 1e-320, 0.1, 123456789]')).text,
      '{\n    "outputs": [NaN, Infinity, -Infinity, -0.0, 9.99989e-321, 0.1, 123456789.0]\n}',
    );
    assert.equal(
      (await predict("serving_default", '"inputs": [9000000, 0.00003, 0.1, 16777217, 3.4028235e38]')).text,
      '{\n    "outputs": [9e+06, 3e-05, 0.1, 16777216.0, 3.40282347e+38]\n}',
    );
  });

  it("takes strings with escapes and any bytes, and writes strings as they are", async () => {
    const { text } = await predict("string", '"inputs": ["a\\u00e9\\n\\ud83d\\ude00\\/", "", {"b64": "AAEC/w"}]');
    assert.ok(text.includes('"aé\\n😀/", "", "\\u0000\\u0001\\u0002'));
    const response = await fetch(`${server.baseUrl}/v1/models/echo:predict`, {
      method: "POST",
      body: '{"signature_name": "raw", "inputs": 1}',
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.ok(bytes.includes(Buffer.from([0x22, 0xff, 0x5c, 0x22, 0x5c, 0x6e, 0x22])));
  });

  it("says what is wrong with a body, in TensorFlow Serving's words", async () => {
    const plain = "serving_default";
    assert.equal(await errorOf(plain, '"nothing": 1'), "400: Missing 'inputs' or 'instances' key");
    assert.match(
      await errorOf(plain, '"instances": [1], "inputs": [1]'),
      /^400: JSON Value: \{\n {4}"signature_name": "serving_default",\n {4}"instances": \[1\],\n {4}"inputs": \[1\]\n\} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist $/,
    );
    assert.match(await errorOf(plain, '"instances": 1'), / Expecting 'instances' to be an list\/array$/);
    assert.match(await errorOf(plain, '"instances": []'), / No values in 'instances' array$/);
    assert.equal(
      await errorOf("two", '"instances": [1]'),
      "400: instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map",
    );
    assert.equal(
      await errorOf("two", '"inputs": [1]'),
      "400: inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map",
    );
    assert.equal(await errorOf("two", '"inputs": {"a": 1}'), "400: Missing named input: s in 'inputs' object.");
    assert.equal(
      await errorOf("two", '"instances": [{"a": 1, "b": 2}]'),
      "400: Failed to process element: 0 key: b of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: b",
    );
    assert.match(
      await errorOf("two", '"instances": [{"a": 1}]'),
      /^400: Failed to process element: 0 of 'instances' list. JSON object: \{\n {4}"a": 1\n\} keys must be equal to: a,s$/,
    );
    assert.match(await errorOf("two", '"instances": [{"a": 1, "s": "", "a": 2}]'), /the key occurs twice/);
    assert.equal(
      await errorOf("two", '"instances": [{"a": 1, "s": ""}, [1]]'),
      "400: Expecting object but got list at item 1 of input list",
    );
    assert.equal(
      await errorOf(plain, '"instances": [1, {"x": 1}]'),
      "400: Expecting value/list but got object at item 1 of input list",
    );
    assert.equal(
      await errorOf(plain, '"instances": [[1, 2], [1]]'),
      "400: Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
    );
    assert.equal(
      await errorOf(plain, '"instances": [[1, 2], [[1], [2]]]'),
      "400: Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]",
    );
    assert.equal(
      await errorOf(plain, '"inputs": [[1, 2], [1]]'),
      "400: Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    );
    assert.equal(
      await errorOf(plain, '"inputs": [1, [2]]'),
      "400: Encountered list at unexpected level: 1 expected < 1",
    );
    assert.equal(
      await errorOf(plain, '"inputs": [[1], 2]'),
      "400: JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    );
    assert.equal(
      await errorOf(plain, '"inputs": ["x"]'),
      '400: JSON Value: "x" Type: String is not of expected type: float',
    );
    assert.equal(
      await errorOf("int32", '"inputs": [3.0]'),
      "400: JSON Value: 3.0 Type: Number is not of expected type: int32",
    );
    assert.equal(
      await errorOf("int32", '"inputs": [2147483648]'),
      "400: JSON Value: 2147483648 Type: Number is not of expected type: int32",
    );
    assert.match(await errorOf("int64", '"inputs": [9223372036854775808]'), /is not of expected type: int64$/);
    assert.match(await errorOf("uint64", '"inputs": [-1]'), /is not of expected type: uint64$/);
    assert.match(
      await errorOf("bool", '"inputs": [1]'),
      /^400: JSON Value: 1 Type: Number is not of expected type: bool$/,
    );
    assert.equal(
      await errorOf("string", '"inputs": [{"b64": 1}]'),
      '400: JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
    );
    assert.equal(await errorOf("string", '"inputs": {"b64": "?"}'), "400: Unable to base64 decode");
    assert.equal(await errorOf("float16", '"inputs": [1]'), "501: Conversion of JSON Value: 1 to type: half");
    assert.equal(await errorOf("none", '"instances": [1]'), "400: Failed to get input map for signature: none");
    assert.equal(
      await errorOf("nope", '"instances": [1]'),
      '400: Serving signature name: "nope" not found in signature def',
    );
    assert.match(
      await errorOf(plain, `"inputs": ${"[".repeat(600)}`),
      /^400: JSON Parse error: Nesting is deeper than 512 /,
    );
    assert.equal(
      await errorOf("scalar", '"instances": [1, 2]'),
      "400: Tensor name: z has inconsistent batch size: 1 expecting: 2",
    );
  });

  it("reads an instance of any size, and finds what is wrong in the middle of it", async () => {
    const values = Array.from({ length: 300_000 }, (_, i) => i % 10);
    await using other = await startServer({ echo: { 1: echo() } });
    const send = (instances: unknown) =>
      fetch(`${other.baseUrl}/v1/models/echo:predict`, { method: "POST", body: JSON.stringify({ instances }) });
    assert.deepEqual(await (await send([values, values])).json(), { predictions: [values, values] });
    const wrong = await (await send([values, [...values.slice(1), "x"]])).json();
    assert.match(
      (wrong as { error: string }).error,
      /^Failed to process element: 1 of 'instances' list\. Error: INVALID_ARGUMENT: JSON Value: "x" Type: String is not /,
    );
  });

  it("turns JSON into examples by TensorFlow Serving's rules", async () => {
    let seen: StringColumn | undefined;
    const recorder = new FunctionModel({
      serving_default: {
        inputs: { inputs: { dtype: "string" } },
        outputs: { outputs: { dtype: "float32" } },
        run: (inputs) => {
          seen = inputs.get("inputs")!.data as StringColumn;
          return { outputs: tensor("float32", [seen.length], new Float32Array(seen.length)) };
        },
      },
    });
    await using other = await startServer({ r: { 1: recorder } });
    const send = async (body: string) => {
      const response = await fetch(`${other.baseUrl}/v1/models/r:regress`, { method: "POST", body });
      return { status: response.status, json: (await response.json()) as { error: string; results: number[] } };
    };
    const ok = await send(
      '{"context": {"c": "x"}, "examples": [{"i": [1, true, -9223372036854775808], "f": [1.0, NaN, 1e3], "s": ["a", {"b64": "/w"}], "e": []}, {}]}',
    );
    assert.deepEqual(ok, { status: 200, json: { results: [0, 0] } as never });
    const { feature } = fromBinary(ExampleSchema, seen!.at(0)).features!;
    assert.deepEqual(feature["i"]!.kind.value!.value, [1n, 1n, -(2n ** 63n)]);
    assert.deepEqual(feature["f"]!.kind.value!.value, [1, Number.NaN, 1000]);
    assert.deepEqual(
      (feature["s"]!.kind.value!.value as Uint8Array[]).map((value) => Buffer.from(value).toString("hex")),
      ["61", "ff"],
    );
    assert.equal(feature["e"]!.kind.case, undefined);
    assert.equal(feature["c"]!.kind.case, "bytesList");
    for (const [body, error] of [
      ["{}", /When method is classify, key 'examples' is expected and was not found$/],
      ['{"examples": 1}', /Expecting 'examples' value to be an list\/array$/],
      ['{"examples": []}', /'examples' value is an empty array$/],
      ['{"examples": [[1]]}', /^Example must be JSON object but got JSON Array$/],
      ['{"examples": [{"a": null}]}', /^Feature: a has element with unexpected JSON type: Null$/],
      ['{"examples": [{"a": {"b": 1}}]}', /^Feature: a has element with unexpected JSON type: Object$/],
      ['{"examples": [{"a": [[1]]}]}', /^Feature: a has element with unexpected JSON type: Array$/],
      ['{"examples": [{"a": [1, 1.5]}]}', /^Unexpected element type in feature: a expecting type: int64$/],
      ['{"examples": [{"a": 9223372036854775808}]}', /^Feature: a has uint64_t element\. Only int64_t is supported\.$/],
      ['{"examples": [{"a": {"b64": "?"}}]}', /^Unable to base64 decode$/],
    ] as const) {
      const { status, json } = await send(body);
      assert.equal(status, 400);
      assert.match(json.error, error);
    }
  });

  it("refuses outputs that it cannot print", async () => {
    const half = new FunctionModel({
      serving_default: {
        inputs: { x: { dtype: "float32" } },
        outputs: { y: { dtype: "float16" } },
        run: () => ({ y: tensor("float16", [], Uint16Array.of(0)) }),
      },
      scalar: {
        inputs: { x: { dtype: "float32" } },
        outputs: { y: { dtype: "float32" } },
        run: () => ({ y: tensor("float32", [], Float32Array.of(0)) }),
      },
    });
    await using other = await startServer({ h: { 1: half } });
    const errorOfBody = async (body: string) =>
      (
        (await (await fetch(`${other.baseUrl}/v1/models/h:predict`, { method: "POST", body })).json()) as {
          error: string;
        }
      ).error;
    assert.equal(await errorOfBody('{"inputs": 1}'), "Failed to write JSON value for tensor type: half");
    assert.equal(
      await errorOfBody('{"signature_name": "scalar", "instances": [1]}'),
      "Tensor name: y has no shape information ",
    );
  });

  it("bounds the bytes of all bodies together", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits: { bodyBytesInFlightMax: 10 } });
    const response = await fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body: '{"inputs": 1}' });
    assert.equal(response.status, 503);
    const again = await fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body: "{}" });
    assert.equal(again.status, 400, "what was refused is given back");
  });

  it("wraps 8-bit integers as TensorFlow does and prints bools", async () => {
    assert.deepEqual(JSON.parse((await predict("uint8", '"inputs": [300, -1]')).text), { outputs: [44, 255] });
    assert.deepEqual(JSON.parse((await predict("bool", '"inputs": [true, false]')).text), { outputs: [true, false] });
  });

  it("ignores what follows the top object, and unknown keys", async () => {
    assert.equal((await post("/v1/models/m:predict", '{"foo": [[{}]], "instances": [1]} trailing')).status, 200);
  });

  it("percent-decodes names, and wants the method in lower case", async () => {
    assert.equal((await post("/V1/Models/a%20b:predict", '{"instances": [1]}')).status, 200);
    const shouted = await post("/v1/models/m:PREDICT", '{"instances": [1]}');
    assert.equal(shouted.text, JSON.stringify({ error: "Malformed request: POST /v1/models/m:PREDICT" }, null, 4));
  });

  it("answers requests that are written as to a proxy", async () => {
    const statusOf = (path: string) =>
      new Promise<number>((resolve, reject) => {
        get(server.baseUrl, { path }, (reply) => resolve(reply.resume().statusCode!)).on("error", reject);
      });
    assert.equal(await statusOf(`${server.baseUrl}/v1/models/m?a=http://b/`), 200);
    assert.equal(await statusOf("HTTP://x/healthz"), 200);
    assert.equal(await statusOf("http://x"), 404);
    assert.equal(await statusOf("/http://x/healthz"), 404);
  });

  it("takes no name of a model, a version or a label for a path", async () => {
    for (const name of [
      "..",
      "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
      "..%5c..",
      "%00",
      "m%2f..%2fm",
      "/etc/passwd",
      "file:%2f%2fetc",
    ]) {
      for (const path of [
        `/v1/models/${name}`,
        `/v1/models/${name}/metadata`,
        `/v2/models/${name}`,
        `/v1/models/m/labels/${name}/metadata`,
      ]) {
        // Over a socket: fetch would resolve the dots by itself.
        const status = await new Promise<number>((resolve, reject) => {
          get(server.baseUrl, { path }, (reply) => resolve(reply.resume().statusCode!)).on("error", reject);
        });
        assert.ok(status === 404 || status === 400, `${path}: ${status}`);
      }
    }
  });

  it("prints status and metadata as protobuf does", async () => {
    const status = await fetch(`${server.baseUrl}/v1/models/m/versions/123`);
    assert.equal(
      await status.text(),
      '{\n "model_version_status": [\n  {\n   "version": "123",\n   "state": "AVAILABLE",\n   "status": {\n' +
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n',
    );
    assert.equal((await fetch(`${server.baseUrl}/v1/models/nope`)).status, 404);
    assert.equal((await fetch(`${server.baseUrl}/v1/models/nope/metadata`)).status, 404);
  });

  it("prints the metadata of TensorFlow Serving's half_plus_two", async function () {
    const file = join(SHARED, "savedmodels", "tf-serving", "samples", "half_plus_two_model_metadata.json");
    if (!existsSync(file)) {
      console.log(`skipped: ${file} is absent`);
      return this.skip();
    }
    const golden = JSON.parse(readFileSync(file, "utf8")) as { metadata: { signature_def: never } };
    const model = halfPlus(2);
    const metadata = toBinary(SignatureDefMapSchema, fromJson(SignatureDefMapSchema, golden.metadata.signature_def));
    await using other = await startServer({ default: { 123: Object.assign(model, { metadata }) } });
    const response = await fetch(`${other.baseUrl}/v1/models/default/metadata`);
    assert.deepEqual(await response.json(), golden);
  });

  it("prints default inputs in metadata as tensors", async () => {
    const value = toBinary(TensorProtoSchema, create(TensorProtoSchema, { dtype: 1, floatVal: [2] }));
    const metadata = toBinary(
      SignatureDefMapSchema,
      create(SignatureDefMapSchema, { signatureDef: { s: { defaults: { x: value } } } }),
    );
    await using other = await startServer({ d: { 1: Object.assign(halfPlus(2), { metadata }) } });
    const json = await (await fetch(`${other.baseUrl}/v1/models/d/metadata`)).json();
    const { defaults } = (
      json as { metadata: { signature_def: { signature_def: { s: { defaults: { x: { float_val: number[] } } } } } } }
    ).metadata.signature_def.signature_def.s;
    assert.deepEqual(defaults.x.float_val, [2]);
  });

  it("inflates gzip bodies and bounds every body", async () => {
    const body = '{"instances": [1.0]}';
    const gzip = { "Content-Encoding": "gzip" };
    assert.equal((await post("/v1/models/m:predict", gzipSync(body), gzip)).status, 200);
    assert.equal((await post("/v1/models/m:predict", body, gzip)).status, 400);
    const bomb = await post("/v1/models/m:predict", gzipSync(Buffer.alloc(1_000_000, 0x20)), gzip);
    assert.equal(bomb.status, 413);
    assert.match(bomb.text, /more than 100000 inflated bytes, the limit is 100000/);
    assert.equal((await post("/v1/models/m:predict", Buffer.alloc(200_001, 0x20))).status, 413);
    const chunked = await fetch(`${server.baseUrl}/v1/models/m:predict`, {
      method: "POST",
      duplex: "half",
      body: new ReadableStream({
        pull(controller) {
          controller.enqueue(Buffer.alloc(50_000, 0x20));
        },
      }),
    } as RequestInit).catch(() => undefined);
    if (chunked) assert.equal(chunked.status, 413);
    assert.equal((await post("/v1/models/m:predict", body)).status, 200);
  });

  it("answers clients that read only when they have sent all, also those that it refuses", async () => {
    const { port } = new URL(server.baseUrl);
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), "127.0.0.1");
      const length = 20 * 2 ** 20;
      socket.write(`POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`);
      socket.pause();
      socket.on("error", reject);
      socket.write(Buffer.alloc(length, 0x20), () => {
        let answer = "";
        socket.on("data", (chunk) => (answer += String(chunk)));
        socket.on("end", () => resolve(answer)).resume();
      });
    });
    assert.match(text, /^HTTP\/1.1 413 .*Connection: close.*the request body has 20971520 bytes, the limit is 200000/s);
  });

  it("counts a refused request no longer as under way while its client goes on sending", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits: { requestsInFlightMax: 1 } });
    const { port } = new URL(other.baseUrl);
    const socket = connect(Number(port), "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.write("POST /v1/models/m:nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    while (!text.includes("Malformed request")) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.equal(other.server.inFlight, 0);
    const next = await fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body: '{"instances": [1.0]}' });
    assert.equal(next.status, 200);
    assert.ok(!socket.closed, "it may still read its answer");
    socket.destroy();
  });

  it("says so when the time is over before a body is whole", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits: { restTimeoutMs: 100 } });
    const { port } = new URL(other.baseUrl);
    const socket = connect(Number(port), "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.write("POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    while (!text.includes("notification") && !socket.closed) await new Promise((resolve) => setTimeout(resolve, 2));
    socket.destroy();
    assert.match(text, /^HTTP\/1.1 504 .*Timed out waiting for notification/s);
  });

  it("keeps the connection of a refused request that has no body", async () => {
    const { port } = new URL(server.baseUrl);
    const socket = connect(Number(port), "127.0.0.1");
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.write(get("/v1/models/"));
    while (!text.includes("Malformed request")) await new Promise((resolve) => setTimeout(resolve, 2));
    socket.write(get("/healthz"));
    while (!text.includes("ok\n") && !socket.closed) await new Promise((resolve) => setTimeout(resolve, 2));
    socket.destroy();
    assert.match(text, /^HTTP\/1.1 400 .*HTTP\/1.1 200 OK/s);
  });

  it("counts what bodies inflate to while they do: many that are too large each are not inflated side by side", async () => {
    const limits = { inflatedBytesMax: 2 ** 20, bodyBytesInFlightMax: 3 * 2 ** 20 };
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const bomb = gzipSync(Buffer.alloc(2 ** 21, 0x20));
    const headers = { "content-encoding": "gzip" };
    const send = (body: Buffer) => fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body, headers });
    assert.equal((await send(bomb)).status, 413);
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await send(bomb)).status));
    assert.ok(
      statuses.every((status) => status === 413 || status === 503), // how many of which: body.test.ts has it without chance
      statuses.join(","),
    );
    assert.equal((await send(gzipSync('{"instances": [1.0]}'))).status, 200, "what was refused is given back");
  });

  it("inflates deflate bodies, too, and compresses large answers for clients that take gzip", async () => {
    const body = deflateSync('{"instances": [1.0]}');
    const headers = { "content-encoding": "deflate" };
    assert.equal((await post("/v1/models/m:predict", body, headers)).status, 200);
    const broken = await post("/v1/models/m:predict", "{}", headers);
    assert.match(`${broken.status}: ${broken.text}`, /^400: .*the request body is no valid deflate/s);

    const large = `{"instances": [${Array.from({ length: 20_000 }, (_, i) => `${i % 50}.5`).join(",")}]}`;
    const answer = (path: string, sent: string, accept: string | undefined) =>
      new Promise<{ encoding: string | undefined; bytes: Buffer }>((resolve, reject) => {
        const options = { method: "POST", path, headers: accept === undefined ? {} : { "accept-encoding": accept } };
        const sending = httpRequest(server.baseUrl, options, (reply) => {
          const chunks: Buffer[] = [];
          reply.on("data", (chunk: Buffer) => chunks.push(chunk));
          reply.on("end", () => resolve({ encoding: reply.headers["content-encoding"], bytes: Buffer.concat(chunks) }));
        });
        sending.on("error", reject).end(sent);
      });
    const predict = "/v1/models/m:predict";
    const plain = await answer(predict, large, undefined);
    assert.equal(plain.encoding, undefined);
    for (const accept of ["gzip", "deflate, gzip;q=0.5", "*"]) {
      const packed = await answer(predict, large, accept);
      assert.equal(packed.encoding, "gzip", accept);
      assert.deepEqual(gunzipSync(packed.bytes), plain.bytes);
      assert.ok(packed.bytes.length < plain.bytes.length / 2);
    }
    for (const accept of ["", "gzip;q=0", "br", "identity"]) {
      assert.deepEqual(await answer(predict, large, accept), plain, accept);
    }
    assert.equal(
      (await answer(predict, '{"instances": [1.0]}', "gzip")).encoding,
      undefined,
      "small ones stay as they are",
    );
  });

  it("answers OPTIONS, unknown paths, health and metrics", async () => {
    const options = (origin: string) =>
      fetch(`${server.baseUrl}/v1/anything`, { method: "OPTIONS", headers: origin === "" ? {} : { Origin: origin } });
    assert.equal((await options("http://example.org")).status, 200);
    assert.equal((await options("")).status, 400);
    assert.equal((await fetch(`${server.baseUrl}/`)).status, 404);
    assert.equal((await fetch(`${server.baseUrl}/readyz`)).status, 200);
    await post("/v1/models/made-up-name:predict", '{"instances": [1]}');
    const page = await (await fetch(`${server.baseUrl}/monitoring/prometheus/metrics`)).text();
    assert.match(page, /^:tensorflow:serving:request_count\{model_name="m",status="OK"\} \d+$/m);
    assert.match(
      page,
      /^:tensorflow:serving:request_latency_bucket\{le="18",model_name="m",API="predict",entrypoint="REST"\}/m,
    );
    assert.match(
      page,
      /^shardserve_stage_seconds_count\{stage="device",model="m",version="123",signature="serving_default"\} \d+$/m,
    );
    assert.match(page, /^shardserve_event_loop_delay_seconds\{quantile="0.99"\}/m);
    assert.match(page, /^shardserve_rows_total\{model="echo",version="1",table="user\/table",source="default"\} \d+$/m);
    assert.ok(!page.includes("made-up-name"), "names out of URLs do not become series");
  });

  it("cuts off a client that sends its request too slowly", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits: { receiveTimeoutMs: 100 } });
    const socket = connect(other.server.restPort, "127.0.0.1");
    socket.write("POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    let reply = "";
    socket.on("data", (bytes) => (reply += bytes.toString()));
    await new Promise((resolve) => socket.on("close", resolve));
    assert.match(reply, /^HTTP\/1\.1 408 /);
    while (other.server.inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  });

  it("ends a request that takes too long", async () => {
    const slow = new FunctionModel({
      serving_default: {
        inputs: { x: { dtype: "float32" } },
        outputs: { y: { dtype: "float32" } },
        run: (_inputs, { signal }) =>
          new Promise((_resolve, reject) => {
            signal!.addEventListener("abort", () => reject(signal!.reason as Error), { once: true });
          }),
      },
    });
    await using other = await startServer({ m: { 1: slow } }, { limits: { restTimeoutMs: 50 } });
    const response = await fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body: '{"inputs": 1}' });
    assert.equal(response.status, 504);
    assert.match(await response.text(), /Timed out waiting for notification/);
  });

  it("refuses requests beyond the number that may be under way", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } }, { limits: { requestsInFlightMax: 0 } });
    const response = await fetch(`${other.baseUrl}/v1/models/m:predict`, { method: "POST", body: '{"inputs": 1}' });
    assert.equal(response.status, 429);
  });

  it("drops the series of a version that is gone", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2), 2: halfPlus(2) } });
    const predictOf = (version: number) =>
      fetch(`${other.baseUrl}/v1/models/m/versions/${version}:predict`, { method: "POST", body: '{"inputs": 1}' });
    await predictOf(1);
    await predictOf(2);
    other.manager.setAspired("m", [{ version: 2, path: "" }]);
    while (other.manager.statuses("m")![1]!.state !== "END") await new Promise((resolve) => setTimeout(resolve, 2));
    await new Promise((resolve) => setTimeout(resolve, 5));
    const page = await (await fetch(`${other.baseUrl}/monitoring/prometheus/metrics`)).text();
    assert.match(page, /model="m",version="2"/);
    assert.ok(!page.includes('model="m",version="1"'));
  });

  it("does not hold other requests up while it reads a big body", async () => {
    await using other = await startServer({ m: { 1: halfPlus(2) } });
    const big = `{"instances": [${Array.from({ length: 2_000_000 }, (_, i) => `[${i % 1000}.5]`).join(",")}]}`;
    const url = `${other.baseUrl}/v1/models/m:predict`;
    let isDone = false;
    const large = fetch(url, { method: "POST", body: big }).then(async (response) => {
      await response.arrayBuffer();
      isDone = true;
      return response.status;
    });
    let small = 0;
    while (!isDone) {
      const response = await fetch(`${other.baseUrl}/v1/models/m`);
      await response.arrayBuffer();
      small++;
    }
    assert.equal(await large, 200);
    assert.ok(small > 20, `${small} small requests were answered meanwhile`);
  }).timeout(60_000);

  it("aborts a request whose client goes away in the middle of its body", async () => {
    const { port } = new URL(server.baseUrl);
    const socket = connect(Number(port), "127.0.0.1");
    socket.write("POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    while (server.server.inFlight === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    socket.destroy();
    while (server.server.inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  });
});
