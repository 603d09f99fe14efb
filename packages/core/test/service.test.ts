import assert from "node:assert/strict";
import { InvariantError, isServingError, Service, ServingError } from "../src/index.js";

class Probe extends Service {
  readonly calls: string[] = [];
  failStart = false;
  protected override async onStart(): Promise<void> {
    this.calls.push("start");
    if (this.failStart) throw new Error("port in use");
  }
  protected override async onDrain(drainMs: number): Promise<void> {
    this.calls.push(`drain ${drainMs}`);
  }
  protected override async onClose(): Promise<void> {
    this.calls.push("close");
  }
  work(): void {
    this.assertReady();
  }
}

describe("Service", () => {
  it("starts, drains and closes once, however often close is called", async () => {
    const probe = new Probe();
    await probe.start();
    assert.equal(probe.state, "ready");
    await Promise.all([probe.close({ drainMs: 5 }), probe.close({ drainMs: 99 })]);
    assert.deepEqual(probe.calls, ["start", "drain 5", "close"]);
    assert.equal(probe.state, "closed");
  });

  it("releases what a failed start had opened and passes on the first error", async () => {
    const probe = new Probe();
    probe.failStart = true;
    await assert.rejects(probe.start(), /port in use/);
    assert.deepEqual(probe.calls, ["start", "close"]);
    await probe.close();
    assert.equal(probe.state, "closed");
  });

  it("refuses work outside ready with DRAINING, and a second start as a bug", async () => {
    const probe = new Probe();
    assert.throws(
      () => probe.work(),
      (error) => isServingError(error, "DRAINING"),
    );
    await probe.start();
    probe.work();
    await assert.rejects(probe.start(), InvariantError);
    await probe.close();
    assert.throws(
      () => probe.work(),
      (error) => isServingError(error, "DRAINING"),
    );
  });

  it("is closed by `await using`", async () => {
    const probe = new Probe();
    {
      await using scope = probe;
      await scope.start();
    }
    assert.deepEqual(probe.calls, ["start", "drain 0", "close"]);
  });
});

describe("ServingError.from", () => {
  it("keeps a ServingError and classifies the rest", () => {
    const original = new ServingError("NOT_FOUND", "no such table");
    assert.equal(ServingError.from(original), original);
    assert.equal(ServingError.from(AbortSignal.abort().reason).code, "CANCELLED");
    for (const code of ["ENOSPC", "EDQUOT"])
      assert.equal(ServingError.from(Object.assign(new Error("write"), { code })).code, "DISK_FULL");
    assert.equal(ServingError.from("odd").code, "INTERNAL");
    assert.equal(ServingError.from(new DOMException("late", "TimeoutError")).code, "DEADLINE_EXCEEDED");
  });
});
