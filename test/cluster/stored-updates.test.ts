import assert from "node:assert/strict";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { mapKey, mapRecord } from "@shardserve/registry";
import { DELTA_MANIFEST_FILE } from "@shardserve/rowstore";
import { eventually, GcsServer, S3Server, TcpProxy } from "@shardserve/testkit";
import { ApplyClient } from "./support/apply-client.js";
import { cliIn } from "./support/cli.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { type Front, startApply, startExecutor, whenAvailable } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";
import { acknowledged, readRows, rowsAfter, send, until } from "./support/streamed-rows.js";

const SHARD_IDS = ["shard-0", "shard-1"];
/** Of an epoch's requests to the store: a writer is killed anywhere within them. */
const EPOCH_BYTES = 9_000;

interface Emulator extends AsyncDisposable {
  readonly port: number;
  readonly environment: Readonly<Record<string, string>>;
  keys(prefix: string): Promise<string[]>;
}

const STORES: readonly {
  readonly scheme: string;
  readonly endpoint: string;
  readonly start: () => Promise<Emulator | undefined>;
}[] = [
  { scheme: "s3", endpoint: "AWS_ENDPOINT_URL_S3", start: () => S3Server.start() },
  { scheme: "gs", endpoint: "STORAGE_EMULATOR_HOST", start: () => GcsServer.start() },
];

