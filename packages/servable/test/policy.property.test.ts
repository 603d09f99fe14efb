import assert from "node:assert/strict";
import { availabilityPreserving, resourcePreserving, type VersionSnapshot } from "@shardserve/servable";
import fc from "fast-check";

const snapshots = fc.uniqueArray(
  fc.record({
    version: fc.integer({ min: 0, max: 9 }),
    state: fc.constantFrom("new", "loading", "ready", "quiescing", "unloading", "disabled", "error"),
    isAspired: fc.boolean(),
  }) as fc.Arbitrary<VersionSnapshot>,
  { selector: (entry) => entry.version, maxLength: 6 },
);

describe("aspired version policies", () => {
  it("load the highest new aspired version and unload only what is ready and unwanted", () => {
    fc.assert(
      fc.property(snapshots, fc.constantFrom(availabilityPreserving, resourcePreserving), (versions, policy) => {
        const action = policy(versions);
        if (!action) return;
        const target = versions.find((entry) => entry.version === action.version)!;
        if (action.action === "unload") assert.ok(target.state === "ready" && !target.isAspired);
        else {
          assert.ok(target.state === "new" && target.isAspired);
          assert.ok(
            versions.every((entry) => entry.state !== "new" || !entry.isAspired || entry.version <= target.version),
          );
        }
      }),
    );
  });

  it("availability-preserving never gives up the last ready version while one is aspired and none is ready", () => {
    fc.assert(
      fc.property(snapshots, (versions) => {
        const action = availabilityPreserving(versions);
        const ready = versions.filter((entry) => entry.state === "ready");
        const isWanted = versions.some((entry) => entry.isAspired);
        if (action?.action === "unload" && isWanted) assert.ok(ready.length > 1);
      }),
    );
  });

  it("resource-preserving never loads while an unwanted version holds memory", () => {
    fc.assert(
      fc.property(snapshots, (versions) => {
        const holds = versions.some(
          (entry) => !entry.isAspired && ["loading", "ready", "quiescing", "unloading", "new"].includes(entry.state),
        );
        if (holds) assert.notEqual(resourcePreserving(versions)?.action, "load");
      }),
    );
  });

  it("are idempotent functions of their snapshot", () => {
    fc.assert(
      fc.property(snapshots, (versions) => {
        assert.deepEqual(availabilityPreserving(versions), availabilityPreserving([...versions].reverse()));
        assert.deepEqual(resourcePreserving(versions), resourcePreserving([...versions].reverse()));
      }),
    );
  });
});
