import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { commands } from "shardserve";
import { EtcdServer, eventually, readGolden, REPO_DIR, type TempDir, tempDir } from "@shardserve/testkit";
import { cli, cliJson, startCli } from "./support/cli.js";
import { GoldenCheck } from "./support/golden-check.js";
import { GrpcClient } from "./support/grpc.js";
import { type Front, startUp } from "./support/roles.js";

const SOURCE = join(REPO_DIR, "test/fixtures/models/dlrm/1");
const GOLDEN = join(REPO_DIR, "test/fixtures/models/dlrm/golden.json");
/** Rows of the fixture's tables, as make_fixtures.py says. */
const TABLE_ROWS = [1000, 37, 5003, 3, 211, 2048];
/** Dense features of the fixture. */
const DENSE = 13;
const LONG_FLAG = /(?:^|\s)--([a-z][a-z0-9_-]*)/g;

const kebab = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

describe("every command", () => {
  it("of the design is there", () => {
    const names = [...commands.keys()];
    for (const name of [
      "executor",
      "inspect",
      "plan",
      "predict",
      "serve",
      "shard",
      "shard-export",
      "status",
      "up",
      "verify",
    ])
      assert.ok(names.includes(name), name);
  });

  for (const [name, load] of commands) {
    it(`${name} has --help with an example and all its flags`, async () => {
      const { flags, name: ownName } = await load();
      assert.equal(ownName, name);
      const { code, stdout, stderr } = await cli(name, "--help");
      assert.equal(code, 0);
      assert.equal(stderr, "");
      const examples = /^Examples:\n((?: {2}.*\n)+)/m.exec(stdout)?.[1] ?? "";
      assert.match(examples, new RegExp(`^ {2}(shardserve )?${name} `, "m"));
      const known = new Set(Object.keys(flags).map(kebab));
      for (const key of known) assert.match(stdout, new RegExp(`^ {2}--${key}\\b`, "m"));
      for (const line of examples.split("\n").filter((text) => /^ {2}(shardserve|shard-export) /.test(text))) {
        for (const [, used] of line.matchAll(LONG_FLAG)) {
          const key = used!.replaceAll("_", "-").replace(/^no-/, ""); // --no-wait turns --wait off
          const isKnown = known.has(key);
          assert.ok(isKnown, `the example uses --${used}, which is no flag of ${name}`);
        }
      }
    });

    it(`${name} refuses an unknown flag and names it`, async () => {
      const { code, stdout, stderr } = await cli(name, "--no-such-flag=1");
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, new RegExp(`^shardserve ${name}: CONFIG_INVALID: .*--no-such-flag`));
    });
  }
});

describe("--device gpu", () => {
  it("runs on a GPU, or ends saying that there is none: never on the CPU", async () => {
    const { code, stdout, stderr } = await cli("inspect", SOURCE, "--device=gpu", "--engine=onnxruntime");
    if (code === 0) assert.match(stdout, /^would be served on ONNX Runtime \S+ \(gpu\)/m);
    else
      assert.match(
        stderr,
        /^shardserve inspect: DEPENDENCY_MISSING: --device gpu: there is no GPU\. .*cuda: .*webgpu: /ms,
      );
  });
});

