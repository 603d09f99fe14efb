import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ManualClock, ServingError } from "@shardserve/core";
import {
  availabilityPreserving,
  Manager,
  type ManagerOptions,
  memoryPlanOf,
  resourcePreserving,
  type ServableId,
} from "@shardserve/servable";
import { FakeLoader, FakeModel, settle } from "./fakes.js";

async function startManager(options: Partial<ManagerOptions> = {}) {
  const loader = new FakeLoader();
  const clock = new ManualClock();
  const manager = new Manager({ loader, clock, stepByHand: true, ...options });
  await manager.start();
  const states = (name = "m") => manager.statuses(name)?.map((entry) => `${entry.version} ${entry.state}`);
  const aspire = (...versions: number[]) =>
    manager.setAspired(
      "m",
      versions.map((version) => ({ version, path: `/models/m/${version}` })),
    );
  return { loader, clock, manager, states, aspire };
}

const errorOf = (call: () => unknown) => {
  try {
    call();
  } catch (error) {
    return `${(error as ServingError).status}: ${(error as Error).message}`;
  }
  return undefined;
};

describe("a manager of many models", () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  /** All models at version 1, by name; `asked` counts what the policy was asked since it was reset. */
  async function startMany(count: number) {
    const asked = { count: 0 };
    const closed: string[] = [];
    const manager = new Manager({
      loader: {
        load: async ({ name }) => {
          const model = new FakeModel();
          model.close = async () => void closed.push(name);
          return model;
        },
      },
      loadsMax: 4,
      policy: (versions) => {
        asked.count++;
        return availabilityPreserving(versions);
      },
    });
    const names = Array.from({ length: count }, (_, i) => `m${i}`);
    const aspire = (name: string, ...versions: number[]) =>
      manager.setAspired(
        name,
        versions.map((version) => ({ version, path: "" })),
      );
    await manager.start();
    for (const name of names) aspire(name, 1);
    await manager.whenAvailable(names);
    for (let i = 0; i < 5; i++) await turn();
    return { manager, names, aspire, asked, closed };
  }

  it("looks at those that changed: each look for versions says the same of all others", async () => {
    const { manager, names, aspire, asked } = await startMany(200);
    assert.ok(asked.count < 200 * 20, `${asked.count} questions for 200 loads`);
    asked.count = 0;
    for (const name of names) aspire(name, 1);
    await turn();
    assert.equal(asked.count, 0);
    aspire("m7", 2);
    await manager.whenSettled("m7", [2]);
    for (let i = 0; i < 5; i++) await turn();
    assert.deepEqual(
      manager.statuses("m7")!.map(({ version, state }) => `${version} ${state}`),
      ["2 AVAILABLE", "1 END"],
    );
    assert.ok(asked.count < 20, `${asked.count} questions for one model`);
    await manager.close();
  });

  it("lets thousands go a few in each turn of the event loop", async () => {
    const { manager, names, aspire, closed } = await startMany(200);
    for (const name of names) aspire(name);
    let most = 0;
    for (let before = 0; closed.length < 200; before = closed.length) {
      await turn();
      most = Math.max(most, closed.length - before);
    }
    assert.ok(most <= 64, `${most} in one turn`);
    assert.ok(!manager.isAvailable("m0") && !manager.isAvailable("m199"));
    await manager.close();
  });
});

