import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterStatus } from "@shardserve/controller";
import { seededRandom } from "@shardserve/core";
import { MANIFEST_FILE, partitionPath, readManifest } from "@shardserve/rowstore";
import { eventually, S3Server, TcpProxy } from "@shardserve/testkit";
import { cli, startCliIn } from "./support/cli.js";
import { DriftingLoad } from "./support/drifting-load.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { GrpcClient } from "./support/grpc.js";
import { isGone, versionOf } from "./support/live-cluster.js";
import { type Front, startExecutor, startServe, whenAvailable } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";
import { STAMPED, stampedRequest, writeStamped } from "./support/stamped-model.js";

const BASE = "s3://models/repository";
const SHARDS = ["shard-0", "shard-1", "shard-2"];
const TABLES = "--min-table-bytes=64KiB";

describe("a repository in an object store", function () {
  this.timeout(240_000);
  let cluster: SmallCluster;
  let store: S3Server;
  /** Every process reaches the store through it. */
  let link: TcpProxy;
  let env: Readonly<Record<string, string>>;
  let executor: Front;
  const random = seededRandom(5);

  const source = (version: number) => join(cluster.dir.path, `source-${version}`);
  const exportArguments = (version: number) => [
    "shard-export",
    source(version),
    `--out=${BASE}/${STAMPED}/${version}`,
    `--staging-dir=${join(cluster.dir.path, "staging")}`,
    TABLES,
  ];
  const exportVersion = async (version: number) => {
    const child = startCliIn(env, ...exportArguments(version));
    const { code } = await child.exit;
    return { code, output: child.output };
  };
  const keysOf = (version: number) => store.keys(`repository/${STAMPED}/${version}/`);
  const isManifest = (key: string) => key.endsWith(MANIFEST_FILE);

  const partitionsOn = (id: string) => {
    const folder = join(cluster.dir.path, "data", id, "shardserve-copies", STAMPED, "1/partitions");
    return readdirSync(folder).filter((name) => name.endsWith(".rows"));
  };
  const startFront = async () => {
    const dataDir = `--data-dir=${join(cluster.dir.path, "data/e")}`;
    executor = await startExecutor(cluster.place, "executor-0", "--cache-bytes=64KiB", dataDir);
  };
  const isWhole = ({ models, missingShards }: ClusterStatus) =>
    missingShards.length === 0 &&
    models.every(({ versions }) => versions.every(({ heldCount, neededCount }) => heldCount === neededCount));
  /** Answers of the executor, each with the values that the version's rows have. */
  const ask = async (version: number, count = 20) => {
    using client = new GrpcClient(executor.grpc);
    for (let i = 0; i < count; i++) {
      const request = stampedRequest(random);
      const reply = await client.send(request.bytes);
      assert.equal(reply.version, version);
      request.check(reply);
    }
  };

  before(async () => {
    store = await S3Server.start();
    link = await TcpProxy.start({ host: "127.0.0.1", port: store.port });
    env = { ...store.environment, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${link.port}` };
    cluster = await SmallCluster.start("objects", {
      repository: BASE,
      env,
      timeoutMs: 90_000,
      shardFlags: (id) => [
        "--replication=2",
        "--min-shards=3",
        "--settle-seconds=0.2",
        "--object-store-poll-seconds=0.3",
        "--retire-after-seconds=1",
        `--data-dir=${join(cluster.dir.path, "data", id)}`,
      ],
    });
    for (const version of [1, 2, 3]) await writeStamped(source(version), version);
  });

  after(async () => {
    link?.setDark(false);
    await cluster?.stop(executor?.process);
    await link?.stop();
    await store?.[Symbol.asyncDispose]();
  });

  it("an export that is killed halfway leaves no version, and goes on when it is repeated", async () => {
    link.setDarkAfter(500_000); // of 1.3 MB
    const killed = startCliIn(env, ...exportArguments(1));
    await eventually(async () => assert.ok(link.isDark), { timeoutMs: 60_000, intervalMs: 50 });
    await killed.stop("SIGKILL");
    link.setDark(false);
    const half = await keysOf(1);
    assert.ok(half.length > 1 && !half.some(isManifest), half.join());
    const again = await exportVersion(1);
    assert.equal(again.code, 0, again.output);
    const whole = await keysOf(1);
    assert.ok(whole.some(isManifest) && !whole.some((key) => key.endsWith("shardserve.upload")), whole.join());
    const sentBytes = Number(/"sentBytes":(\d+)/.exec(again.output)?.[1]);
    assert.ok(sentBytes > 0 && sentBytes < 1_280_000, again.output);
    assert.ok(!existsSync(join(cluster.dir.path, "staging", "1")));
    const refused = await exportVersion(1);
    assert.equal(refused.code, 1);
    assert.match(
      refused.output,
      /OUTPUT_EXISTS: s3:\/\/models\/repository\/stamped\/1 exists and is never overwritten/,
    );
    assert.doesNotMatch(refused.output, /tables to shard/, "said before the model is read and planned");
  });

  it("refuses another export in the place of one that was begun", async () => {
    link.setDarkAfter(200_000);
    const killed = startCliIn(env, ...exportArguments(2));
    await eventually(async () => assert.ok(link.isDark), { timeoutMs: 60_000, intervalMs: 50 });
    await killed.stop("SIGKILL");
    link.setDark(false);
    const other = startCliIn(
      env,
      "shard-export",
      source(3),
      `--out=${BASE}/${STAMPED}/2`,
      `--staging-dir=${join(cluster.dir.path, "other")}`,
      TABLES,
    );
    assert.equal((await other.exit).code, 1, other.output);
    assert.match(other.output, /OUTPUT_EXISTS: another export is being put to s3:\/\/models\/repository\/stamped\/2/);
    assert.ok(!(await keysOf(2)).some(isManifest));
  });

  it("is served as the model itself is, by shards that hold just their own partitions", async () => {
    await cluster.startShards(...SHARDS);
    await startFront();
    await whenAvailable(executor, STAMPED);
    await cluster.until(isWhole);
    await ask(1);
    const whole = join(cluster.dir.path, "whole", STAMPED);
    await mkdir(whole, { recursive: true });
    await symlink(source(1), join(whole, "1"));
    const alone = await startServe(STAMPED, whole);
    using ours = new GrpcClient(executor.grpc);
    using theirs = new GrpcClient(alone.grpc);
    for (let i = 0; i < 10; i++) {
      const { bytes } = stampedRequest(random);
      const [one, other] = await Promise.all([ours.send(bytes), theirs.send(bytes)]);
      assert.deepEqual(one.bytes, other.bytes);
    }
    await alone.process.stop();
    const held = SHARDS.map((id) => partitionsOn(id));
    const { partitionCount } = (await readManifest(join(cluster.dir.path, "data/e/shardserve-dense", STAMPED, "1")))!
      .manifest;
    assert.equal(held.flat().length, 2 * partitionCount);
    assert.ok(held.every(({ length }) => length < partitionCount));
    assert.ok(!existsSync(join(cluster.dir.path, "data/e/shardserve-dense", STAMPED, "1/partitions")));
  });

  it("brings a new version into force when it is whole", async () => {
    const { code, output } = await exportVersion(2); // the one that was killed
    assert.equal(code, 0, output);
    await whenAvailable(executor, STAMPED, 2);
    await ask(2);
    await cluster.until((found) => isWhole(found) && isGone(found, 1));
  });

  it("a delta comes into force, and only its rows leave the executor's cache", async () => {
    for (const epoch of [0, 1]) await writeDrifting(join(cluster.dir.path, `drifting-${epoch}`), epoch);
    const uri = `${BASE}/${DRIFTING}/1`;
    const drifting = async (epoch: number, ...args: readonly string[]) => {
      const staging = `--staging-dir=${join(cluster.dir.path, "staging")}`;
      const child = startCliIn(env, args[0]!, join(cluster.dir.path, `drifting-${epoch}`), ...args.slice(1), staging);
      assert.equal((await child.exit).code, 0, child.output);
    };
    await drifting(0, "shard-export", `--out=${uri}`, TABLES);
    await whenAvailable(executor, DRIFTING);
    await using load = new DriftingLoad(executor.grpc);
    await load.more(20);
    await drifting(1, "shard-export", `--base=${uri}`);
    await load.until(() => load.epochs.at(-1) === 1, "the delta does not come into force");
    await load.more(20);
    await load.stop();
    assert.deepEqual(load.failures, []);
    await drifting(1, "verify", uri);
  });

  it("the store goes dark: what is in force is served, also by a shard and an executor that start", async () => {
    link.setDark(true);
    await ask(2);
    await cluster.kill("shard-0");
    await cluster.startShard("shard-0");
    await cluster.until((found) => isWhole(found));
    await executor.process.stop("SIGKILL");
    await startFront();
    await whenAvailable(executor, STAMPED, 2);
    await whenAvailable(executor, DRIFTING);
    await cluster.kill("shard-1"); // now every row of some partitions comes from shard-0
    await ask(2);
    await using load = new DriftingLoad(executor.grpc);
    await load.more(50);
    await load.stop();
    assert.deepEqual([load.failures, new Set(load.epochs)], [[], new Set([1])]);
    link.setDark(false);
    await cluster.startShard("shard-1");
    await cluster.until((found) => isWhole(found));
  });

  it("a partition with a flipped bit is refused by name, until it is mended", async () => {
    const version = join(cluster.dir.path, "local", "3");
    const exported = await cli("shard-export", source(3), `--out=${version}`, TABLES);
    assert.equal(exported.code, 0, exported.stderr);
    const right = await readFile(join(version, partitionPath(7)));
    const wrong = Buffer.from(right);
    wrong[5000]! ^= 1;
    const key = `repository/${STAMPED}/3`;
    await rename(join(version, MANIFEST_FILE), join(cluster.dir.path, "manifest"));
    await store.putDirectory(version, key);
    await store.put(`${key}/${partitionPath(7)}`, wrong);
    await store.put(`${key}/${MANIFEST_FILE}`, await readFile(join(cluster.dir.path, "manifest")));
    const found = await cluster.until((status) => /p-00007\.rows/.test(JSON.stringify(status)));
    assert.match(JSON.stringify(found), /CHECKSUM_MISMATCH/);
    await ask(2);
    await store.put(`${key}/${partitionPath(7)}`, right);
    await whenAvailable(executor, STAMPED, 3);
    await ask(3);
  });

  it("what was retired leaves the disks", async () => {
    await cluster.until((found) => !versionOf(found, 1));
    const copies = [
      ...SHARDS.map((id) => join("data", id, "shardserve-copies", STAMPED, "1")),
      join("data/e/shardserve-dense", STAMPED, "1"),
    ];
    await eventually(async () => {
      assert.deepEqual(
        copies.filter((path) => existsSync(join(cluster.dir.path, path))),
        [],
      );
    });
  });
});