describe("exit codes: 0 done, 1 failed, 2 wrong usage", () => {
  const cases: readonly (readonly [code: number, message: RegExp, ...args: string[]])[] = [
    [2, /^$/],
    [2, /there is no command "shrad"/, "shrad"],
    [2, /--id/, "shard", "--etcd=127.0.0.1:1", "--model-repository=."],
    [2, /--replication/, "plan", "x", "--replication=none"],
    [2, /--row-dtype/, "shard-export", "x", "--out=y", "--row-dtype=float8"],
    [2, /--etcd/, "status"],
    [2, /--etcd="e1": give HOST:PORT/, "status", "--etcd=e1"],
    [2, /--etcd="https:\/\/e1:2379": .*--etcd-ca turns TLS on/, "status", "--etcd=https://e1:2379"],
    [2, /--etcd-cert needs --etcd-ca/, "status", "--etcd=e1:2379", "--etcd-cert=c.pem", "--etcd-key=k.pem"],
    [2, /--etcd-ca=no\/such.pem: ENOENT/, "status", "--etcd=e1:2379", "--etcd-ca=no/such.pem"],
    [2, /--etcd-user=u: .*SHARDSERVE_ETCD_PASSWORD/, "status", "--etcd=e1:2379", "--etcd-user=u"],
    [2, /must end in a version number/, "shard-export", SOURCE, "--out=repository/dlrm/latest"],
    [2, /given twice/, "predict", "--model=a", "--model=b", "--inputs={}"],
    [2, /one SavedModel directory/, "inspect"],
    [2, /--inputs must be an object/, "predict", "--model=a", "--inputs=[1]"],
    [1, /SAVED_MODEL_INVALID|NOT_FOUND/, "inspect", "no/such/model"],
    [1, /MANIFEST_INVALID/, "plan", SOURCE],
    [1, /DEPENDENCY_MISSING: no libtensorflow in nowhere/, "inspect", SOURCE, "--libtensorflow=nowhere"],
    [
      2,
      /give one of --intra-op-threads/,
      "inspect",
      SOURCE,
      "--intra-op-threads=2",
      "--tensorflow-session-parallelism=2",
    ],
    [2, /--engine/, "serve", "--model-base-path=x", "--engine=tflite"],
    [
      1,
      /UNAVAILABLE: 127\.0\.0\.1:1 cannot be reached: connect ECONNREFUSED .*: does a server/,
      "predict",
      "--address=127.0.0.1:1",
      "--model=a",
      "--inputs={}",
    ],
    [1, /REGISTRY_UNAVAILABLE: .*127\.0\.0\.1:1/, "status", "--etcd=127.0.0.1:1"],
    [1, /NOT_FOUND: .*no\/such\/repository/, "up", "--model-repository=no/such/repository"],
    [
      1,
      /"code":"SAVED_MODEL_INVALID"[^]*LOAD_FAILED/,
      "serve",
      `--model-base-path=${join(REPO_DIR, "test/fixtures/models/dlrm")}`,
      "--saved-model-tags=nope",
      "--max-num-load-retries=0",
      "--port=0",
      "--rest-api-port=0",
    ],
    [2, /what is "prod"/, "status", "prod"],
    [2, /unknown flag -json/, "status", "-json"],
    [1, /name a SavedModel directory, .*dlrm\/1, say/, "inspect", join(REPO_DIR, "test/fixtures/models/dlrm")],
    [0, /^$/, "--help"],
    [0, /^$/, "-h"],
    [0, /^$/, "--version"],
  ];
  for (const [expected, message, ...args] of cases) {
    it(`${expected}: shardserve ${args.map((text) => text.replace(REPO_DIR, "")).join(" ")}`, async () => {
      const { code, stderr } = await cli(...args);
      assert.equal(code, expected, stderr);
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^\s+at |"stack":/m, "no stack trace");
    }).timeout(60_000);
  }
});

