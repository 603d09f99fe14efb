import assert from "node:assert/strict";
import { isServingError } from "@shardserve/core";
import fc from "fast-check";
import { snappyUncompress } from "../src/bundle/snappy.js";
import { snappyLiteral } from "./snappy-literal.js";

describe("snappyUncompress", () => {
  it("reads a block of a real compressor (snappyjs 0.7.0)", () => {
    const block = "db0130746865207461626c65206f6620360d00011610733a206162fe02003602001420656e642078fe01008a0100";
    const text = `the table of the table of tables: ${"ab".repeat(40)} end ${"x".repeat(100)}`;
    assert.equal(Buffer.from(snappyUncompress(Buffer.from(block, "hex"))).toString(), text);
  });

  it("reverses literals and copies", () => {
    const runs = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 30 })));
    fc.assert(
      fc.property(runs, (pairs) => {
        const block = Uint8Array.from(pairs.flatMap(([byte, count]) => Array.from({ length: count }, () => byte)));
        assert.deepEqual(snappyUncompress(snappyLiteral(block)), block);
      }),
    );
  });

  it("refuses what is broken, within its bound", () => {
    for (const block of ["", "ffffffff0f", "05", "0504", "0401ff", "040101", "0400610105", "0ff0", "04fcffffffff"]) {
      assert.throws(() => snappyUncompress(Buffer.from(block, "hex")), isServingError, block);
    }
  });
});
