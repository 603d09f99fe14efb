import assert from "node:assert/strict";
import { CancelSource, type CancelSignal, ManualClock, Semaphore, sleep } from "@shardserve/core";

describe("CancelSource", () => {
  const makers: Readonly<Record<string, () => { signal: CancelSignal; abort: (reason: Error) => void }>> = {
    CancelSource: () => {
      const source = new CancelSource();
      return { signal: source, abort: (reason) => source.abort(reason) };
    },
    AbortController: () => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: (reason) => controller.abort(reason) };
    },
  };
  for (const [name, make] of Object.entries(makers)) {
    it(`${name} calls its listeners once, in order, with its reason in place`, () => {
      const { signal, abort } = make();
      const reason = new Error("enough");
      const calls: unknown[] = [];
      const gone = () => calls.push("removed");
      signal.addEventListener("abort", () => calls.push(["first", signal.aborted, signal.reason]), { once: true });
      signal.addEventListener("abort", gone);
      signal.addEventListener("abort", () => calls.push("last"), { once: true });
      signal.removeEventListener("abort", gone);
      signal.throwIfAborted();
      abort(reason);
      abort(new Error("again"));
      signal.addEventListener("abort", () => calls.push("too late"));
      assert.deepEqual(calls, [["first", true, reason], "last"]);
      assert.throws(() => signal.throwIfAborted(), reason);
    });

    it(`${name} does not call what an earlier listener removed`, () => {
      const { signal, abort } = make();
      const second = () => assert.fail("it was removed");
      signal.addEventListener("abort", () => signal.removeEventListener("abort", second), { once: true });
      signal.addEventListener("abort", second, { once: true });
      abort(new Error("enough"));
      assert.ok(signal.aborted);
    });

    it(`${name} ends a sleep and a wait for a permit`, async () => {
      const { signal, abort } = make();
      const semaphore = new Semaphore(1, 1);
      await semaphore.acquire();
      const waits = [sleep(new ManualClock(), 1_000, signal), semaphore.acquire(1, signal)];
      const reason = new Error("enough");
      abort(reason);
      for (const wait of waits) await assert.rejects(wait, reason);
      assert.equal(semaphore.waiting, 0);
    });
  }
});
