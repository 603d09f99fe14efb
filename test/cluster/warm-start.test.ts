import assert from "node:assert/strict";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { EtcdServer, type LaunchedProcess, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { GrpcClient } from "./support/grpc.js";
import { type ClusterPlace, type Front, startExecutor, startShard, whenAvailable } from "./support/roles.js";
import { STAMPED, stampedRequest, writeStamped } from "./support/stamped-model.js";

/** Requests whose rows are asked for again and again. */
const HOT_REQUESTS = 40;
const ROUNDS = 4;

describe("an executor that starts beside others", function () {
  this.timeout(120_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let place: ClusterPlace;
  const processes: LaunchedProcess[] = [];

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-warm-")]);
    place = { etcd: etcd.host, cluster: "warm", repository: join(dir.path, "repository") };
    await writeStamped(join(dir.path, "source"), 1);
    const out = join(place.repository, STAMPED, "1");
    const { code, stderr } = await cli("shard-export", join(dir.path, "source"), `--out=${out}`, "--min-table-bytes=0");
    assert.equal(code, 0, stderr);
    processes.push(await startShard(place, "shard-0", "--replication=1", "--settle-seconds=0.2"));
  });
  after(async () => {
    await Promise.all(processes.map((child) => child.stop("SIGKILL")));
    await etcd?.stop();
    await dir?.remove();
  });

  const startOne = async (id: string, ...more: readonly string[]): Promise<Front> => {
    const front = await startExecutor(place, id, "--cache-bytes=4MiB", ...more);
    processes.push(front.process);
    await whenAvailable(front, STAMPED);
    return front;
  };

  /** Sends the hot requests once. @returns rows from cache and from shards */
  async function ask(front: Front): Promise<{ cache: number; shard: number }> {
    using client = new GrpcClient(front.grpc);
    const random = seededRandom(5);
    const rows = { cache: 0, shard: 0 };
    for (let i = 0; i < HOT_REQUESTS; i++) {
      const request = stampedRequest(random);
      const reply = await client.send(request.bytes);
      request.check(reply);
      rows.cache += Number(reply.trailers["x-shardserve-rows-cache"]);
      rows.shard += Number(reply.trailers["x-shardserve-rows-shard"]);
    }
    return rows;
  }

  it("has the rows that its peer is asked for most, before its first request", async () => {
    const peer = await startOne("executor-0", "--peer-listen=127.0.0.1:0");
    const cold = await ask(peer);
    assert.ok(cold.shard > cold.cache, "rows of the first round come from the shard");
    for (let round = 1; round < ROUNDS; round++) await ask(peer);

    const fresh = await startOne("executor-1");
    assert.match(fresh.process.output, /"from":"executor-0, version 1".*"msg":"cache warmed up"/);
    const first = await ask(fresh);
    assert.ok(first.shard <= 0.02 * (first.cache + first.shard), JSON.stringify(first));
    const alone = await startOne("executor-2", "--cache-warm-up-seconds=0");
    assert.ok((await ask(alone)).shard > 0.5 * (first.cache + first.shard), "without a warm-up they are not there");
  });

  it("is served, cold, when its peers cannot be asked", async () => {
    const [, peer] = processes; // executor-0
    peer!.signal("SIGSTOP"); // its registration lives on
    const fresh = await startOne("executor-3");
    assert.doesNotMatch(fresh.process.output, /cache warmed up/);
    assert.match(fresh.process.output, /a peer cannot be asked for hot rows/);
    assert.ok((await ask(fresh)).shard > 0);
    peer!.signal("SIGCONT");
  });
});