describe("commands on a model", function () {
  this.timeout(90_000);
  let dir: TempDir;
  let etcd: EtcdServer;
  let up: Front;
  let repository: string;
  let version: string;
  const registry = () => [`--etcd=${etcd.host}`, "--cluster=cli"];

  before(async () => {
    [dir, etcd] = await Promise.all([tempDir("shardserve-cli-"), EtcdServer.start()]);
    repository = join(dir.path, "repository");
    version = join(repository, "dlrm", "1");
  });
  after(async () => {
    await up?.process.stop();
    await etcd?.stop();
    await dir?.remove();
  });

  it("inspect --dot draws the segments of every signature", async () => {
    const { code, stdout } = await cli("inspect", SOURCE, "--dot");
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^digraph model \{[^]*label="serving_default"[^]*2\. lookup[^]*s0_step1 -> s0_step2[^]*\}\s*$/,
    );
  });

  it("inspect --json shows signatures, tables and lookups", async () => {
    const found = await cliJson<{
      signatures: { signature: string; inputs: string[]; lookups: unknown[]; unsupported: string[] }[];
      tables: { rows: number; rowShape: number[] }[];
    }>("inspect", SOURCE);
    const [signature] = found.signatures.filter((item) => item.signature === "serving_default");
    assert.equal(signature?.lookups.length, TABLE_ROWS.length);
    assert.deepEqual(signature.unsupported, []);
    assert.deepEqual(new Set(found.tables.map(({ rows }) => rows)), new Set(TABLE_ROWS));
    const { stdout } = await cli("inspect", SOURCE, "--nodes");
    for (const text of ["tables are looked up", "signature serving_default", "nodes of serving_default"])
      assert.ok(stdout.includes(text), text);
  });

  it("shard-export --dry-run writes nothing; shard-export writes, and never overwrites", async () => {
    const args = ["shard-export", SOURCE, `--out=${version}`, "--min-table-bytes=0"];
    const planned = await cliJson<{ tables: { rows: number; rowBytes: number }[]; partition: { count: number } }>(
      ...args,
      "--dry-run",
    );
    assert.deepEqual(await readdir(dir.path), []);
    const report = await cliJson<{ out: string; partitionCount: number; tableBytes: number }>(...args);
    assert.equal(report.out, version);
    assert.equal(report.partitionCount, planned.partition.count);
    assert.equal(
      planned.tables.reduce((sum, { rows }) => sum + rows, 0),
      TABLE_ROWS.reduce((sum, rows) => sum + rows, 0),
    );
    const again = await cli(...args);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /OUTPUT_EXISTS/);
    assert.equal(again.stdout, "", "said before a model is read and planned");
    const unread = await cli("shard-export", join(dir.path, "no-such-model"), `--out=${version}`);
    assert.match(unread.stderr, /OUTPUT_EXISTS/);
  });

  it("verify finds the exported version equal to its source", async () => {
    const report = await cliJson<{ predictions: { isEqual: boolean }[]; rows: { rowsCompared: number }[] }>(
      "verify",
      SOURCE,
      version,
    );
    assert.ok(report.predictions.length > 0 && report.predictions.every(({ isEqual }) => isEqual));
    assert.deepEqual(new Set(report.rows.map(({ rowsCompared }) => rowsCompared)), new Set(TABLE_ROWS));
    const other = await cli("verify", join(REPO_DIR, "test/fixtures/models/wide-deep/1"), version);
    assert.equal(other.code, 1);
  });

  it("up runs a cluster on etcd, and predict asks it", async () => {
    up = await startUp(repository, "--shards=3", "--replication=2", "--executors=2", ...registry());
    const { inputs, outputs } = readGolden(GOLDEN).cases[0]!;
    const rows = inputs.get("dense")!.shape[0]!;
    const nested = (alias: string) => {
      const { shape, data } = inputs.get(alias)!;
      const width = shape[1]!;
      return Array.from({ length: rows }, (_, row) =>
        Array.from({ length: width }, (_, i) => Number((data as Float32Array)[row * width + i])),
      );
    };
    const request = JSON.stringify({ dense: nested("dense"), sparse: nested("sparse") });
    const reply = await cliJson<{ version: number; outputs: Record<string, number[][]> }>(
      "predict",
      `--address=${up.grpc}`,
      "--model=dlrm",
      `--inputs=${request}`,
    );
    assert.equal(reply.version, 1);
    const expected = outputs!.get("logit")!.data as Float32Array;
    reply.outputs["logit"]!.forEach(([value], i) => assert.ok(Math.abs(value! - expected[i]!) <= 1e-5 * 10));
    const wrong = await cli("predict", `--address=${up.grpc}`, "--model=dlrm", '--inputs={"denes": [[1]]}');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /"denes" is no input; inputs are .*dense/);
  });

  it("explain tells which shard gave each row, then that all are cached", async () => {
    interface Explanation {
      readonly epoch: number;
      readonly stagesMs: Readonly<Record<string, number>>;
      readonly rows: readonly {
        readonly table: string;
        readonly level: string;
        readonly shard?: string;
        readonly count: number;
        readonly ids: readonly number[];
      }[];
      readonly fetches: readonly { readonly shard: string; readonly rows: number; readonly outcome: string }[];
    }
    // Ids that no other request here has, but for the tables of few rows.
    const sparse = [TABLE_ROWS.map((count) => Math.min(count - 1, 997)), TABLE_ROWS.map((count) => Math.min(1, count))];
    const inputs = JSON.stringify({ dense: sparse.map(() => Array.from({ length: DENSE }, () => 0.5)), sparse });
    const question = [`--address=${up.grpc}`, "--model=dlrm", `--inputs=${inputs}`];
    const { shards } = await cliJson<{ shards: readonly { id: string; partitions: readonly number[] }[] }>(
      "plan",
      version,
      "--shards=3",
      "--replication=2",
    );
    const first = await cliJson<Explanation>("explain", ...question);
    assert.equal(first.epoch, 0);
    assert.deepEqual(Object.keys(first.stagesMs), ["queue", "host", "lookup", "device", "encode"]);
    assert.equal(
      first.rows.reduce((sum, { count }) => sum + count, 0),
      2 * TABLE_ROWS.length,
    );
    const fetched = first.rows.filter(({ level }) => level === "shard");
    assert.ok(fetched.length > 0, JSON.stringify(first));
    for (const { shard, ids } of fetched) {
      const held = shards.find(({ id }) => id === shard)!.partitions;
      for (const id of ids) assert.ok(held.includes(id % 61), `${shard} does not hold row ${id}`);
      assert.ok(first.fetches.some((fetch) => fetch.shard === shard && fetch.outcome === "ok"));
    }
    const second = await cliJson<Explanation>("explain", ...question);
    assert.deepEqual([...new Set(second.rows.map(({ level }) => level)), second.fetches.length], ["cache", 0]);
    const { stdout } = await cli("explain", ...question);
    assert.match(
      stdout,
      /^dlrm version 1 epoch 0: queue \S+ ms, .*encode \S+ ms\n {2}table +from +shard +epoch +rows +ids\n/,
    );
  });

  it("verify --address asks the cluster as well", async () => {
    const { predictions } = await cliJson<{ predictions: { answeredBy: string; isEqual: boolean }[] }>(
      "verify",
      SOURCE,
      version,
      `--address=${up.grpc}`,
      "--model=dlrm",
    );
    assert.ok(predictions.some(({ answeredBy, isEqual }) => answeredBy === up.grpc && isEqual));
  });

  it("status shows the cluster; plan had said where the partitions go", async () => {
    interface Load {
      readonly id: string;
      readonly bytes: number;
    }
    const found = await cliJson<{ shards: (Load & { partitionCount: number })[]; executors: { id: string }[] }>(
      "status",
      ...registry(),
    );
    const planned = await cliJson<{ shards: (Load & { partitions: number[] })[] }>(
      "plan",
      version,
      "--shards=3",
      "--replication=2",
    );
    assert.deepEqual(
      found.shards.map(({ id, bytes, partitionCount }) => [id, partitionCount, bytes]),
      planned.shards.map(({ id, bytes, partitions }) => [id, partitions.length, bytes]),
    );
    assert.deepEqual(
      found.executors.map(({ id }) => id),
      ["executor-0", "executor-1"],
    );
    const { stdout } = await cli("status", ...registry());
    assert.match(stdout, /^cluster cli: leader shard-\d$/m);
    assert.match(stdout, /^ {2}dlrm\/1 +enabled +1 +0 +61 x 2 +122 of 122 /m);
    const misspelt = await cli("status", registry()[0]!, "--cluster=clj");
    assert.match(misspelt.stdout, /^ {2}nothing is registered under this name: is --cluster right\?$/m);
  });

  it("up with the embedded registry serves, and SIGTERM ends all its processes", async () => {
    const embedded = await startUp(repository, "--shards=3", "--replication=2");
    try {
      using client = new GrpcClient(embedded.grpc);
      const check = await GoldenCheck.open("dlrm", readGolden(GOLDEN), embedded.rest);
      assert.deepEqual(await check.overGrpc(client), []);
      assert.deepEqual((await check.overRest(embedded.rest, client)).wrong, []);
      const children = childrenOf(embedded.process.pid!);
      assert.equal(children.length, 4);
      embedded.process.signal("SIGTERM");
      assert.deepEqual(await embedded.process.exit, { code: 0, signal: null });
      for (const pid of children) assert.equal(isAlive(pid), false, `process ${pid} lives on`);
    } finally {
      await embedded.process.stop();
    }
  });

  it("up ends, and its processes with it, when one of them cannot start", async () => {
    const taken = createServer();
    await once(taken.listen(0, "127.0.0.1"), "listening");
    const { port } = taken.address() as AddressInfo;
    const flags = ["--port=0", `--rest-api-port=${port}`, "--host=127.0.0.1", "--ready-timeout-seconds=600"];
    const { code, stderr } = await cli("up", `--model-repository=${repository}`, ...flags);
    taken.close();
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^shardserve executor: UNAVAILABLE: --rest-api-port: cannot listen on .*already/m);
    assert.match(stderr, /^shardserve up: UNAVAILABLE: executor-0 ended before the cluster served/m);
  });

  it("up killed with SIGKILL leaves no process behind", async () => {
    const killed = startCli("up", `--model-repository=${repository}`, "--port=0", "--rest-api-port=0");
    await killed.waitForOutput(/^ready: /m, { timeoutMs: 60_000 });
    const children = childrenOf(killed.pid!);
    assert.equal(children.length, 4);
    try {
      await killed.stop("SIGKILL");
      await eventually(() => !children.some(isAlive), { timeoutMs: 30_000, intervalMs: 200 });
    } finally {
      for (const pid of children.filter(isAlive)) process.kill(pid, "SIGKILL");
    }
  });
});

/** State letter and parent of a process; undefined when there is none. */
function processState(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    // "PID (NAME) STATE PPID ...": the name may hold anything, also brackets
    const [, state, parent] = /^.*\) (\S) (\d+) /s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return { state: state!, parent: Number(parent) };
  } catch {
    return undefined; // it ended
  }
}

function childrenOf(pid: number): number[] {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return all.map(Number).filter((other) => processState(other)?.parent === pid);
}

/** A zombie has ended; that nobody fetched its exit code is its new parent's affair. */
function isAlive(pid: number): boolean {
  return !["Z", "X", undefined].includes(processState(pid)?.state);
}
