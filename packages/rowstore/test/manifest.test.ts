import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { decodeMessage, encodeMessage } from "@shardserve/transport";
import {
  decodeManifest,
  digestHex,
  encodeManifest,
  MANIFEST_FILE,
  type Manifest,
  partitionDigestOf,
  readManifest,
  writeManifest,
} from "../src/index.js";
import { manifestOf, tableOf } from "./fixtures.js";

const tables = [
  tableOf("emb/Grüße", 10_131_227, [64]),
  tableOf("deep", 5_000_000_000, [2, 8], "float32", "int8"),
  tableOf("wide", 12, [], "int64"),
];
const digests = Array.from({ length: 61 }, (_, i) => digestHex(new Uint8Array(i)));
const manifest: Manifest = manifestOf(tables, 61, digests);

describe("manifest", () => {
  it("reads back what it wrote, under a digest of its bytes", async () => {
    await using dir = await tempDir();
    const digest = await writeManifest(dir.path, manifest);
    const stored = await readManifest(dir.path);
    assert.deepEqual(stored, { manifest, digest });
    assert.equal(partitionDigestOf(manifest, 17), digests[17]);
    assert.equal(digestHex(encodeManifest(manifest)), digest);
  });

  it("is absent from a plain SavedModel", async () => {
    await using dir = await tempDir();
    assert.equal(await readManifest(dir.path), undefined);
    await writeFile(join(dir.path, MANIFEST_FILE), "garbage");
    await assert.rejects(readManifest(dir.path), (error) => isServingError(error, "MANIFEST_INVALID"));
  });

  it("refuses every field that breaks its rule, by name", () => {
    type Plain = Record<string, unknown> & {
      tables: Record<string, unknown>[];
      files: Record<string, unknown>[];
      lookups: Record<string, unknown>[];
    };
    const cases: [string, (plain: Plain) => void][] = [
      ["format ", (m) => (m["format"] = "other")],
      ["formatVersion", (m) => (m["formatVersion"] = 2)],
      ["surprise is not a known field", (m) => (m["surprise"] = 1)],
      ["sourceDigest", (m) => (m["sourceDigest"] = "ABC")],
      ["partitionCount", (m) => (m["partitionCount"] = 0)],
      ["partitionCount", (m) => (m["partitionCount"] = 2 ** 30)],
      ["61 partition files, 59", (m) => (m["partitionCount"] = 59)],
      ["keyHash", (m) => (m["keyHash"] = "md5")],
      ["partitioning", (m) => delete m["partitioning"]],
      ["tables must be a list", (m) => ((m as Record<string, unknown>)["tables"] = {})],
      ["tables[1] is not a map", (m) => (m.tables[1] = [] as unknown as Record<string, unknown>)],
      ["tables[1].rows", (m) => (m.tables[1]!["rows"] = -1)],
      ["tables[1].rows", (m) => (m.tables[1]!["rows"] = 1.5)],
      ["tables[0].dtype", (m) => (m.tables[0]!["dtype"] = "string")],
      ["tables[0].rowDtype", (m) => (m.tables[0]!["rowDtype"] = "int4")],
      ["only float32 rows", (m) => (m.tables[2]!["rowDtype"] = "int8")],
      ["tables[0].rowBytes does not fit", (m) => (m.tables[0]!["rowBytes"] = 255)],
      ["tables[0].bytes is not", (m) => (m.tables[0]!["bytes"] = 1)],
      ["tables[0].rowShape[0]", (m) => (m.tables[0]!["rowShape"] = [0])],
      ["tables[0].extra is not a known field", (m) => (m.tables[0]!["extra"] = 1)],
      ["two entries have the checkpointKey", (m) => (m.tables[1]!["checkpointKey"] = m.tables[0]!["checkpointKey"])],
      ["a lookup names table 3", (m) => (m.lookups[0]!["table"] = 3)],
      ["leads out of", (m) => m.files.push({ path: "../etc/passwd", bytes: 1, digest: digests[0] })],
      ["leads out of", (m) => m.files.push({ path: "/etc/passwd", bytes: 1, digest: digests[0] })],
      ["leads out of", (m) => m.files.push({ path: "a\\b", bytes: 1, digest: digests[0] })],
      ["two entries have the path", (m) => m.files.push({ ...m.files[0]! })],
      ["60 partition files", (m) => m.files.pop()],
      ["p-00060.rows is missing", (m) => (m.files[60]!["path"] = "partitions/p-00061.rows")],
      ["its tables need", (m) => (m.files[5]!["bytes"] = 7)],
      ["files[5].digest", (m) => (m.files[5]!["digest"] = "z".repeat(32))],
    ];
    for (const [text, spoil] of cases) {
      const plain = decodeMessage(encodeManifest(manifest), "m") as Plain;
      spoil(plain);
      assert.throws(
        () => decodeManifest(encodeMessage(plain), "x/manifest"),
        (error) => {
          assert.ok(isServingError(error, "MANIFEST_INVALID"), String(error));
          assert.ok(error.message.includes(text) && error.message.includes("x/manifest"), `${error.message} / ${text}`);
          return true;
        },
      );
    }
  });

  it("takes a version without tables", () => {
    const bare: Manifest = { ...manifest, tables: [], lookups: [], files: [] };
    assert.deepEqual(decodeManifest(encodeManifest(bare), "m").manifest, bare);
  });
});
