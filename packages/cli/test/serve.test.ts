import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import { create, ModelServerConfigSchema, ReloadConfigRequestSchema, toBinary } from "@shardserve/api";
import { parseTextFormat, type ServerDescription } from "@shardserve/model-server";
import { OtlpCollector } from "@shardserve/testkit";
import { describeServed } from "../src/server-status.js";

const REPO = join(import.meta.dirname, "../../../..");
const PROGRAM = join(REPO, "packages/cli/bin/shardserve.js");
const MODELS = join(process.env["SHARDSERVE_SHARED"] ?? join(REPO, "../shared"), "savedmodels/tf-serving");

interface Serving {
  readonly child: ChildProcess;
  /** HOST:PORT of gRPC. */
  readonly grpc: string;
  /** Of REST. */
  readonly url: string;
  readonly log: () => string;
}

/** The program, once it has said where it listens. */
async function serve(...args: readonly string[]): Promise<Serving> {
  const child = spawn(process.execPath, [
    PROGRAM,
    "serve",
    "--port=0",
    "--rest-api-port=0",
    "--host=127.0.0.1",
    ...args,
  ]);
  let log = "";
  child.stderr.on("data", (chunk) => (log += String(chunk)));
  const [grpc, rest] = await new Promise<[string, string]>((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += String(chunk);
      const found = /gRPC on (\S+), REST on (\S+)/.exec(text);
      if (found) resolve([found[1]!, found[2]!]);
    });
    child.on("exit", (code) => reject(new Error(`ended with ${code}: ${log}`)));
  });
  return { child, grpc, url: `http://${rest}`, log: () => log };
}

/** Sends a HandleReloadConfigRequest with a configuration in protobuf's text format. */
async function reload(address: string, text: string): Promise<void> {
  const client = new Client(address, credentials.createInsecure());
  const config = parseTextFormat(ModelServerConfigSchema, text, "test");
  const request = create(ReloadConfigRequestSchema, { config });
  const path = "/tensorflow.serving.ModelService/HandleReloadConfigRequest";
  const asIs = (bytes: Buffer) => bytes;
  try {
    await new Promise<void>((resolve, reject) => {
      const bytes = Buffer.from(toBinary(ReloadConfigRequestSchema, request));
      client.makeUnaryRequest(path, asIs, asIs, bytes, (error) => (error ? reject(error) : resolve()));
    });
  } finally {
    client.close();
  }
}

const exitOf = (child: ChildProcess) => new Promise((resolve) => child.on("exit", resolve));

