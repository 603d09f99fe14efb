import assert from "node:assert/strict";
import { isServingError, seededRandom } from "@shardserve/core";
import {
  decodeDeltaManifest,
  decodeManifest,
  digestHex,
  encodeDeltaManifest,
  encodeManifest,
  partitionLayout,
} from "../src/index.js";
import { decodeSegmentHead, encodeSegmentHead, readSegmentSizes, segmentLayout } from "../src/delta/delta-format.js";
import {
  decodePartitionFooter,
  decodePartitionHeader,
  encodePartitionFooter,
  encodePartitionHeader,
} from "../src/partition/partition-format.js";
import { manifestOf, tableOf } from "./fixtures.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

/** Damages copies of `good` until time is up; `parse` may refuse with the code or accept, nothing else. */
function fuzz(
  good: Uint8Array,
  code: "MANIFEST_INVALID" | "PARTITION_INVALID" | "DELTA_INVALID",
  parse: (bytes: Uint8Array) => void,
): void {
  const seed = (performance.now() * 1000) >>> 0;
  const random = seededRandom(seed);
  const heapBefore = process.memoryUsage().arrayBuffers;
  const until = performance.now() + FUZZ_MS;
  let runs = 0;
  for (; performance.now() < until; runs++) {
    const bytes = good.slice(0, random.next() < 0.2 ? Math.floor(random.next() * good.length) : good.length);
    for (let flips = random.uint32() % 8; flips >= 0 && bytes.length > 0; flips--) {
      const at = random.next() < 0.5 ? random.uint32() % Math.min(bytes.length, 128) : random.uint32() % bytes.length;
      bytes[at] = random.next() < 0.3 ? 0xff : random.uint32();
    }
    const startedAt = performance.now();
    try {
      parse(bytes);
    } catch (error) {
      assert.ok(isServingError(error, code), `seed ${seed}, run ${runs}: ${(error as Error).stack}`);
    }
    assert.ok(performance.now() - startedAt < 5_000, `seed ${seed}, run ${runs} took too long`);
  }
  assert.ok(runs > 10, `${runs} runs`);
  assert.ok(process.memoryUsage().arrayBuffers - heapBefore < 256 * 2 ** 20, "memory");
}

describe("formats under fuzz", function () {
  this.timeout(FUZZ_MS + 60_000);
  const tables = [tableOf("a", 1000, [8]), tableOf("b", 77, [3], "int64")];
  const layout = partitionLayout(tables, 5);

  it("manifest", () => {
    const digests = Array.from({ length: 5 }, (_, i) => digestHex(new Uint8Array(i)));
    fuzz(encodeManifest(manifestOf(tables, 5, digests)), "MANIFEST_INVALID", (bytes) => decodeManifest(bytes, "m"));
  });

  it("manifest of a delta", () => {
    const digest = "0123456789abcdef0123456789abcdef";
    const good = encodeDeltaManifest({
      writer: "test",
      epoch: 3,
      baseDigest: digest,
      parent: { epoch: 2, digest },
      sourceDigest: digest,
      createdAtMs: 1,
      partitionCount: 5,
      tables: tables.map(({ rows }) => ({ rows, changed: 4 })),
      segments: [1, 3].map((partition) => ({ partition, offset: partition * 4096, bytes: 512, digest })),
      files: [{ path: "dense/saved_model.pb", bytes: 9, digest }],
      applied: [
        { source: "trainer-0", sequence: 7 },
        { source: "trainer-1", sequence: 1 },
      ],
    });
    assert.equal(decodeDeltaManifest(good, "d").manifest.applied?.length, 2);
    fuzz(good, "DELTA_INVALID", (bytes) => decodeDeltaManifest(bytes, "d"));
  });

  it("head of a segment", () => {
    const sections = tables.map(({ rowBytes }, table) => ({ table, rowBytes, rowCount: 7 + table }));
    const segment = segmentLayout(4, 2, 5, sections);
    const good = encodeSegmentHead(segment);
    for (const [i, { rowCount }] of sections.entries()) {
      const positions = new Uint32Array(good.buffer, segment.positionOffsets[i], rowCount);
      for (let k = 0; k < rowCount; k++) positions[k] = 3 * k;
    }
    assert.equal(decodeSegmentHead(good, "s").positions.length, 2);
    fuzz(good, "DELTA_INVALID", (bytes) => {
      const { headBytes } = readSegmentSizes(bytes, segment.bytes, "s");
      if (headBytes === bytes.length) decodeSegmentHead(bytes, "s");
    });
  });

  it("partition header", () => {
    const good = encodePartitionHeader(layout, 3).slice(0, 256);
    fuzz(good, "PARTITION_INVALID", (bytes) => {
      const header = decodePartitionHeader(bytes, layout.fileBytes, "p");
      assert.ok(header.headerBytes + header.dataBytes <= layout.fileBytes);
    });
  });

  it("partition footer", () => {
    const header = decodePartitionHeader(encodePartitionHeader(layout, 3), layout.fileBytes, "p");
    const good = encodePartitionFooter(new BigUint64Array(header.blockCount));
    fuzz(good, "PARTITION_INVALID", (bytes) => {
      decodePartitionFooter(bytes, header, "p");
    });
  });
});