for (const { scheme, endpoint, start } of STORES) {
  describe(`streamed updates and folds in an object store (${scheme}://)`, function () {
    this.timeout(240_000);
    const base = `${scheme}://models/repository`;
    let store: Emulator | undefined;
    /** Between writers and the store. */
    let link: TcpProxy;
    let cluster: SmallCluster;
    let executor: Front;
    let front: Awaited<ReturnType<typeof startApply>>;
    const random = seededRandom(7);
    let machines = 0;

    const dataDir = (id: string) => join(cluster.dir.path, "data", `${id}-${machines}`);
    const throughLink = () => ({ ...cluster.place.env, [endpoint]: `http://127.0.0.1:${link.port}` });
    /** A writer on a machine that has never seen the version, or on the last one again. */
    const startWriter = async (isElsewhere: boolean) => {
      if (isElsewhere) machines++;
      const staging = `--staging-dir=${join(cluster.dir.path, `staging-${machines}`)}`;
      const place = { ...cluster.place, env: throughLink() };
      return startApply(place, "--epoch-seconds=0.05", "--keep-epochs=3", "--fold-epochs=4", staging);
    };
    const keys = async () => {
      const prefix = `repository/${DRIFTING}/1/`;
      return (await store!.keys(prefix)).map((key) => key.slice(prefix.length));
    };
    const chainNow = async () => {
      const { value } = (await cluster.observer.get(mapKey(DRIFTING, 1)))!;
      return mapRecord.decode(value, "map").epochs?.chain ?? [];
    };
    const isRead = async (wanted: ReadonlyMap<number, number>) => {
      const found = await readRows(executor.grpc);
      return [...wanted].every(([id, value]) => found.get(id) === value);
    };
    const visible = (count: number) =>
      until(
        () => isRead(rowsAfter(count)),
        () => `the executor answers with all rows of ${count} batches`,
      );
    const fold = (...flags: string[]) =>
      cliIn(
        cluster.place.env!,
        "fold",
        DRIFTING,
        ...cluster.registryFlags,
        `--model-repository=${base}`,
        `--staging-dir=${join(cluster.dir.path, "staging-fold")}`,
        "--json",
        ...flags,
      );

    before(async function () {
      store = await start();
      if (!store) return this.skip();
      link = await TcpProxy.start({ host: "127.0.0.1", port: store.port });
      cluster = await SmallCluster.start(`stored-${scheme}`, {
        repository: base,
        env: store.environment,
        timeoutMs: 90_000,
        shardFlags: (id) => [
          "--replication=2",
          "--min-shards=2",
          "--settle-seconds=0.2",
          "--object-store-poll-seconds=0.1",
          `--data-dir=${dataDir(id)}`,
        ],
      });
      const source = join(cluster.dir.path, "source");
      await writeDrifting(source, 0);
      const out = [`--out=${base}/${DRIFTING}/1`, `--staging-dir=${join(cluster.dir.path, "staging")}`];
      const exported = await cliIn(store.environment, "shard-export", source, ...out, "--min-table-bytes=64KiB");
      assert.equal(exported.code, 0, exported.stderr);
      await cluster.startShards(...SHARD_IDS);
      executor = await startExecutor(cluster.place, "executor-0", "--cache-bytes=64KiB", `--data-dir=${dataDir("e")}`);
      await whenAvailable(executor, DRIFTING);
      front = await startWriter(false);
    });
    after(async () => {
      link?.setDark(false);
      await cluster?.stop(executor?.process, front?.process);
      await link?.stop();
      await store?.[Symbol.asyncDispose]();
    });

    it("acknowledges what is whole in the store and in force", async () => {
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      for (let sequence = 1; sequence <= 3; sequence++) {
        send(client, sequence);
        await acknowledged(client, sequence);
      }
      await visible(3);
      const found = await keys();
      for (const { epoch } of await chainNow())
        for (const file of ["rows.delta", DELTA_MANIFEST_FILE]) assert.ok(found.includes(`deltas/${epoch}/${file}`));
      assert.ok(!found.some((key) => key.endsWith("shardserve.upload")), found.join());
      const second = await startWriter(false).then(
        () => assert.fail("two processes in one folder"),
        (error: Error) => error.message,
      );
      assert.match(second, /CONFIG_INVALID: process \d+ works on .* give each process a --staging-dir of its own/);
    });

    it("a writer that is killed anywhere in an epoch loses nothing that was acknowledged, here or on another machine", async () => {
      let known = 3;
      for (let round = 0; round < 6; round++) {
        using client = new ApplyClient(front.grpc, DRIFTING, "a");
        await until(
          () => client.isEnded || client.ack !== undefined,
          () => "the stream opens",
        );
        assert.ok(client.ack && client.ack.sequence >= known, `${known} was acknowledged: ${client.error?.message}`);
        known = client.ack.sequence;
        link.setDarkAfter(200 + (random.uint32() % EPOCH_BYTES));
        for (let sequence = known + 1; !link.isDark && !client.isEnded; sequence++) {
          send(client, sequence);
          await until(
            () => link.isDark || client.isEnded || client.ack!.sequence >= sequence,
            () => `${sequence} is acknowledged, or the store is away`,
          );
        }
        known = client.ack.sequence;
        await front.process.stop("SIGKILL");
        link.setDark(false);
        front = await startWriter(round % 2 === 0);
      }
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      await acknowledged(client, known);
      known = client.ack!.sequence;
      send(client, known + 1);
      await acknowledged(client, known + 1);
      await visible(known + 1);
    });

    it("a writer that stood still in the midst of an epoch and was replaced overwrites nothing", async () => {
      const paused = front;
      using old = new ApplyClient(paused.grpc, DRIFTING, "a");
      await acknowledged(old, 0);
      const { sequence } = old.ack!;
      link.setDarkAfter(2_500);
      for (let next = sequence + 1; !link.isDark; next++) {
        old.send(next, "table", [0, 1, 2], new Float32Array(12).fill(77_777)); // other rows than its successor gets
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      paused.process.signal("SIGSTOP");
      link.setDark(false);
      front = await startWriter(true);
      try {
        let known = 0;
        await eventually(async () => {
          using client = new ApplyClient(front.grpc, DRIFTING, "a");
          await acknowledged(client, 0);
          known = client.ack!.sequence;
          for (let i = 0; i < 2; i++) {
            send(client, ++known);
            await acknowledged(client, known);
          }
        });
        paused.process.signal("SIGCONT");
        await until(
          () => old.isEnded,
          () => "the stream of the writer that stood still ends",
        );
        const told = (await readRows(executor.grpc)).get(0);
        using client = new ApplyClient(front.grpc, DRIFTING, "a");
        await acknowledged(client, known);
        for (let i = 0; i < 2; i++) {
          client.send(++known, "table", [3], new Float32Array(4).fill(known));
          await acknowledged(client, known);
        }
        await until(
          async () => (await readRows(executor.grpc)).get(3) === known,
          () => "the last row is answered",
        );
        assert.equal((await readRows(executor.grpc)).get(0), told);
      } finally {
        await paused.process.stop("SIGKILL");
      }
    });

    it("folds old epochs, removes what they stand for, and is read by shards that have nothing", async () => {
      const folds = new Set<number>();
      let known = 0;
      while (folds.size < 3) {
        using client = new ApplyClient(front.grpc, DRIFTING, "b");
        await acknowledged(client, 0);
        known = client.ack!.sequence;
        while (folds.size < 3 && !client.isEnded) {
          send(client, ++known);
          await until(
            () => client.isEnded || client.ack!.sequence >= known,
            () => `${known} is acknowledged`,
          );
          const [first] = await chainNow();
          if (first?.fold !== undefined) folds.add(first.epoch);
        }
      }
      await visible(known);
      const oldest = Math.min(...folds);
      await until(
        async () => !(await keys()).some((key) => key === `deltas/${oldest}/${DELTA_MANIFEST_FILE}`),
        () => "deltas that an older fold stands for are removed",
      );
      assert.ok(!(await keys()).some((key) => key.startsWith("folds/") && key.endsWith("shardserve.upload")));
      await Promise.all(SHARD_IDS.map((id) => cluster.kill(id)));
      machines++;
      await cluster.startShards(...SHARD_IDS);
      await visible(known);
    });

    it("fold writes and mends them by itself", async () => {
      await front.process.stop();
      const written = await fold("--keep-epochs=1");
      assert.equal(written.code, 0, written.stderr);
      const [first] = await chainNow();
      const { foldedEpoch, isInForce } = JSON.parse(written.stdout) as { foldedEpoch: number; isInForce: boolean };
      assert.deepEqual([first?.epoch, isInForce], [foldedEpoch, true]);
      if (!(store instanceof S3Server)) return;
      await store.put(`repository/${DRIFTING}/1/folds/${foldedEpoch}/rows.delta`, Buffer.alloc(5_000, 7));
      const mended = await fold("--keep-epochs=1");
      assert.equal(mended.code, 0, mended.stderr);
      assert.equal((JSON.parse(mended.stdout) as { isMended: boolean }).isMended, true);
      const sound = await fold("--keep-epochs=1");
      assert.equal((JSON.parse(sound.stdout) as { isMended: boolean }).isMended, false);
      assert.equal((await chainNow())[0]?.fold, first?.fold);
    });
  });
}
