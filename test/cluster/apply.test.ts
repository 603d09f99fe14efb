import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { seededRandom } from "@shardserve/core";
import { mapKey, mapRecord } from "@shardserve/registry";
import { listEpochs, listFolds } from "@shardserve/rowstore";
import { eventually, makeCertificates, sslConfig } from "@shardserve/testkit";
import { ApplyClient } from "./support/apply-client.js";
import { cli } from "./support/cli.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { type Front, startApply, startExecutor, startServe, whenAvailable } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";
import { acknowledged, DIM, IDS, readRows, rowsAfter, send, until } from "./support/streamed-rows.js";

/** When which fault comes: by CHAOS_SEED, as in the chaos suite. */
const SEED = Number(process.env.CHAOS_SEED ?? 1);
const SHARD_IDS = ["shard-0", "shard-1", "shard-2"];
/** One cluster lives through all of it, one after another. */
describe("streamed updates in a cluster", function () {
  this.timeout(150_000);
  let cluster: SmallCluster;
  let executor: Front;
  let front: Awaited<ReturnType<typeof startApply>>;

  const startFront = async (...flags: readonly string[]) => {
    front = await startApply(cluster.place, "--epoch-seconds=0.1", ...flags);
  };
  const ended = async (client: ApplyClient) => {
    await until(
      () => client.isEnded,
      () => "the stream ends",
    );
    return client.error?.message;
  };

  const read = (from = 0, of = executor) => readRows(of.grpc, from);
  const isRead = async (wanted: ReadonlyMap<number, number>, from = 0, of = executor) => {
    const found = await read(from, of);
    return [...wanted].every(([id, value]) => found.get(id) === value);
  };
  const visible = (wanted: ReadonlyMap<number, number>, from = 0) =>
    until(
      () => isRead(wanted, from),
      () => "the executor answers with all rows",
    );

  before(async () => {
    const flags = ["--replication=2", "--min-shards=3", "--settle-seconds=0.2", "--repository-poll-seconds=0.1"];
    cluster = await SmallCluster.start("apply", { shardFlags: () => flags });
    const { dir, place } = cluster;
    await writeDrifting(join(dir.path, "source"), 0);
    const out = `--out=${join(place.repository, DRIFTING, "1")}`;
    const { code, stderr } = await cli("shard-export", join(dir.path, "source"), out, "--min-table-bytes=64KiB");
    assert.equal(code, 0, stderr);
    await cluster.startShards(...SHARD_IDS);
    executor = await startExecutor(place, "executor-0", "--cache-bytes=128KiB");
    await whenAvailable(executor, DRIFTING);
    await startFront();
  });

  after(() => cluster?.stop(executor?.process, front?.process));

  it("acknowledges in order what is in force; two sources share epochs; what is known has no effect", async () => {
    const before = await read();
    using a = new ApplyClient(front.grpc, DRIFTING, "a");
    using b = new ApplyClient(front.grpc, DRIFTING, "b");
    await Promise.all([acknowledged(a, 0), acknowledged(b, 0)]);
    for (let sequence = 1; sequence <= 30; sequence++) {
      send(a, sequence);
      send(b, sequence, 10_000);
    }
    await Promise.all([acknowledged(a, 30), acknowledged(b, 30)]);
    await visible(rowsAfter(30));
    await visible(rowsAfter(30, 10_000), 10_000);
    const untouched = [...before].filter(([id]) => !rowsAfter(30).has(id));
    assert.ok(untouched.length > 0 && (await isRead(new Map(untouched))), "rows that nobody sent stay");
    const loads = executor.process.output.match(/"msg":"loaded on /g);
    assert.equal(loads?.length, 1, "the graph that all epochs share is logged once");
    a.send(7, "table", [0], new Float32Array(DIM).fill(999)); // known already
    send(a, 31);
    a.end();
    assert.equal(await ended(a), undefined);
    assert.equal(a.ack?.sequence, 31);
    await visible(rowsAfter(31));
  });

  it("refuses a gap, an unknown table, a wrong size and a row out of range by name, and keeps nothing of them", async () => {
    const refusals: [RegExp, (client: ApplyClient, next: number) => void][] = [
      [/FAILED_PRECONDITION.*batch 40 of a came after 31; send 32 first/, (client) => send(client, 40)],
      [
        /INVALID_ARGUMENT.*no sharded table "other"; there are table/,
        (client, next) => client.send(next, "other", [], new Float32Array(0)),
      ],
      [
        /INVALID_ARGUMENT.*12 bytes, 1 rows of float32\[4\] have 16/,
        (client, next) => client.send(next, "table", [1], new Float32Array(3)),
      ],
      [
        /INVALID_ARGUMENT.*row 20000 of table table, which has rows 0 to 19999/,
        (client, next) => client.send(next, "table", [1, 20_000], new Float32Array(2 * DIM)),
      ],
      [/INVALID_ARGUMENT.*row -1 of table/, (client, next) => client.send(next, "table", [-1], new Float32Array(DIM))],
      [
        /INVALID_ARGUMENT.*batch 32 of a has no rows/,
        (client, next) => client.send(next, "table", [], new Float32Array(0)),
      ],
    ];
    for (const [message, act] of refusals) {
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      await acknowledged(client, 31);
      act(client, 32);
      assert.match((await ended(client)) ?? "", message);
    }
    using unknown = new ApplyClient(front.grpc, "other", "a");
    assert.match((await ended(unknown)) ?? "", /NOT_FOUND.*no version of other is in force/);
    using first = new ApplyClient(front.grpc, DRIFTING, "a");
    await acknowledged(first, 31);
    using second = new ApplyClient(front.grpc, DRIFTING, "a");
    assert.match((await ended(first)) ?? "", /FAILED_PRECONDITION.*another stream of a was opened/);
    await acknowledged(second, 31);
    await visible(rowsAfter(31));
  });

  it("lets nobody in without certificate and token where it asks for them, and no longer once a token is taken back", async function () {
    const { dir } = cluster;
    if (!makeCertificates(dir.path)) {
      console.log("skipped: openssl is not installed");
      return this.skip();
    }
    const sha256 = (token: string) => createHash("sha256").update(token).digest("hex");
    const tokens = (...actions: string[]) =>
      writeFile(
        join(dir.path, "tokens.json"),
        JSON.stringify({ tokens: [{ name: "trainer", sha256: sha256("secret"), models: [DRIFTING], actions }] }),
      );
    await writeFile(join(dir.path, "tls.config"), sslConfig(dir.path, true));
    await tokens("update");
    const files = [
      `--ssl-config-file=${join(dir.path, "tls.config")}`,
      `--auth-tokens-file=${join(dir.path, "tokens.json")}`,
    ];
    const guarded = await startApply(cluster.place, "--epoch-seconds=0.1", ...files);
    try {
      const pem = (name: string) => readFile(join(dir.path, name));
      const [ca, key, cert] = await Promise.all(["ca.pem", "client.key", "client.pem"].map(pem));
      const channel = credentials.createSsl(ca!, key!, cert!);
      const address = guarded.grpc.replace("127.0.0.1", "localhost");
      const refusals: [RegExp, ConstructorParameters<typeof ApplyClient>[3]][] = [
        [/UNAVAILABLE/, { token: "secret" }],
        [/UNAVAILABLE/, { token: "secret", channel: credentials.createSsl(ca!) }],
        [/UNAUTHENTICATED.*a token is needed/, { channel }],
        [/UNAUTHENTICATED.*not known here/, { token: "other", channel }],
      ];
      for (const [message, options] of refusals) {
        using client = new ApplyClient(address, DRIFTING, "c", options);
        assert.match((await ended(client)) ?? "", message);
      }
      using other = new ApplyClient(address, "other", "c", { token: "secret", channel });
      assert.match((await ended(other)) ?? "", /PERMISSION_DENIED.*"trainer" does not allow update of model "other"/);
      using client = new ApplyClient(address, DRIFTING, "c", { token: "secret", channel });
      await acknowledged(client, 0);
      send(client, 1, 1_000);
      await acknowledged(client, 1);
      await tokens("describe");
      let sequence = 1;
      await until(
        () => {
          if (!client.isEnded) send(client, ++sequence, 1_000);
          return client.isEnded;
        },
        () => "the stream ends",
      );
      assert.match(client.error?.message ?? "", /PERMISSION_DENIED.*does not allow update/);
    } finally {
      await guarded.process.stop();
    }
  });

  it("front, shards, leader and etcd fail in the midst of a stream: nothing that was acknowledged is lost", async () => {
    const total = 150;
    const killShard = async (isVictim: (id: string) => boolean) => {
      const victim = SHARD_IDS.find(isVictim)!;
      await cluster.kill(victim);
      await cluster.startShard(victim);
    };
    const random = seededRandom(SEED);
    const faults = [
      async () => {
        await front.process.stop("SIGKILL");
        await startFront();
      },
      async () => {
        const { leader } = await cluster.status();
        await killShard((id) => id !== leader);
      },
      async () => {
        const { leader } = await cluster.status();
        await killShard((id) => id === leader);
      },
      async () => {
        const frozen = cluster.shards.get(SHARD_IDS[random.uint32() % SHARD_IDS.length]!)!;
        frozen.signal("SIGSTOP");
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        frozen.signal("SIGCONT");
      },
      async () => {
        await cluster.etcd.pause();
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        await cluster.etcd.resume();
      },
    ]
      .map((run) => ({ run, at: 40 + (random.uint32() % 100) }))
      .sort((x, y) => x.at - y.at);
    let known = 31;
    while (known < total) {
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      await until(
        () => client.isEnded || client.ack !== undefined,
        () => "the stream opens",
      );
      // Another epoch may come into force than the one that this stream goes on from: it ends, and is opened again.
      if (!client.ack) continue;
      assert.ok(client.ack.sequence >= known, `${known} was acknowledged, ${client.ack.sequence} is known`);
      known = client.ack.sequence;
      for (let sequence = known + 1; sequence <= total; sequence++) {
        if (client.isEnded) break;
        send(client, sequence);
        await new Promise((resolve) => setTimeout(resolve, 5));
        while (sequence >= (faults[0]?.at ?? Number.POSITIVE_INFINITY)) await faults.shift()!.run();
        known = Math.max(known, client.ack.sequence);
      }
      await until(
        () => client.isEnded || client.ack!.sequence === total,
        () => `all is acknowledged; ${JSON.stringify(client.ack)}`,
      );
      known = Math.max(known, client.ack.sequence);
    }
    assert.equal(faults.length, 0);
    await visible(rowsAfter(total));
    await visible(rowsAfter(30, 10_000), 10_000);
  });

  it("a rollback ends the streams and takes the sequences back with the rows", async () => {
    using client = new ApplyClient(front.grpc, DRIFTING, "a");
    await acknowledged(client, 150);
    const back = await cli("rollback", DRIFTING, "--epoch=0", ...cluster.registryFlags);
    assert.equal(back.code, 0, back.stderr);
    assert.match((await ended(client)) ?? "", /FAILED_PRECONDITION.*epoch 0 came into force/);
    using again = new ApplyClient(front.grpc, DRIFTING, "a");
    await acknowledged(again, 0);
    assert.equal(again.ack?.sequence, 0);
    send(again, 1);
    await acknowledged(again, 1);
    const untouched = [...Array(IDS).keys()].filter((id) => !rowsAfter(1).has(id));
    await visible(new Map([...rowsAfter(1), ...untouched.map((id) => [id, id * 64] as const)]));
  });

  it("goes on for ever: old epochs are folded, whoever is killed meanwhile, and nothing is lost", async () => {
    const folding = ["--keep-epochs=3", "--fold-epochs=4"];
    await front.process.stop();
    await startFront(...folding);
    const version = join(cluster.place.repository, DRIFTING, "1");
    const chainNow = async () => {
      const { value } = (await cluster.observer.get(mapKey(DRIFTING, 1)))!;
      return mapRecord.decode(value, "map").epochs?.chain ?? [];
    };
    const killLeader = async () => {
      const { leader } = await cluster.status();
      await cluster.kill(leader!);
      await cluster.startShard(leader!);
    };
    const killFront = async () => {
      await front.process.stop("SIGKILL");
      await startFront(...folding);
    };
    const faults = [killFront, killFront, killLeader, killFront];
    const folds = new Set<number>();
    let known = 1;
    let epoch = 0;
    while (folds.size < 4 || faults.length > 0) {
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      await until(
        () => client.isEnded || client.ack !== undefined,
        () => "the stream opens",
      );
      while (client.ack && !client.isEnded) {
        assert.ok(client.ack.sequence >= known, `${known} was acknowledged, ${client.ack.sequence} is known`);
        known = client.ack.sequence;
        epoch = Math.max(epoch, client.ack.epoch);
        const [first] = await chainNow();
        if (first?.fold !== undefined && !folds.has(first.epoch)) {
          folds.add(first.epoch);
          await faults.shift()?.(); // the next fold is on its way soon
        } else if ((await listFolds(version)).some((one) => one > (first?.epoch ?? 0))) {
          await faults.shift()?.(); // one was written and is not in force
        }
        if (folds.size >= 4 && faults.length === 0) break;
        if (client.isEnded) break;
        send(client, known + 1); // an epoch of its own
        await until(
          () => client.isEnded || client.ack!.sequence > known,
          () => `${known + 1} is acknowledged; ${JSON.stringify(client.ack)}`,
        );
      }
    }
    await visible(rowsAfter(known));
    const chain = await chainNow();
    assert.ok(chain.length < 20, `${chain.length} deltas are in the chain`);
    const onDisk = await listEpochs(version);
    assert.ok(
      onDisk[0]! > Math.min(...folds),
      `deltas ${onDisk.join()} are on the disk after folds ${[...folds].join()}`,
    );

    // Nothing but what is on the disk: the fold, and what follows it.
    await Promise.all(SHARD_IDS.map((id) => cluster.kill(id)));
    await cluster.startShards(...SHARD_IDS);
    await visible(rowsAfter(known));
    const single = await startServe(DRIFTING, join(cluster.place.repository, DRIFTING));
    try {
      assert.ok(await isRead(rowsAfter(known), 0, single), "a single node reads the fold");
    } finally {
      await single.process.stop();
    }

    const gone = await cli("rollback", DRIFTING, "--epoch=0", ...cluster.registryFlags);
    assert.match(gone.stderr, /NOT_FOUND.*no epoch 0 to go back to.*is folded into it/);
    const [fold, next] = await chainNow();
    for (const to of [next!, fold!]) {
      const back = await cli("rollback", DRIFTING, `--epoch=${to.epoch}`, ...cluster.registryFlags);
      assert.equal(back.code, 0, back.stderr);
      const sequence = await eventually(async () => {
        using client = new ApplyClient(front.grpc, DRIFTING, "a");
        await acknowledged(client, 0);
        assert.equal(client.ack?.epoch, to.epoch);
        return client.ack.sequence;
      });
      await visible(rowsAfter(sequence));
    }
  });

  // A timer that came a moment early was the last one: rows of an epoch that did not get full waited for ever.
  it("puts rows in force that do not fill their epoch, when its time has come", async () => {
    await front.process.stop();
    front = await startApply(cluster.place, "--epoch-seconds=1.5");
    using client = new ApplyClient(front.grpc, DRIFTING, "seldom");
    await acknowledged(client, 0);
    for (let sequence = 1; sequence <= 5; sequence++) {
      send(client, sequence, 15_000);
      await acknowledged(client, sequence);
    }
  });

  it("gives rows back to their sender when no shard puts them in force", async () => {
    await Promise.all(SHARD_IDS.map((id) => cluster.kill(id)));
    await front.process.stop();
    front = await startApply(cluster.place, "--epoch-seconds=0.1", "--commit-timeout-seconds=1");
    using client = new ApplyClient(front.grpc, DRIFTING, "a");
    await acknowledged(client, 1);
    const { sequence } = client.ack!;
    send(client, sequence + 1);
    assert.match((await ended(client)) ?? "", /UNAVAILABLE.*epoch \d+ is not in force after 1 s/);
    using again = new ApplyClient(front.grpc, DRIFTING, "a");
    await acknowledged(again, sequence);
    assert.equal(again.ack?.sequence, sequence);
  });
});
