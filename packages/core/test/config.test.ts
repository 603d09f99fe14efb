import assert from "node:assert/strict";
import { compileConfig, option } from "../src/index.js";

const spec = {
  listen: option.text(),
  limitBytes: option.bytes(1024),
  mode: option.oneOf(["fast", "safe"], "safe"),
  retries: option.int(0, 9, 3),
  verbose: option.bool(false),
};

describe("compileConfig", () => {
  it("fills defaults, converts and freezes", () => {
    const config = compileConfig("shard", spec, { listen: ":1", limitBytes: "1.5GiB", retries: "4", verbose: "" });
    assert.deepEqual(config, { listen: ":1", limitBytes: 1.5 * 2 ** 30, mode: "safe", retries: 4, verbose: true });
    assert.ok(Object.isFrozen(config));
  });

  it("refuses unknown keys, missing keys and bad values, and says which rule", () => {
    assert.throws(() => compileConfig("shard", spec, { listen: ":1", lsten: "x" }), /shard: unknown option "lsten"/);
    assert.throws(() => compileConfig("shard", spec, {}), /"listen" is required/);
    assert.throws(
      () => compileConfig("shard", spec, { listen: ":1", retries: 10 }),
      /retries=10: must be an integer in \[0, 9\]/,
    );
    assert.throws(() => compileConfig("shard", spec, { listen: ":1", mode: "odd" }), /must be one of fast, safe/);
    assert.throws(() => compileConfig("shard", spec, { listen: ":1", limitBytes: "12 parsecs" }), /byte count/);
  });

  it("takes numbers in decimal only, and no blank where something must be said", () => {
    const numbers = { port: option.int(0, 65_535), share: option.number(-1, 1) };
    const read = (port: string, share: string) => compileConfig("serve", numbers, { port, share });
    assert.deepEqual(read("8500", ".5"), { port: 8500, share: 0.5 });
    assert.deepEqual(read("1e3", "-2.5e-1"), { port: 1000, share: -0.25 });
    for (const text of ["0x10", "0b1", "", " ", "1,5", "8500x", "Infinity"]) {
      assert.throws(() => read(text, "0"), /port=.*must be an integer in \[0, 65535\]/);
      assert.throws(() => read("0", text), /share=.*must be a number in \[-1, 1\]/);
    }
    for (const host of ["", " "]) {
      assert.throws(() => compileConfig("serve", { host: option.filled() }, { host }), /host=.*must not be empty/);
    }
  });

  it("checks rules between options", () => {
    const check = (config: { retries: number }) => {
      if (config.retries > 2) throw new Error("retries must stay below 3 here");
    };
    assert.throws(() => compileConfig("shard", spec, { listen: ":1" }, check), /shard: retries must stay below 3/);
  });
});
