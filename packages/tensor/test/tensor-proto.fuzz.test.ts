import assert from "node:assert/strict";
import { isServingError, seededRandom, systemRandom } from "@shardserve/core";
import {
  bytesOf,
  decodeTensorProto,
  encodeTensorProto,
  type NumericData,
  strings,
  type StringColumn,
  tensor,
} from "../src/index.js";

const budgetMs = Number(process.env["FUZZ_MS"] ?? 300);
const SPLAT_BYTES_MAX = 4096;

describe("decodeTensorProto under fuzz", function () {
  this.timeout(budgetMs + 60_000);
  it("returns a tensor or a ServingError, and allocates within its bound", () => {
    const seed = systemRandom().uint32();
    const random = seededRandom(seed);
    const seeds = [
      encodeTensorProto(tensor("float32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))),
      encodeTensorProto(tensor("int64", [4], BigInt64Array.of(1n, -1n, 300n, 2n ** 40n))),
      encodeTensorProto(tensor("bool", [3], Uint8Array.of(1, 0, 1)), { asContent: true }),
      encodeTensorProto(strings([3], ["a", "", "longer text"])),
      encodeTensorProto(strings([3], ["a", "", "longer text"]), { asContent: true }),
      encodeTensorProto(tensor("complex64", [1], Float32Array.of(1, 2))),
    ];
    for (const endMs = performance.now() + budgetMs; performance.now() < endMs; ) {
      const bytes = mutate(seeds[random.uint32() % seeds.length]!, () => random.uint32());
      try {
        const { data } = decodeTensorProto(bytes, { splatBytesMax: SPLAT_BYTES_MAX });
        const byteLength =
          "offsets" in data
            ? (data as StringColumn).offsets.byteLength + (data as StringColumn).bytes.length
            : bytesOf(data as NumericData).length;
        assert.ok(byteLength <= 8 * bytes.length + SPLAT_BYTES_MAX + 8, `${byteLength} bytes from ${bytes.length}`);
      } catch (error) {
        assert.ok(isServingError(error), `seed ${seed}: ${Buffer.from(bytes).toString("hex")}: ${String(error)}`);
      }
    }
  });
});

function mutate(source: Uint8Array, uint32: () => number): Uint8Array {
  const bytes = [...source];
  for (let i = uint32() % 4; i >= 0; i--) {
    const at = uint32() % (bytes.length + 1);
    const kind = uint32() % 4;
    if (kind === 0) bytes.splice(at, 1 + (uint32() % 3));
    else if (kind === 1) bytes.splice(at, 0, uint32() & 0xff, uint32() & 0xff);
    else if (kind === 2) bytes[Math.min(at, Math.max(0, bytes.length - 1))] = uint32() & 0xff;
    else bytes.length = at;
  }
  return Uint8Array.from(bytes);
}
