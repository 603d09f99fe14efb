import assert from "node:assert/strict";
import { packageSources } from "./sources.js";

/** Ambient inputs that make a run unrepeatable; core wraps them once and cli wires them. */
const AMBIENT = /\b(Date\.now|new Date\(\)|Math\.random|process\.env|performance\.now)\b/;

describe("clock, randomness and environment", () => {
  it("are read only by core and cli; everything else gets them injected", () => {
    const wrong = packageSources()
      .filter(({ pkg }) => !["core", "cli", "testkit"].includes(pkg))
      .flatMap(({ path, text }) =>
        text
          .split("\n")
          .flatMap((line, i) => (AMBIENT.test(line) && !/^\s*(\*|\/\/)/.test(line) ? [`${path}:${i + 1}`] : [])),
      );
    assert.deepEqual(wrong, []);
  });
});
