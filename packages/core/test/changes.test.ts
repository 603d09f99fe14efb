import assert from "node:assert/strict";
import { CancelSource, Changes } from "../src/index.js";

describe("Changes", () => {
  it("wakes all who wait, once", async () => {
    const changes = new Changes();
    const waiting = [changes.next(), changes.next()];
    changes.notify();
    await Promise.all(waiting);
    assert.ok(changes.isIdle);
  });

  it("calls a subscriber back after every change until it unsubscribes", () => {
    const changes = new Changes();
    let calls = 0;
    const unsubscribe = changes.subscribe(() => calls++);
    changes.notify();
    changes.notify();
    unsubscribe();
    changes.notify();
    assert.equal(calls, 2);
  });

  it("ends a wait with the signal's reason, also of one that was aborted before", async () => {
    const changes = new Changes();
    const cancel = new CancelSource();
    const waiting = changes.next(cancel);
    cancel.abort(new Error("the caller left"));
    await assert.rejects(waiting, /the caller left/);
    await assert.rejects(changes.next(cancel), /the caller left/);
    assert.ok(changes.isIdle);
  });
});
