import assert from "node:assert/strict";
import { isServingError, silentLogger } from "@shardserve/core";
import { campaign, type Entry, LeasedKeys, type Registry, RegistryView, type WatchEvent } from "@shardserve/registry";
import { eventually } from "@shardserve/testkit";
import { etcdHarness, type Harness, memoryHarness, remoteHarness } from "./harness.js";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (entry: Entry | undefined) => entry && new TextDecoder().decode(entry.value);

for (const [name, make] of [
  ["memory", memoryHarness],
  ["remote", remoteHarness],
  ["etcd", etcdHarness],
] as const) {
  describe(`registry contract: ${name}`, function () {
    this.timeout(60_000);
    let harness: Harness;
    let registry: Registry;
    let other: Registry;
    let root = "";
    let tests = 0;

    before(async () => {
      harness = await make();
      registry = harness.open();
      other = harness.open();
    });
    after(async () => {
      await registry.close();
      await other.close();
      await harness.close();
    });
    beforeEach(() => {
      root = `t${tests++}/`;
    });

    const put = (key: string, value: string) => registry.txn([], [{ put: root + key, value: bytes(value) }]);
    const keys = async () => (await other.list(root)).entries.map((entry) => entry.key.slice(root.length));

    describe("keys and transactions", () => {
      it("writes, reads, lists in order, deletes; revisions grow by one a transaction", async () => {
        assert.equal(await registry.get(`${root}a`), undefined);
        const first = await put("b", "1");
        const second = await registry.txn(
          [],
          [
            { put: `${root}a`, value: new Uint8Array([0, 255, 128]) },
            { put: `${root}c`, value: new Uint8Array(0) },
          ],
        );
        assert.equal(second, first + 1);
        const { revision, entries } = await other.list(root);
        assert.equal(revision, second);
        assert.deepEqual(
          entries.map(({ key, modRevision }) => [key.slice(root.length), modRevision]),
          [
            ["a", second],
            ["b", first],
            ["c", second],
          ],
        );
        assert.deepEqual([...(entries[0] as Entry).value], [0, 255, 128]);
        assert.equal((entries[2] as Entry).value.byteLength, 0);
        const third = await put("b", "2");
        const b = await other.get(`${root}b`);
        assert.deepEqual([textOf(b), b?.modRevision, b?.createRevision], ["2", third, first]);
        await registry.txn([], [{ delete: `${root}b` }, { delete: `${root}not-there` }]);
        assert.deepEqual(await keys(), ["a", "c"]);
      });

      it("a prefix ends where it ends", async () => {
        await put("ab/1", "");
        await put("ab0", "");
        await put("abc", "");
        assert.deepEqual(
          (await registry.list(`${root}ab/`)).entries.map((entry) => entry.key.slice(root.length)),
          ["ab/1"],
        );
      });

      it("a transaction whose compares fail writes nothing", async () => {
        const revision = await put("a", "1");
        const create = () =>
          registry.txn([{ key: `${root}new`, modRevision: 0 }], [{ put: `${root}new`, value: bytes("x") }]);
        await create();
        await assert.rejects(create(), (error) => isServingError(error, "REGISTRY_CONFLICT"));
        await registry.txn([{ key: `${root}a`, modRevision: revision }], [{ put: `${root}a`, value: bytes("2") }]);
        await assert.rejects(
          registry.txn(
            [
              { key: `${root}new`, modRevision: 0 },
              { key: `${root}a`, modRevision: revision },
            ],
            [{ delete: `${root}a` }, { put: `${root}z`, value: bytes("") }],
          ),
          (error) => isServingError(error, "REGISTRY_CONFLICT") && error.message.includes(`${root}`),
        );
        assert.deepEqual(await keys(), ["a", "new"]);
        assert.equal(textOf(await registry.get(`${root}a`)), "2");
      });

      it("of many that race for one key, one wins", async () => {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 8 }, (_, i) =>
            (i % 2 ? registry : other).txn(
              [{ key: `${root}race`, modRevision: 0 }],
              [{ put: `${root}race`, value: bytes(String(i)) }],
            ),
          ),
        );
        assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
      });

      it("refuses what etcd would refuse", async () => {
        const value = bytes("x");
        const wrong = [
          [{ put: `${root}a`, value }, { delete: `${root}a` }],
          [{ put: "", value }],
          [{ put: `${root}a`, value: new Uint8Array(1_500_000) }],
          Array.from({ length: 129 }, (_, i) => ({ delete: `${root}${i}` })),
        ];
        for (const operations of wrong) {
          await assert.rejects(registry.txn([], operations), (error) => isServingError(error, "INVALID_ARGUMENT"));
        }
        await registry.txn([], [{ put: `${root}large`, value: new Uint8Array(1_300_000) }]);
        assert.equal((await other.get(`${root}large`))?.value.byteLength, 1_300_000);
        await registry.txn([], [{ delete: `${root}large` }]);
      });

      it("an aborted signal ends a call with its reason", async () => {
        const reason = new Error("enough");
        await assert.rejects(registry.get(`${root}a`, { signal: AbortSignal.abort(reason) }), reason);
      });
    });

    describe("leases", () => {
      it("revoke deletes the keys, at once, and is idempotent; a lease that is gone takes no keys", async () => {
        const lease = await registry.lease(5);
        await registry.txn(
          [],
          [
            { put: `${root}a`, value: bytes("1"), lease },
            { put: `${root}b`, value: bytes("1"), lease },
          ],
        );
        assert.deepEqual([...(await lease.keys())].sort(), [`${root}a`, `${root}b`]);
        await registry.txn([], [{ put: `${root}b`, value: bytes("free") }]); // no lease any more
        assert.deepEqual([...(await lease.keys())], [`${root}a`]);
        await lease.revoke();
        await assert.rejects(lease.keys(), (error) => isServingError(error, "LEASE_LOST"));
        await lease.revoke();
        assert.deepEqual(await keys(), ["b"]);
        assert.equal(lease.lost.aborted, false);
        await assert.rejects(registry.txn([], [{ put: `${root}c`, value: bytes(""), lease }]), (error) =>
          isServingError(error, "LEASE_LOST"),
        );
      });

      it("keys live past their time-to-live while the holder does, and go after it", async () => {
        const holder = harness.open();
        const lease = await holder.lease(2);
        await holder.txn([], [{ put: `${root}a`, value: bytes("1"), lease }]);
        await new Promise((resolve) => setTimeout(resolve, 2_700));
        assert.deepEqual(await keys(), ["a"]);
        assert.equal(lease.lost.aborted, false);
        await holder.close(); // as a crash: nothing is revoked
        assert.deepEqual(await keys(), ["a"]);
        await eventually(async () => (await keys()).length === 0, { timeoutMs: 8_000 });
      });

      it("refuses a time-to-live below a second", async () => {
        await assert.rejects(registry.lease(0), (error) => isServingError(error, "INVALID_ARGUMENT"));
      });
    });

    describe("watch", () => {
      it("begins with a snapshot, then gives whole transactions in order, and ends with its signal", async () => {
        await put("a", "1");
        const stop = new AbortController();
        const events: WatchEvent[] = [];
        const watching = (async () => {
          for await (const event of other.watch(root, { signal: stop.signal })) events.push(event);
        })();
        await eventually(() => events.length === 1);
        const [snapshot] = events;
        assert.ok(snapshot?.type === "snapshot" && snapshot.entries.length === 1);
        const lease = await registry.lease(5);
        await registry.txn([], [{ put: `${root}b`, value: bytes("2") }, { delete: `${root}a` }]);
        await put("b", "3");
        await registry.txn([], [{ put: `${root}c`, value: bytes("4"), lease }]);
        await lease.revoke();
        await registry.txn([], [{ put: "elsewhere", value: bytes("") }]);
        await put("end", "");
        await eventually(() => events.at(-1)?.type === "changes" && JSON.stringify(events.at(-1)).includes("end"));
        const seen = events.flatMap((event) =>
          event.type === "changes"
            ? event.changes.map((c) =>
                c.type === "put"
                  ? `${c.entry.key.slice(root.length)}=${textOf(c.entry)}`
                  : `-${c.key.slice(root.length)}`,
              )
            : [],
        );
        assert.deepEqual(seen.slice(0, 2).sort(), ["-a", "b=2"]);
        assert.deepEqual(seen.slice(2), ["b=3", "c=4", "-c", "end="]);
        const both = events.find((event) => event.type === "changes" && event.changes.length >= 2);
        assert.ok(both, "one transaction is one event");
        const revisions = events.map((event) => event.revision);
        assert.deepEqual(
          revisions,
          [...revisions].sort((x, y) => x - y),
        );
        stop.abort();
        await watching;
      });

      it("a reader that is too slow gets a snapshot instead of a gap", async () => {
        const reader = other.watch(root)[Symbol.asyncIterator]();
        assert.equal(((await reader.next()).value as WatchEvent).type, "snapshot");
        const pending = reader.next();
        await put("first", "");
        assert.equal(((await pending).value as WatchEvent).type, "changes");
        for (let i = 0; i < 2_600; i += 20) {
          await Promise.all(Array.from({ length: 20 }, (_, j) => put("hot", String(i + j))));
        }
        await registry.txn([], [{ delete: `${root}first` }]);
        await put("last", "");
        const known = new Set<string>([`${root}first`]);
        const deadlineMs = performance.now() + 20_000;
        while (!known.has(`${root}last`) && performance.now() < deadlineMs) {
          const event = (await reader.next()).value as WatchEvent;
          if (event.type === "snapshot") {
            known.clear();
            for (const entry of event.entries) known.add(entry.key);
          } else {
            for (const change of event.changes) {
              if (change.type === "put") known.add(change.entry.key);
              else known.delete(change.key);
            }
          }
        }
        assert.deepEqual([...known].sort(), [`${root}hot`, `${root}last`]);
        await reader.return?.();
      });

      it("a view mirrors what a listing shows", async () => {
        const view = new RegistryView(other, root);
        view.start();
        await view.reach();
        await put("a", "1");
        const revision = await put("b", "1");
        await view.reach(revision);
        assert.deepEqual([...view.entries.keys()], [`${root}a`, `${root}b`]);
        await view.close();
        await assert.rejects(view.reach(revision + 1e6));
      });
    });

    describe("election", () => {
      const office = () => `${root}leader`;

      it("one leads; the next takes over when it resigns, and when it dies", async () => {
        const handles = [harness.open(), harness.open(), harness.open()];
        const stop = new AbortController();
        const elected: number[] = [];
        const runs = handles.map((handle, i) =>
          campaign(handle, office(), bytes(`p${i}`), { ttlSeconds: 2, signal: stop.signal }).then((leadership) => {
            elected.push(i);
            return leadership;
          }),
        );
        for (const run of runs) run.catch(() => undefined);
        await eventually(() => elected.length === 1);
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.equal(elected.length, 1);
        const first = await (runs[elected[0] as number] as (typeof runs)[0]);
        await first.resign();
        await eventually(() => elected.length === 2, { timeoutMs: 2_000 });
        const second = await (runs[elected[1] as number] as (typeof runs)[0]);
        await (handles[elected[1] as number] as Registry).close(); // dies
        await eventually(() => elected.length === 3, { timeoutMs: 10_000 });
        // The dead leader's writes are refused, the living one's are not.
        const third = await (runs[elected[2] as number] as (typeof runs)[0]);
        const write = (guard: { key: string; modRevision: number }) =>
          registry.txn([guard], [{ put: `${root}x`, value: bytes("") }]);
        await assert.rejects(write(second.guard), (error) => isServingError(error, "REGISTRY_CONFLICT"));
        await write(third.guard);
        stop.abort(new Error("done"));
        await third.resign();
        for (const handle of handles) await handle.close();
      });

      it("a leader whose key was deleted hears that it lost", async () => {
        const leadership = await campaign(registry, office(), bytes("me"));
        await other.txn([], [{ delete: office() }]);
        await eventually(() => leadership.lost.aborted);
        assert.ok(isServingError(leadership.lost.reason, "LEASE_LOST"));
        await leadership.resign();
      });

      it("an office that the same process holds by an older lease is taken under the new one", async () => {
        const old = await registry.lease(60);
        await registry.txn([], [{ put: office(), value: bytes("me"), lease: old }]);
        const leadership = await campaign(registry, office(), bytes("me"));
        await old.revoke();
        await registry.txn([leadership.guard], [{ put: `${root}x`, value: bytes("") }]);
        await leadership.resign();
        assert.equal(await registry.get(office()), undefined);
      });

      it("waiting ends with the signal", async () => {
        const leadership = await campaign(registry, office(), bytes("me"));
        const stop = new AbortController();
        const waiting = campaign(other, office(), bytes("you"), { signal: stop.signal });
        const reason = new Error("no longer interested");
        setTimeout(() => stop.abort(reason), 50);
        await assert.rejects(waiting, reason);
        await leadership.resign();
      });
    });

    describe("leased keys", () => {
      it("come back after their lease was ended, keep their last values, and go with close", async () => {
        await using leased = new LeasedKeys(registry, { ttlSeconds: 2 });
        await Promise.all([leased.set(`${root}a`, bytes("1")), leased.set(`${root}b`, bytes("1"))]);
        await Promise.all([leased.set(`${root}a`, bytes("2")), leased.delete(`${root}b`)]);
        assert.deepEqual(await keys(), ["a"]);
        await leased.lease?.revoke(); // as an operator would: the holder does not know
        await leased.set(`${root}c`, bytes("3"));
        await eventually(async () => (await keys()).join() === "a,c", { timeoutMs: 8_000 });
        assert.equal(textOf(await other.get(`${root}a`)), "2");
        await leased.close();
        assert.deepEqual(await keys(), []);
        await assert.rejects(leased.set(`${root}a`, bytes("")), (error) => isServingError(error, "DRAINING"));
      });

      it("are looked after by one question for all of them, and read only where one is missing", async () => {
        let [gets, questions] = [0, 0];
        const counting = harness.open();
        const get = counting.get.bind(counting);
        const takeLease = counting.lease.bind(counting);
        counting.get = (...args) => {
          gets++;
          return get(...args);
        };
        counting.lease = async (...args) => {
          const lease = await takeLease(...args);
          const ask = lease.keys.bind(lease);
          lease.keys = (...options) => {
            questions++;
            return ask(...options);
          };
          return lease;
        };
        try {
          await using leased = new LeasedKeys(counting, { ttlSeconds: 1 });
          await Promise.all(Array.from({ length: 20 }, (_, i) => leased.set(`${root}k${i}`, bytes("1"))));
          await eventually(() => questions >= 3, { timeoutMs: 20_000 });
          assert.equal(gets, 0);
          await other.txn([], [{ delete: `${root}k7` }]);
          await eventually(async () => (await other.get(`${root}k7`)) !== undefined, { timeoutMs: 20_000 });
          assert.ok(gets < 20, `${gets} keys were read for one that was missing`);
        } finally {
          await counting.close();
        }
      });

      it("that another process under the same name took away come back once it has ended", async () => {
        const lines: string[] = [];
        const logger = { ...silentLogger, warn: (_fields: object, line: string) => void lines.push(line) };
        await using first = new LeasedKeys(registry, { ttlSeconds: 1, logger });
        await Promise.all([first.set(`${root}a`, bytes("first")), first.set(`${root}b`, bytes("first"))]);
        const second = new LeasedKeys(other, { ttlSeconds: 1 });
        await Promise.all([second.set(`${root}a`, bytes("second")), second.set(`${root}b`, bytes("second"))]);
        await eventually(() => lines.some((line) => /takes this one's place/.test(line)), { timeoutMs: 8_000 });
        assert.equal(textOf(await other.get(`${root}a`)), "second", "they do not fight");
        await second.close();
        await eventually(async () => (await keys()).join() === "a,b", { timeoutMs: 8_000 });
        assert.equal(textOf(await other.get(`${root}b`)), "first");
      });
    });

    describe("while the registry is away", () => {
      before(function () {
        if (!harness.interrupt) this.skip(); // memory is never away from its own process
      });

      it("values of a key that newer ones replaced are waited for no more; close ends all waiting, without a leak", async () => {
        const leased = new LeasedKeys(registry, { ttlSeconds: 30 });
        await leased.set(`${root}k`, bytes("0"));
        const warnings: Error[] = [];
        const onWarning = (warning: Error) => warnings.push(warning);
        process.on("warning", onWarning);
        await harness.interrupt?.();
        const older = Array.from({ length: 20 }, (_, i) => leased.set(`${root}k`, bytes(`${i}`)));
        const others = Array.from({ length: 20 }, (_, i) => leased.set(`${root}k${i}`, bytes("1")));
        const last = leased.set(`${root}k`, bytes("last"));
        await Promise.all(older);
        const closing = leased.close();
        for (const waiting of [...others, last])
          await assert.rejects(waiting, (error) => isServingError(error, "DRAINING"));
        await closing;
        await harness.restore?.();
        process.off("warning", onWarning);
        assert.deepEqual(warnings, []);
      });

      it("calls fail fast; watches keep still, then begin with a snapshot that shows what was missed", async () => {
        const hasty = harness.open({ callTimeoutMs: 1_000 });
        await put("stays", "1");
        await put("goes", "1");
        const view = new RegistryView(registry, root);
        view.start();
        await view.reach();
        await harness.interrupt?.();
        const startMs = performance.now();
        await assert.rejects(hasty.get("x"), (error) => isServingError(error, "REGISTRY_UNAVAILABLE"));
        await assert.rejects(hasty.txn([], [{ delete: "x" }]), (error) =>
          isServingError(error, "REGISTRY_UNAVAILABLE"),
        );
        await assert.rejects(hasty.lease(5), (error) => isServingError(error, "REGISTRY_UNAVAILABLE"));
        assert.ok(performance.now() - startMs < 10_000, "each within its timeout");
        assert.equal(view.entries.size, 2);
        await harness.restore?.();
        await eventually(() => hasty.txn([], [{ delete: `${root}goes` }, { put: `${root}comes`, value: bytes("1") }]));
        await harness.compact?.();
        await eventually(() => [...view.entries.keys()].sort().join() === `${root}comes,${root}stays`, {
          timeoutMs: 8_000,
        });
        await view.close();
        await hasty.close();
      });

      it("a lease outlives a short absence; leased keys and leaders come back after a long one", async () => {
        await using short = new LeasedKeys(registry, { ttlSeconds: 30 });
        await short.set(`${root}short`, bytes("1"));
        await using long = new LeasedKeys(registry, { ttlSeconds: 1 });
        await long.set(`${root}long`, bytes("1"));
        const leadership = await campaign(registry, `${root}leader`, bytes("me"), { ttlSeconds: 1 });
        await harness.interrupt?.();
        await eventually(() => leadership.lost.aborted && long.lossCount > 0, { timeoutMs: 5_000 });
        await harness.restore?.();
        await eventually(async () => (await keys()).includes("long") && long.lease !== undefined, {
          timeoutMs: 10_000,
        });
        assert.equal(short.lossCount, 0);
        assert.ok((await keys()).includes("short"));
        const again = await campaign(other, `${root}leader`, bytes("you"), { ttlSeconds: 1 });
        await again.resign();
        await leadership.resign().catch(() => undefined); // its lease is gone
      });
    });
  });
}
