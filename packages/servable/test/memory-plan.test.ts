import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, type ServingError } from "@shardserve/core";
import fc from "fast-check";
import {
  type Loader,
  Manager,
  type MemoryPlan,
  planMemory,
  resourcePreserving,
  totalBytes,
} from "@shardserve/servable";
import { MemoryBudget } from "../src/memory-plan.js";
import { FakeLoader, FakeModel, settle } from "./fakes.js";

const plan = (variableBytes: number): MemoryPlan => ({
  graphBytes: 10,
  variableBytes,
  rowBytes: 0,
  assetBytes: 0,
  engineBytes: 0,
});

async function startManager(limitBytes: number, bytesOf: (version: number) => number) {
  const loader = new FakeLoader();
  const memory = { limitBytes, plan: async ({ version }: { version: number }) => plan(bytesOf(version)) };
  const clock = new ManualClock();
  const manager = new Manager({ loader, clock, stepByHand: true, memory, policy: resourcePreserving });
  await manager.start();
  const aspire = (name: string, ...versions: number[]) =>
    manager.setAspired(
      name,
      versions.map((version) => ({ version, path: "/m" })),
    );
  const step = async () => {
    manager.step();
    await settle();
  };
  const states = (name: string) => manager.statuses(name)?.map(({ version, state }) => `${version} ${state}`);
  return { loader, manager, aspire, step, states };
}

describe("memory plan", () => {
  it("counts the files of a version by what they are", async () => {
    const dir = mkdtempSync(join(tmpdir(), "shardserve-plan-"));
    try {
      const put = (path: string, bytes: number) => {
        mkdirSync(join(dir, path, ".."), { recursive: true });
        writeFileSync(join(dir, path), Buffer.alloc(bytes));
      };
      put("saved_model.pb", 7);
      assert.equal(totalBytes(await planMemory(dir)), 7, "folders that are not there have no bytes");
      put("variables/variables.index", 20);
      put("variables/variables.data-00000-of-00001", 300);
      put("assets/words.txt", 4000);
      put("partitions/p-00000.rows", 50_000);
      put("deltas/1/partitions/p-00000.rows", 600_000);
      put("assets.extra/tf_serving_warmup_requests", 9);
      const whole = { graphBytes: 7, variableBytes: 320, rowBytes: 650_000, assetBytes: 4000, engineBytes: 0 };
      assert.deepEqual(await planMemory(dir), whole);
      assert.deepEqual(await planMemory(dir, { areRowsElsewhere: true }), { ...whole, rowBytes: 0 });
      await assert.rejects(planMemory(join(dir, "none")), /NOT_FOUND|cannot list the version directory/);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it("refuses a version that does not fit, says the numbers, and loads it when memory is free", async () => {
    const { loader, manager, aspire, step, states } = await startManager(1000, (version) => version * 100);
    aspire("a", 6);
    await step();
    await loader.succeed();
    aspire("b", 5);
    await step();
    assert.equal(loader.pending.length, 0, "nothing of it was read");
    assert.deepEqual(states("b"), ["5 END"]);
    assert.deepEqual(manager.statuses("b")![0]!.error, {
      code: "RESOURCE_EXHAUSTED",
      message:
        "{name: b version: 5} needs 510 bytes (graph 10, variables 500, rows 0, assets 0), but of the limit of 1000 only " +
        "390 are free (held by {name: a version: 6}: 610); it is loaded when enough become free",
    });
    await step();
    await step();
    assert.equal(loader.pending.length, 0, "it is not tried again while nothing is free");
    aspire("a");
    await step(); // unloads it
    await step(); // and loads the other
    assert.deepEqual(
      loader.pending.map(({ id }) => id),
      [{ name: "b", version: 5 }],
    );
    await loader.succeed();
    assert.deepEqual(states("b"), ["5 AVAILABLE"]);
  });

  it("refuses what a load finds out to be too much, once, and loads it when memory is free", async () => {
    const loads: string[] = [];
    const loader: Loader = {
      load: async ({ name }, _path, { onPlanned }) => {
        loads.push(name);
        onPlanned!(name === "packed" ? 700 : 0);
        return new FakeModel();
      },
    };
    const memory = { limitBytes: 1000, plan: async () => plan(290) };
    const manager = new Manager({ loader, clock: new ManualClock(), stepByHand: true, memory });
    await manager.start();
    const aspire = (name: string, ...versions: number[]) =>
      manager.setAspired(
        name,
        versions.map((version) => ({ version, path: "/m" })),
      );
    const steps = async () => {
      for (let i = 0; i < 5; i++) {
        manager.step();
        await settle();
      }
    };
    aspire("plain", 1);
    await steps();
    aspire("packed", 1);
    await steps();
    assert.deepEqual(
      loads,
      ["plain", "packed"],
      "the memory that the refused load gives back is no reason to try again",
    );
    assert.match(
      manager.statuses("packed")![0]!.error.message,
      /needs 1000 bytes \(graph 10, variables 290, rows 0, assets 0, engine 700\), but of the limit of 1000 only 700 are free/,
    );
    aspire("plain");
    await steps();
    assert.deepEqual(loads, ["plain", "packed", "packed"]);
    assert.equal(manager.memory!.heldBytes, 1000);
    assert.equal(manager.isAvailable("packed"), true);
  });

  it("gives back what a failed load had reserved, and lets versions change places under a limit for one", async () => {
    const { loader, manager, aspire, step, states } = await startManager(600, () => 500);
    aspire("a", 1);
    await step();
    await loader.succeed();
    aspire("a", 2); // the resource-preserving policy unloads first
    for (let i = 0; i < 4; i++) await step();
    assert.deepEqual(
      loader.pending.map(({ id }) => id.version),
      [2],
    );
    aspire("a");
    await step(); // cancels the load
    aspire("b", 3);
    for (let i = 0; i < 4; i++) await step();
    const load = loader.pending.find(({ id }) => id.name === "b");
    assert.ok(load, "the cancelled load holds nothing");
    await manager.close();
    assert.deepEqual(states("b"), ["3 END"]);
  });

  it("holds exactly what is reserved and not given back, and never more than the limit", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(400)), { maxLength: 40 }), (steps) => {
        let releases = 0;
        const budget = new MemoryBudget(1000, () => releases++);
        const held: { bytes: number; release: () => void }[] = [];
        let sum = 0;
        for (const [isReserve, value] of steps) {
          if (isReserve) {
            const fits = sum + value + 10 <= 1000;
            try {
              held.push({ bytes: value + 10, ...budget.reserve({ name: "m", version: 1 }, plan(value)) });
              sum += value + 10;
              assert.ok(fits);
            } catch (error) {
              if ((error as ServingError).code !== "MEMORY_LIMIT") throw error;
              assert.ok(!fits);
            }
          } else if (held.length > 0) {
            const [one] = held.splice(value % held.length, 1);
            const before = releases;
            one!.release();
            one!.release();
            assert.equal(releases, before + 1);
            sum -= one!.bytes;
          }
          assert.equal(budget.heldBytes, sum);
        }
      }),
    );
  });
});
