import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { EtcdServer, type LaunchedProcess, makeCertificates, type TempDir, tempDir } from "@shardserve/testkit";
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

  it("asks its peer by TLS, where both show a certificate of one authority; a stranger is refused and starts cold", async function () {
    if (!makeCertificates(dir.path)) {
      console.log("      SKIPPED: openssl is not installed");
      return this.skip();
    }
    await processes.pop()?.stop(); // executors that answer in clear
    await processes[1]!.stop();
    const config = async (name: string) => {
      const pem = async (file: string) => JSON.stringify(await readFile(join(dir.path, file), "utf8"));
      const path = join(dir.path, `${name}.cfg`);
      const own = `server_key: ${await pem(`${name}.key`)} server_cert: ${await pem(`${name}.pem`)}`;
      await writeFile(path, `${own} custom_ca: ${await pem("ca.pem")}`);
      return `--peer-ssl-config-file=${path}`;
    };
    const guarded = await startOne("executor-4", "--peer-listen=127.0.0.1:0", await config("server"));
    await ask(guarded);
    const warm = await startOne("executor-5", await config("client"));
    assert.match(warm.process.output, /"from":"executor-4, version 1".*"msg":"cache warmed up"/);
    for (const flags of [[], [await config("stranger")]]) {
      const cold = await startOne("executor-6", ...flags);
      assert.doesNotMatch(cold.process.output, /cache warmed up/);
      assert.match(cold.process.output, /"peer":"executor-4".*a peer cannot be asked for hot rows/);
      await processes.pop()?.stop();
    }
    assert.match(guarded.process.output, /a connection without a valid certificate was refused/);
  });

  it("is served, cold, when its peers cannot be asked", async () => {
    const peer = (await startOne("executor-7", "--peer-listen=127.0.0.1:0")).process;
    peer.signal("SIGSTOP"); // its registration lives on
    const fresh = await startOne("executor-3");
    assert.doesNotMatch(fresh.process.output, /cache warmed up/);
    assert.match(fresh.process.output, /a peer cannot be asked for hot rows/);
    assert.ok((await ask(fresh)).shard > 0);
    peer.signal("SIGCONT");
  });
});