describe("manager", () => {
  it("loads a version again later that failed on an outage, and not one that is bad", async () => {
    const diskFull = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    for (const [error, isAgain] of [
      [new ServingError("UNAVAILABLE", "no"), true],
      [diskFull, true],
      [new ServingError("INVALID_ARGUMENT", "no"), false],
    ] as const) {
      const { loader, clock, manager, states, aspire } = await startManager({ loadRetriesMax: 0 });
      aspire(1);
      manager.step();
      await loader.fail(error);
      const statesAfter = (ms: number) => {
        clock.advance(ms);
        manager.step();
        return states();
      };
      aspire(1); // what sources say with each look changes nothing
      await settle();
      assert.deepEqual(statesAfter(0), ["1 END"]);
      assert.deepEqual(statesAfter(59_000), ["1 END"]);
      assert.deepEqual(statesAfter(1_000), [isAgain ? "1 LOADING" : "1 END"]);
      await manager.close();
    }
  });

  it("takes a breath before it loads again what failed on an outage, also where tries follow at once", async () => {
    const { loader, clock, manager, states, aspire } = await startManager({
      loadRetriesMax: 0,
      loadRetryIntervalMs: 0,
    });
    aspire(1);
    manager.step();
    await loader.fail(new ServingError("UNAVAILABLE", "no"));
    clock.advance(999);
    manager.step();
    assert.deepEqual(states(), ["1 END"]);
    clock.advance(1);
    manager.step();
    assert.deepEqual(states(), ["1 LOADING"]);
  });

  it("loads an aspired version and serves it as latest", async () => {
    const { loader, manager, states, aspire } = await startManager();
    assert.equal(manager.statuses("m"), undefined);
    aspire(7);
    assert.equal(
      errorOf(() => manager.handle({ name: "m" })),
      "NOT_FOUND: Servable not found for request: Latest(m)",
    );
    manager.step();
    assert.deepEqual(states(), ["7 LOADING"]);
    assert.equal(loader.pending[0]!.path, "/models/m/7");
    const model = await loader.succeed();
    assert.deepEqual(states(), ["7 AVAILABLE"]);
    using handle = manager.handle({ name: "m" });
    assert.equal(handle.model, model);
    assert.equal(handle.id.version, 7);
    assert.equal(
      errorOf(() => manager.handle({ name: "m", version: 99n })),
      "NOT_FOUND: Servable not found for request: Specific(m, 99)",
    );
  });

  it("keeps the old version until the new one is ready, and unloads it only after its last handle", async () => {
    const { loader, manager, states, aspire } = await startManager();
    aspire(1);
    manager.step();
    const first = await loader.succeed();
    const handle = manager.handle({ name: "m" });
    const second = manager.handle({ name: "m" });

    aspire(2);
    manager.step();
    assert.deepEqual(states(), ["2 LOADING", "1 AVAILABLE"]);
    await loader.succeed();
    assert.equal(manager.handle({ name: "m" }).id.version, 2);
    manager.step();
    assert.deepEqual(states(), ["2 AVAILABLE", "1 UNLOADING"]);
    assert.match(errorOf(() => manager.handle({ name: "m", version: 1 }))!, /Specific\(m, 1\)/);

    handle.release();
    handle.release(); // a second release changes nothing
    await settle();
    assert.equal(first.closes, 0);
    second.release();
    await settle();
    assert.equal(first.closes, 1);
    assert.deepEqual(states(), ["2 AVAILABLE", "1 END"]);
  });

  it("loads a failed version again once its files changed, and not before", async () => {
    let files = "half a copy";
    const { loader, manager, states, aspire } = await startManager({
      fingerprint: async () => files,
      loadRetriesMax: 0,
    });
    aspire(1);
    manager.step();
    await settle();
    await loader.fail(new ServingError("SAVED_MODEL_INVALID", "cut short"));
    aspire(1);
    await settle();
    manager.step();
    assert.deepEqual(states(), ["1 END"]);
    assert.equal(loader.pending.length, 0);
    files = "the whole copy";
    aspire(1);
    await settle();
    manager.step();
    await settle();
    assert.deepEqual(states(), ["1 LOADING"]);
    await loader.succeed();
    assert.deepEqual(states(), ["1 AVAILABLE"]);
  });

  describe("probation", () => {
    const probation = { durationMs: 60_000, errorRateMargin: 0.02, latencyRatioMax: 2 };
    const ask = (manager: Manager, clock: ManualClock, errors: number, requests: number, durationMs = 5) => {
      for (let i = 0; i < requests; i++) {
        using handle = manager.handle({ name: "m" });
        handle.recordOutcome(clock.nowMs(), i < errors, durationMs);
      }
    };
    async function takeOver(errorsBefore: number) {
      const rollbacks: string[] = [];
      const onRollback: ManagerOptions["onRollback"] = ({ version }, to, reason) =>
        rollbacks.push(`${version} to ${to}: ${reason}`);
      const started = await startManager({ probation, onRollback });
      const { loader, clock, manager, aspire } = started;
      aspire(1);
      manager.step();
      await loader.succeed();
      ask(manager, clock, errorsBefore, 1000);
      clock.advance(11_000);
      ask(manager, clock, 0, 1000);
      aspire(2);
      manager.step();
      await loader.succeed();
      manager.step();
      return { ...started, rollbacks };
    }

    it("keeps the version before until it is over", async () => {
      const { manager, clock, states } = await takeOver(0);
      assert.deepEqual(states(), ["2 AVAILABLE", "1 AVAILABLE"]);
      ask(manager, clock, 0, 1000);
      clock.advance(60_000);
      manager.step();
      await settle();
      assert.deepEqual(states(), ["2 AVAILABLE", "1 END"]);
    });

    it("gives the place back when the new version fails more, and keeps it until another version comes", async () => {
      const { loader, manager, clock, states, aspire, rollbacks } = await takeOver(0);
      ask(manager, clock, 40, 1000);
      manager.step();
      await settle();
      assert.deepEqual(states(), ["2 END", "1 AVAILABLE"]);
      assert.deepEqual(rollbacks, ["2 to 1: 40 of 1000 requests failed, before it 0 of 2000"]);
      assert.match(manager.statuses("m")![0]!.error.message, /^rolled back to version 1: 40 of 1000/);
      aspire(2);
      clock.advance(300_000);
      manager.step();
      assert.equal(manager.handle({ name: "m" }).id.version, 1);
      aspire(3);
      manager.step();
      await loader.succeed();
      assert.equal(manager.handle({ name: "m" }).id.version, 3);
    });

    it("gives the place back when the new version is slower, once it had time to get warm", async () => {
      const { manager, clock, rollbacks } = await takeOver(0);
      ask(manager, clock, 0, 1000, 50);
      manager.step();
      assert.deepEqual(rollbacks, [], "cold");
      clock.advance(10_000);
      ask(manager, clock, 0, 1000, 50);
      manager.step();
      assert.match(rollbacks.join(), /^2 to 1: 1 % of the requests took longer than 5\d\.\d ms, before it 5\.\d ms$/);
    });

    it("blames no version for what clients do wrong", async () => {
      const { manager, clock, states } = await takeOver(80);
      ask(manager, clock, 50, 1000);
      manager.step();
      assert.deepEqual(states(), ["2 AVAILABLE", "1 AVAILABLE"]);
    });
  });

  it("resource-preserving unloads first", async () => {
    const { loader, manager, states, aspire } = await startManager({ policy: resourcePreserving });
    aspire(1);
    manager.step();
    await loader.succeed();
    aspire(2);
    manager.step();
    await settle();
    assert.deepEqual(states(), ["2 START", "1 END"]);
    manager.step();
    assert.deepEqual(states(), ["2 LOADING", "1 END"]);
  });

  it("retries a failed load with growing pauses, then ends in error and keeps the old version", async () => {
    const { loader, manager, clock, states, aspire } = await startManager({ loadRetriesMax: 2 });
    aspire(1);
    manager.step();
    await loader.succeed();
    aspire(2);
    manager.step();
    await loader.fail(new Error("disk went away"));
    assert.equal(loader.pending.length, 0);
    clock.advance(999);
    await settle();
    assert.equal(loader.pending.length, 0);
    clock.advance(1);
    await settle();
    await loader.fail(new Error("disk went away"));
    clock.advance(2000);
    await settle();
    await loader.fail(new ServingError("CHECKPOINT_INVALID", "bad magic"));
    assert.deepEqual(states(), ["2 END", "1 AVAILABLE"]);
    assert.deepEqual(manager.statuses("m")![0]!.error, { code: "FAILED_PRECONDITION", message: "bad magic" });
    manager.step();
    assert.equal(loader.pending.length, 0, "an aspired version in error is not loaded again");
    aspire(1);
    manager.step();
    aspire(1, 2);
    manager.step();
    assert.deepEqual(states(), ["2 LOADING", "1 AVAILABLE"]);
  });

  it("does not retry what cannot get better", async () => {
    const { loader, manager, states, aspire } = await startManager();
    aspire(1);
    manager.step();
    await loader.fail(new ServingError("OP_UNSUPPORTED", "op Foo"));
    assert.deepEqual(states(), ["1 END"]);
  });

  it("cancels a load that is no longer wanted, and loads it afresh when it is wanted again at once", async () => {
    const { loader, manager, states, aspire } = await startManager();
    aspire(1);
    manager.step();
    const { signal } = loader.pending.shift()!;
    aspire();
    manager.step();
    assert.ok(signal.aborted);
    aspire(1);
    manager.step();
    await settle();
    assert.deepEqual(states(), ["1 END"]);
    assert.deepEqual(manager.statuses("m")![0]!.error, { code: "CANCELLED", message: "Loading of servable cancelled" });
    manager.step();
    assert.deepEqual(states(), ["1 LOADING"]);
  });

  it("a version aspired again while it leaves comes back after it has left", async () => {
    const { loader, manager, states, aspire } = await startManager();
    aspire(1);
    manager.step();
    await loader.succeed();
    const handle = manager.handle({ name: "m" });
    aspire();
    manager.step();
    aspire(1);
    manager.step();
    assert.deepEqual(states(), ["1 UNLOADING"]);
    handle.release();
    await settle();
    manager.step();
    assert.deepEqual(states(), ["1 LOADING"]);
  });

  it("loads at most loadsMax versions at once", async () => {
    const { loader, manager } = await startManager({ loadsMax: 1 });
    manager.setAspired("a", [{ version: 1, path: "a" }]);
    manager.setAspired("b", [{ version: 1, path: "b" }]);
    manager.step();
    assert.equal(loader.pending.length, 1);
    await loader.succeed();
    manager.step();
    assert.equal(loader.pending.length, 1);
    assert.equal(loader.pending[0]!.id.name, "b");
  });

  it("routes labels and refuses labels on versions that are not available", async () => {
    const { loader, manager, aspire } = await startManager();
    aspire(3);
    manager.step();
    await loader.succeed();
    assert.equal(
      errorOf(() => manager.setLabels("m", new Map([["canary", 4]]))),
      "FAILED_PRECONDITION: Request to assign label to version 4 of model m, which is not currently available for inference",
    );
    manager.setLabels("m", new Map([["stable", 3]]));
    assert.equal(manager.handle({ name: "m", label: "stable" }).id.version, 3);
    assert.equal(
      errorOf(() => manager.handle({ name: "m", label: "nope" })),
      "INVALID_ARGUMENT: Unrecognized servable version label: nope",
    );
    manager.setLabels(
      "m",
      new Map([
        ["stable", 3],
        ["next", 9],
      ]),
      true,
    );
    assert.match(errorOf(() => manager.handle({ name: "m", label: "next" }))!, /Specific\(m, 9\)/);
    assert.match(errorOf(() => manager.setLabels("m", new Map([["stable", 8]]), true))!, /not currently available/);
  });

  it("tells who waits for a version that it goes before its load began", async () => {
    const { loader, manager, aspire } = await startManager({ loadsMax: 1 });
    manager.setAspired("a", [{ version: 1, path: "a" }]);
    aspire(1);
    const waiting = manager.whenAvailable(["m"]);
    manager.step();
    assert.equal(loader.pending.length, 1);
    aspire();
    await settle();
    manager.step();
    await assert.rejects(waiting, /did not become available: \{\{name: m version: 1\}/);
  });

  it("whenAvailable tells what failed", async () => {
    const { loader, manager, aspire } = await startManager();
    aspire(1);
    const waiting = manager.whenAvailable(["m"]);
    manager.step();
    await loader.fail(new ServingError("OP_UNSUPPORTED", "op Foo"));
    manager.step();
    await assert.rejects(
      waiting,
      /1 servable\(s\) did not become available: \{\{name: m version: 1\} due to error: UNIMPLEMENTED: op Foo\}, \}$/,
    );
  });

  describe("where more fail on an outage than load at once, and each is tried again", () => {
    const outage = (what: string) => new ServingError("UNAVAILABLE", `${what} is away`);

    it("whenAvailable waits for one end of each model", async () => {
      const { loader, clock, manager } = await startManager({ loadsMax: 1, loadRetriesMax: 0 });
      for (const name of ["a", "b"]) manager.setAspired(name, [{ version: 1, path: name }]);
      const waiting = manager.whenAvailable(["a", "b"]);
      manager.step();
      await loader.fail(outage("a"));
      manager.step();
      clock.advance(60_000);
      manager.step();
      assert.deepEqual(manager.statuses("a")![0]!.state, "START");
      await loader.fail(outage("b"));
      await assert.rejects(waiting, /2 servable\(s\) .* version: 1\} .* a is away\}, \{name: b .* b is away\}/);
    });

    it("whenSettled waits for one end of each version", async () => {
      const { loader, clock, manager, states, aspire } = await startManager({ loadsMax: 1, loadRetriesMax: 0 });
      aspire(1, 2);
      const waiting = manager.whenSettled("m", [1, 2]);
      manager.step();
      await loader.fail(outage("2"));
      manager.step();
      clock.advance(60_000);
      manager.step();
      assert.deepEqual(states(), ["2 START", "1 LOADING"]);
      await loader.fail(outage("1"));
      await waiting;
    });

    it("whenAvailable waits for versions that are aspired instead", async () => {
      const { loader, manager } = await startManager({ loadRetriesMax: 0 });
      for (const name of ["a", "b"]) manager.setAspired(name, [{ version: 1, path: name }]);
      const waiting = manager.whenAvailable(["a", "b"]);
      manager.step();
      await loader.fail(outage("a"));
      manager.setAspired("a", [{ version: 2, path: "a" }]);
      manager.step();
      await loader.succeed(); // b
      await loader.succeed(); // a
      await waiting;
    });
  });

  it("whenAvailable waits for a model that lacked memory and is loaded again, while others are not settled", async () => {
    const bytes: Record<string, number> = { a: 6, b: 6, c: 2 };
    const plan = async ({ name }: ServableId) => ({ ...memoryPlanOf([]), variableBytes: bytes[name]! });
    const { loader, manager } = await startManager({ memory: { limitBytes: 8, plan } });
    const look = (name: string) => manager.setAspired(name, [{ version: 1, path: name }]);
    const step = async () => {
      manager.step();
      await settle();
    };
    look("a");
    await step();
    await loader.succeed();
    for (const name of ["b", "c"]) look(name);
    const waiting = manager.whenAvailable(["b", "c"]);
    await step();
    assert.match(manager.statuses("b")![0]!.error.message, /needs 6 bytes /);
    manager.setAspired("a", []);
    await step();
    await step();
    await loader.succeed(); // c
    assert.deepEqual([manager.isAvailable("b"), manager.isAvailable("c")], [false, true]);
    await loader.succeed(); // b
    await waiting;
  });

  it("steps by itself, and close waits for handles, then releases every model", async () => {
    const loader = new FakeLoader();
    const manager = new Manager({ loader });
    manager.setAspired("m", [{ version: 1, path: "p" }]);
    await manager.start();
    const ready = manager.whenAvailable(["m"]);
    await nextTurn(); // it steps
    const model = await loader.succeed();
    await ready;
    const handle = manager.handle({ name: "m" });
    const closing = manager.close({ drainMs: 1000 });
    assert.throws(() => manager.handle({ name: "m" }), /draining/);
    await settle();
    assert.equal(model.closes, 0);
    handle.release();
    await closing;
    assert.equal(model.closes, 1);
  });

  it("remembers a bounded number of ended versions", async () => {
    const { loader, manager, aspire } = await startManager();
    for (let version = 1; version <= 70; version++) {
      aspire(version);
      manager.step();
      await loader.succeed();
      manager.step();
      await settle();
    }
    assert.equal(manager.statuses("m")!.length, 65);
    assert.equal(manager.statuses("m")![0]!.version, 70);
  });
});
