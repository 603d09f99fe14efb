import assert from "node:assert/strict";
import type { Manager } from "@shardserve/servable";
import { describeServer } from "../src/config/describe-server.js";

type Described = Parameters<typeof describeServer>[0];

/** One version of each model, and how often somebody reads what memory it holds. */
function managerOf(names: readonly string[]): { readonly manager: Described; readonly readCount: () => number } {
  let readCount = 0;
  const plan = (graphBytes: number) => ({ graphBytes, variableBytes: 0, rowBytes: 0, assetBytes: 0, engineBytes: 0 });
  const versions = names.map((name, i) => ({
    get id() {
      readCount++;
      return { name, version: i + 1 };
    },
    plan: plan(i),
  }));
  const manager: Described = {
    names: () => names,
    statuses: (name) => [
      { version: names.indexOf(name) + 1, state: "AVAILABLE", error: { code: "OK", message: "" } },
      { version: 0, state: "END", error: { code: "OK", message: "" } },
    ],
    brokenSignatures: (name, version) => new Map(name === "m 1" && version === 2 ? [["odd", "OpOfNobody"]] : []),
    traffic: new Map() as Manager["traffic"],
    memory: { limitBytes: Number.POSITIVE_INFINITY, heldBytes: 1, versions },
  };
  return { manager, readCount: () => readCount };
}

describe("the answer of /v1/config", () => {
  it("tells each version with its memory and its broken signatures", () => {
    const { manager } = managerOf(["m 0", "m 1", "m 2"]);
    const { models, memory } = describeServer(manager, "1.0", {});
    assert.deepEqual(
      models.map((entry) => [entry.name, entry.version, entry.state, entry.memory?.["graphBytes"]]),
      [
        ["m 0", "1", "READY", 0],
        ["m 0", "0", "UNAVAILABLE", undefined],
        ["m 1", "2", "READY", 1],
        ["m 1", "0", "UNAVAILABLE", undefined],
        ["m 2", "3", "READY", 2],
        ["m 2", "0", "UNAVAILABLE", undefined],
      ],
    );
    assert.deepEqual(
      models.filter((entry) => entry.brokenSignatures).map(({ name, brokenSignatures }) => [name, brokenSignatures]),
      [["m 1", { odd: "OpOfNobody" }]],
    );
    assert.deepEqual(memory, { limitBytes: null, heldBytes: 1 });
  });

  it("looks at the memory of a version once, however many there are; it searched all of them for each", () => {
    const names = Array.from({ length: 300 }, (_, i) => `m ${i}`);
    const { manager, readCount } = managerOf(names);
    describeServer(manager, "1.0", {});
    assert.equal(readCount(), names.length);
  });
});