async function until(isDone: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isDone())) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("serve", function () {
  this.timeout(60_000);
  let dir: string;
  let children: ChildProcess[] = [];
  before(async function () {
    if (!existsSync(MODELS)) {
      console.log(`skipped: ${MODELS} is not here`);
      return this.skip();
    }
    dir = await mkdtemp(join(tmpdir(), "shardserve-serve-"));
  });
  afterEach(() => {
    for (const child of children) child.kill("SIGKILL");
    children = [];
  });
  after(async () => {
    if (dir) await rm(dir, { recursive: true });
  });

  const config = (...models: readonly (readonly [name: string, directory: string, more?: string])[]) =>
    models
      .map(
        ([name, directory, more = ""]) =>
          `config { name: "${name}" base_path: "${join(MODELS, directory)}" model_platform: "tensorflow" ${more} }`,
      )
      .join("\n");
  const predict = async (url: string, path: string) => {
    const answer = await fetch(`${url}/v1/models/${path}:predict`, { method: "POST", body: '{"instances": [1.0]}' });
    return answer.ok ? ((await answer.json()) as { predictions: number[] }).predictions[0] : answer.status;
  };

  it("answers on IPv6, however its address is written", async function () {
    const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
    if (!hasIpv6) {
      console.log("skipped: this machine has no ::1");
      return this.skip();
    }
    const model = `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`;
    for (const host of ["::1", "[::1]", "::"]) {
      const { child, url } = await serve(`--host=${host}`, "--model_name=two", model);
      children.push(child);
      assert.match(url, /^http:\/\/\[::1?\]:\d+$/);
      assert.equal(await predict(url, "two"), 2.5);
    }
  });

  it("takes the socket that it left when it was killed", async () => {
    const socket = join(dir, "grpc.sock");
    const args = [`--grpc_socket_path=${socket}`, "--model_name=two"];
    args.push(`--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`);
    const { child } = await serve(...args);
    children.push(child);
    const exited = exitOf(child);
    child.kill("SIGKILL");
    await exited;
    const { child: next } = await serve(...args);
    children.push(next);
    const question = [PROGRAM, "predict", `--address=unix:${socket}`, "--model=two", '--inputs={"x": [1.0]}', "--json"];
    const asked = spawnSync(process.execPath, question);
    assert.deepEqual(JSON.parse(String(asked.stdout)).outputs.y, [2.5], String(asked.stderr));
  });

  it("listens before its model's path is there, says why it is not ready, and serves it when it comes", async () => {
    const base = join(dir, "late");
    const { child, url, log } = await serve(
      "--model_name=late",
      `--model_base_path=${base}`,
      "--file_system_poll_wait_seconds=0.05",
    );
    children.push(child);
    const statusOf = async (path: string) => (await fetch(url + path)).status;
    assert.deepEqual(await Promise.all(["/healthz", "/readyz", "/v2/health/ready"].map(statusOf)), [200, 503, 503]);
    assert.equal(await predict(url, "late"), 404);
    const { absentModels } = (await (await fetch(`${url}/v1/config`)).json()) as ServerDescription;
    assert.match(absentModels!["late"]!, /Could not find base path .*late for servable late/);
    assert.match(log(), /no model is there yet; not ready until one is/);
    await cp(join(MODELS, "saved_model_half_plus_two_cpu"), join(dir, "late.partial"), { recursive: true });
    await rename(join(dir, "late.partial"), base);
    await until(async () => (await statusOf("/readyz")) === 200);
    assert.equal(await predict(url, "late"), 2.5);
  });

  it("is ready once a reload left no model to wait for, by its file or by a call", async () => {
    const file = join(dir, "emptied.config");
    const absent = `model_config_list { ${config(["gone", "nowhere"])} }`;
    const emptied = "model_config_list { }";
    for (const way of ["file", "call"]) {
      await writeFile(file, absent);
      const { child, grpc, url } = await serve(
        `--model_config_file=${file}`,
        ...(way === "file" ? ["--model_config_file_poll_wait_seconds=0.05"] : []),
      );
      children.push(child);
      const ready = async () => (await fetch(`${url}/readyz`)).status;
      assert.equal(await ready(), 503);
      if (way === "file") await writeFile(file, emptied);
      else await reload(grpc, emptied);
      await until(async () => (await ready()) === 200);
    }
  });

  it("loads a version that failed again once its files are whole", async () => {
    const version = join(dir, "mended/7");
    await cp(join(MODELS, "saved_model_half_plus_two_cpu/00000123"), version, { recursive: true });
    const graph = await readFile(join(version, "saved_model.pb"));
    await writeFile(join(version, "saved_model.pb"), graph.subarray(0, graph.length / 2)); // a copy under way
    const file = join(dir, "mended.config");
    const mended = `config { name: "mended" base_path: "${join(dir, "mended")}" model_platform: "tensorflow" }`;
    await writeFile(file, `model_config_list { ${mended} ${config(["two", "saved_model_half_plus_two_cpu"])} }`);
    const { child, url } = await serve(
      `--model_config_file=${file}`,
      "--file_system_poll_wait_seconds=0.05",
      "--max_num_load_retries=0",
    );
    children.push(child);
    assert.equal(await predict(url, "two"), 2.5);
    assert.equal(await predict(url, "mended"), 404);
    await writeFile(join(version, "saved_model.pb"), graph);
    await until(async () => (await predict(url, "mended")) === 2.5);
  });

  it("serves the models of a file with their labels, follows the file, and is ready only with models", async () => {
    const file = join(dir, "models.config");
    const label = 'model_version_policy { all {} } version_labels { key: "stable" value: 123 }';
    await writeFile(
      file,
      `model_config_list { ${config(["two", "saved_model_half_plus_two_2_versions", label], ["gone", "nowhere"])} }`,
    );
    const { child, url, log } = await serve(
      `--model_config_file=${file}`,
      "--model_config_file_poll_wait_seconds=0.05",
    );
    children.push(child);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    assert.equal(await predict(url, "two"), 2.5);
    assert.equal(await predict(url, "two/labels/stable"), 2.5);
    assert.equal(await predict(url, "three"), 404);
    assert.match(log(), /Could not find base path .*nowhere for servable gone/);
    await writeFile(file, `model_config_list { ${config(["three", "saved_model_half_plus_three"])} }`);
    await until(async () => (await predict(url, "three")) === 3.5);
    await until(async () => (await predict(url, "two")) === 404);
    child.kill("SIGHUP");
    assert.equal(await exitOf(child), 0);
    await until(() => /"why":"stopped by SIGHUP".*"draining"[^]*"drained; the process ends"/.test(log()));
  });

  it("answers what is under way when its terminal closes: it hangs up, often twice, and takes no line any more", async function () {
    if (!existsSync("/dev/full")) return this.skip();
    // A closed terminal refuses each write, too.
    const closed = openSync("/dev/full", "w");
    const flags = ["serve", "--port=0", "--rest-api-port=0", "--host=127.0.0.1", "--model_name=two"];
    const child = spawn(
      process.execPath,
      [PROGRAM, ...flags, `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`],
      { stdio: ["ignore", "pipe", closed] },
    );
    closeSync(closed);
    children.push(child);
    const [line] = (await once(child.stdout!, "data")) as [Buffer];
    const url = `http://${/REST on (\S+)/.exec(String(line))![1]}`;
    const body = '{"instances": [1.0]}';
    const headers = { "content-length": body.length };
    const request = httpRequest(`${url}/v1/models/two:predict`, { method: "POST", headers });
    const answered = once(request, "response") as Promise<[IncomingMessage]>;
    request.write(body.slice(0, 5));
    const metrics = async () => (await fetch(`${url}/monitoring/prometheus/metrics`)).text();
    await until(async () => /requests_in_flight 1$/m.test(await metrics()));
    const exit = exitOf(child);
    child.kill("SIGHUP");
    await until(async () => (await fetch(`${url}/readyz`).catch(() => undefined))?.status !== 200);
    child.kill("SIGHUP");
    await new Promise((resolve) => setTimeout(resolve, 100));
    request.end(body.slice(5));
    assert.equal((await answered)[0].statusCode, 200);
    assert.equal(await exit, 0);
  });

  it("serves the others and the other labels when a version of a label is not there; the label is good once it is", async () => {
    const own = join(dir, "labelled");
    await cp(join(MODELS, "saved_model_half_plus_two_2_versions/00000123"), join(own, "123"), { recursive: true });
    const file = join(dir, "labels.config");
    const policy = `model_version_policy { specific { versions: 123 versions: 200 } }
      version_labels { key: "stable" value: 123 } version_labels { key: "next" value: 200 }`;
    const models = `config { name: "labelled" base_path: "${own}" model_platform: "tensorflow" ${policy} }
      ${config(["three", "saved_model_half_plus_three"], ["gone", "nowhere"])}`;
    await writeFile(file, `model_config_list { ${models} }`);
    const { child, url, log } = await serve(
      `--model_config_file=${file}`,
      "--model_config_file_poll_wait_seconds=0.05",
      "--file_system_poll_wait_seconds=0.05",
    );
    children.push(child);
    const ask = (label: string) => predict(url, `labelled/labels/${label}`);
    assert.deepEqual([await ask("stable"), await ask("next"), await predict(url, "three")], [2.5, 404, 3.5]);
    assert.match(log(), /servable labelled: version 200 of its policy not found in/);
    assert.match(log(), /Request to assign label to version 200 of model labelled/);
    const described = (await (await fetch(`${url}/v1/config`)).json()) as ServerDescription;
    assert.deepEqual(Object.keys(described.absentModels ?? {}), ["gone"]);
    assert.match(describeServed(url, described), /gone is configured and not served: Could not find base path/);
    // A label that stays where it is keeps no other model from being added.
    await writeFile(file, `model_config_list { ${models} ${config(["two", "saved_model_half_plus_two_cpu"])} }`);
    await until(async () => (await predict(url, "two")) === 2.5);
    await cp(join(own, "123"), join(own, ".200"), { recursive: true });
    await rename(join(own, ".200"), join(own, "200"));
    await until(async () => (await ask("next")) === 2.5);
  });

  it("asks for tokens, and follows their file", async () => {
    const file = join(dir, "tokens.json");
    const write = (token: string) => {
      const sha256 = createHash("sha256").update(token).digest("hex");
      return writeFile(
        file,
        JSON.stringify({ tokens: [{ name: "t", sha256, models: ["two"], actions: ["describe"] }] }),
      );
    };
    await write("first");
    const { child, url, log } = await serve(
      "--model_name=two",
      `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`,
      `--auth-tokens-file=${file}`,
    );
    children.push(child);
    const status = async (token: string) =>
      (await fetch(`${url}/v1/models/two`, { headers: { authorization: `Bearer ${token}` } })).status;
    assert.match(log(), /not every port has TLS/);
    assert.deepEqual([await predict(url, "two"), await status("first"), await status("second")], [401, 200, 401]);
    await write("second");
    await until(async () => (await status("second")) === 200);
    assert.equal(await status("first"), 401);
  });

  it("serves an ONNX model as it does a SavedModel", async () => {
    const base = join(REPO, "test/fixtures/onnx/embedding");
    const { child, url } = await serve("--model_name=embedding", `--model_base_path=${base}`);
    children.push(child);
    const body = '{"inputs": [[49]]}';
    const answer = await fetch(`${url}/v1/models/embedding:predict`, { method: "POST", body });
    const { outputs } = (await answer.json()) as { outputs: { scores: number[][] } };
    const golden = JSON.parse(await readFile(join(base, "golden.json"), "utf8"));
    const expected: number[] = golden.signatures.serving_default.cases[1].outputs.scores.data;
    assert.equal(outputs.scores[0]!.length, 3);
    outputs.scores[0]!.forEach((score, i) => assert.ok(Math.abs(score - expected[i]!) < 1e-6));
    const metadata = await (await fetch(`${url}/v1/models/embedding/metadata`)).text();
    assert.match(metadata, /"serving_default"/);
  });

  it("splits traffic by its file, follows the file, and keeps the split while the file is bad", async () => {
    const models = join(dir, "split.config");
    const traffic = join(dir, "traffic.config");
    const all = "model_version_policy { all {} }";
    const replace = async (text: string) => {
      await writeFile(`${traffic}.new`, text);
      await rename(`${traffic}.new`, traffic); // whole at once: half a file would be a configuration, too
    };
    await writeFile(models, `model_config_list { ${config(["two", "saved_model_half_plus_two_2_versions", all])} }`);
    await replace('model { name: "two" split { version: 123 weight: 1 } }');
    const { child, url, log } = await serve(
      `--model_config_file=${models}`,
      `--traffic-config-file=${traffic}`,
      "--model_config_file_poll_wait_seconds=0.05",
    );
    children.push(child);
    const versionOf = async (headers = {}) => {
      const request = { method: "POST", body: '{"instances": [1.0]}', headers };
      return (await fetch(`${url}/v1/models/two:predict`, request)).headers.get("x-shardserve-model-version");
    };
    assert.equal(await versionOf(), "123");
    await replace('model { name: "two" split { version: 123 weight: 1 } split { version: 124 weight: 1 } }');
    const seen = new Set<string | null>();
    await until(async () => seen.add(await versionOf()).size === 2);
    const keyed = await Promise.all(Array.from({ length: 8 }, () => versionOf({ "x-shardserve-sticky-key": "me" })));
    assert.equal(new Set(keyed).size, 1);
    await replace('model { name: "two" split { version: 124 } }');
    await until(async () => log().includes("version 124 has weight 0"));
    seen.clear();
    await until(async () => seen.add(await versionOf()).size === 2);
    await assert.rejects(
      serve(`--model_config_file=${models}`, `--traffic-config-file=${traffic}`),
      /ended with 2: .*CONFIG_INVALID: traffic of model two: version 124 has weight 0/s,
    );
  });

  it("logs requests and sends traces, all of them before it ends", async () => {
    const logs = join(dir, "logs");
    await using collector = await OtlpCollector.start();
    const { child, url } = await serve(
      "--model_name=two",
      `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`,
      `--request-log-dir=${logs}`,
      "--request-log-sampling-rate=1",
      `--otlp-endpoint=${collector.endpoint}`,
      "--trace-sampling-rate=1",
    );
    children.push(child);
    assert.equal(await predict(url, "two"), 2.5);
    child.kill("SIGTERM");
    assert.equal(await exitOf(child), 0);
    assert.deepEqual(
      (await readdir(logs)).map((name) => name.replaceAll(/\d+/g, "N")),
      ["two-NTNZ-N-N.tfrecord"],
    );
    assert.ok(collector.spans.some(({ name }) => name === "HTTP POST"));
  });

  it("refuses settings of logs and traces that cannot work", async () => {
    const model = ["--model_name=two", `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`];
    await assert.rejects(serve(...model, "--request-log-sampling-rate=1"), /--request-log-dir is not/);
    await assert.rejects(serve(...model, "--otlp-endpoint=collector"), /--otlp-endpoint=collector: a URL such as/);
    await assert.rejects(serve(...model, `--auth-tokens-file=${join(dir, "none")}`), /none cannot be read/);
  });

  it("goes on answering for the drain delay while it reports that it is not ready", async () => {
    const { child, url } = await serve(
      "--model_name=two",
      `--model_base_path=${join(MODELS, "saved_model_half_plus_two_cpu")}`,
      "--drain_delay_seconds=1",
    );
    children.push(child);
    const ended = exitOf(child);
    child.kill("SIGTERM");
    await until(async () => (await fetch(`${url}/readyz`, { headers: { connection: "close" } })).status === 503);
    assert.equal(await predict(url, "two"), 2.5);
    assert.equal(await ended, 0);
  });

  it("ends when the only model cannot be loaded, and for bad files, naming line and column", async () => {
    const file = join(dir, "bad.config");
    await writeFile(file, "model_config_list {\n  config { nme: 'a' } }");
    await assert.rejects(
      serve(`--model_config_file=${file}`),
      /ended with 2: .*bad\.config:2:12: tensorflow\.serving\.ModelConfig has no field "nme"/,
    );
    await assert.rejects(serve(), /ended with 2: .*give --model_base_path, or --model_config_file/);
    await assert.rejects(
      serve(`--model_base_path=${join(MODELS, "saved_model_half_plus_two_tflite")}`, "--max_num_load_retries=0"),
      /ended with 1: .*LOAD_FAILED: 1 model\(s\) did not become available/s,
    );
  });

  it("tells its configuration, its versions and their memory; without what stands before the @ of a URL", async () => {
    const path = join(dir, "told.config");
    await writeFile(
      path,
      `model_config_list { ${config(["a", "saved_model_half_plus_two_cpu"], ["absent", "absent"])} }`,
    );
    const traffic = join(dir, "told-traffic.config");
    await writeFile(
      traffic,
      'model { name: "a"  split { version: 123 weight: 9 }  shadow { version: 124 fraction: 0.5 } }',
    );
    const flags = [
      `--model_config_file=${path}`,
      "--memory-limit-bytes=1GiB",
      "--otlp-endpoint=http://me:pw@127.0.0.1:9/x",
      `--traffic-config-file=${traffic}`,
    ];
    const { child, url } = await serve(...flags);
    children.push(child);
    const answer = await fetch(`${url}/v1/config`);
    const told = (await answer.json()) as ServerDescription & {
      readonly flags: Readonly<Record<string, unknown>>;
      readonly modelServerConfig: {
        readonly modelConfigList: { readonly config: readonly { readonly name: string }[] };
      };
    };
    assert.equal(told.flags["--otlp-endpoint"], "http://***@127.0.0.1:9/x");
    assert.equal(told.flags["--model-config-file"], path);
    assert.deepEqual(
      told.modelServerConfig.modelConfigList.config.map(({ name }) => name),
      ["a", "absent"],
    );
    assert.deepEqual(told.traffic, [
      { model: "a", split: [{ version: 123, weight: 9 }], shadow: { version: 124, fraction: 0.5 } },
    ]);
    const [model] = told.models;
    assert.deepEqual([model!.name, model!.state], ["a", "READY"]);
    const bytes = Object.values(model!.memory!).reduce((total, part) => total + part, 0);
    assert.ok(bytes > 1000, `${bytes} bytes`);
    assert.deepEqual(told.memory, { limitBytes: 2 ** 30, heldBytes: bytes });
    const shown = spawnSync(process.execPath, [PROGRAM, "status", `--server=${url}`], { encoding: "utf8" });
    assert.match(shown.stdout, /a\/\d+ +READY/);
    assert.match(shown.stdout, /limit of 1\.0 GiB/);
    assert.match(shown.stdout, /traffic of a: 123=9, 0\.5 of it copied to 124/);
    const absent = spawnSync(process.execPath, [PROGRAM, "status", "--server=127.0.0.1:1"], { encoding: "utf8" });
    assert.equal(absent.status, 1);
    assert.match(absent.stderr, /cannot ask http:\/\/127\.0\.0\.1:1\/v1\/config/);
  });
});
