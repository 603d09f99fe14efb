import assert from "node:assert/strict";
import { type CancelSignal, CancelSource } from "@shardserve/core";
import { NameChanges } from "../src/name-changes.js";

describe("waiting for names", () => {
  it("asks a name when it changed, not all names at each change", async () => {
    const changes = new NameChanges();
    const names = Array.from({ length: 200 }, (_, i) => `m${i}`);
    const settled = new Set<string>();
    let asked = 0;
    const waiting = changes.whenAll(names, (name) => {
      asked++;
      return settled.has(name);
    });
    for (const name of names) {
      settled.add(name);
      changes.notify(name);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waiting;
    assert.ok(asked <= 4 * names.length, `${asked} questions`);
  });

  it("listens once to who may give up, however many names it waits for", async () => {
    const changes = new NameChanges();
    const gone = new CancelSource();
    let listeners = 0;
    const signal: CancelSignal = {
      aborted: false,
      reason: new Error("gone"),
      throwIfAborted: () => gone.throwIfAborted(),
      addEventListener: (type, listener) => {
        listeners++;
        gone.addEventListener(type, listener);
      },
      removeEventListener: (type, listener) => gone.removeEventListener(type, listener),
    };
    const names = Array.from({ length: 200 }, (_, i) => `m${i}`);
    const waiting = changes.whenAll(names, () => false, signal);
    assert.equal(listeners, 1);
    gone.abort(new Error("gone"));
    await assert.rejects(waiting, /gone/);
  });

  it("resolves only at a moment at which all are settled", async () => {
    const changes = new NameChanges();
    const settled = new Set(["a"]);
    let isOver = false;
    const waiting = changes
      .whenAll(["a", "b"], (name) => settled.has(name))
      .then(() => {
        isOver = true;
      });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    settled.delete("a");
    changes.notify("a");
    settled.add("b");
    changes.notify("b");
    await turn();
    assert.equal(isOver, false, "a is open again");
    settled.add("a");
    changes.notify();
    await waiting;
  });

  it("wakes each of those who wait for one name until it is content itself", async () => {
    const changes = new NameChanges();
    let value = 0;
    const first = changes.whenAll(["a"], () => value >= 1);
    const second = changes.whenAll(["a"], () => value >= 2);
    for (const waiting of [first, second]) {
      value++;
      changes.notify("a");
      await waiting;
    }
  });

  it("ends with the signal's reason", async () => {
    const stop = new AbortController();
    const waiting = new NameChanges().whenAll(["a"], () => false, stop.signal);
    stop.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
  });
});
