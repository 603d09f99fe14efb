import assert from "node:assert/strict";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, type Random, seededRandom } from "@shardserve/core";
import { loadOrt } from "@shardserve/native";
import { tempDir } from "@shardserve/testkit";
import {
  DELTA_ROWS_FILE,
  type DeltaFile,
  deltaPath,
  type EpochRef,
  partitionPath,
  PartitionSet,
  type TableInfo,
} from "../src/index.js";
import { type Changes, openDelta, writeDelta } from "./deltas.js";
import { randomRows, tableOf, writePartitions } from "./fixtures.js";

const BASE: EpochRef = { epoch: 0, digest: "0".repeat(32) };

/** The slow twin: every epoch's tables whole. */
type Content = Uint8Array[];

function randomChanges(
  tables: readonly TableInfo[],
  before: Content,
  random: Random,
  count: number,
): { changes: Changes; after: Content; rows: number[] } {
  const after: Content = [];
  const rows: number[] = [];
  const changes = tables.map((table, t) => {
    const had = before[t]!.length / table.rowBytes;
    const grown = random.next() < 0.4 ? Math.floor(random.next() * 20) : 0;
    rows.push(had + grown);
    const bytes = new Uint8Array((had + grown) * table.rowBytes);
    bytes.set(before[t]!);
    const changed = new Map<number, Uint8Array>();
    const ids = Array.from({ length: random.next() < 0.2 ? 0 : count }, () => Math.floor(random.next() * had));
    for (const id of [...ids, ...Array.from({ length: grown }, (_, i) => had + i)]) {
      const row = Uint8Array.from({ length: table.rowBytes }, () => random.uint32() & 0xff);
      changed.set(id, row);
      bytes.set(row, id * table.rowBytes);
    }
    after.push(bytes);
    return changed;
  });
  return { changes, after, rows };
}

/** Compares random lookups over all tables at an epoch with the twin. */
async function compare(set: PartitionSet, epoch: number, content: Content, random: Random): Promise<void> {
  for (const [t, table] of set.tables.entries()) {
    const rows = content[t]!.length / table.rowBytes;
    const ids = BigInt64Array.from({ length: 200 }, () => BigInt(Math.floor(random.next() * rows)));
    const indexes = new BigInt64Array(ids.length + 3);
    assert.equal(set.locate(t, ids, indexes, 3, 0, ids.length, epoch), -1);
    const out = new Uint8Array(ids.length * table.rowBytes);
    await set.gather(table.rowBytes, indexes, 3, ids.length, out);
    const expected = Buffer.concat(
      Array.from(ids, (id) => content[t]!.subarray(Number(id) * table.rowBytes, (Number(id) + 1) * table.rowBytes)),
    );
    assert.ok(expected.equals(out), `table ${t} at epoch ${epoch}`);
    const beyond = BigInt64Array.of(BigInt(rows));
    assert.equal(set.locate(t, beyond, indexes, 0, 0, 1, epoch), 0);
    assert.equal(set.refusal(t, beyond, 0, epoch).code, "ROW_OUT_OF_RANGE");
  }
}

describe("overlay", function () {
  this.timeout(60_000);

  before(() => void loadOrt());

  it("answers every epoch like a twin that keeps all tables, while epochs come, go, merge and partitions move", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const random = seededRandom(seed);
      await using dir = await tempDir();
      const partitionCount = [1, 5, 7, 13][seed % 4]!;
      const tables = [
        tableOf("a", 300, [4]),
        tableOf("b", 40, [4]),
        tableOf("c", 500, [3]),
        tableOf("d", 200, [5], "int16"),
      ];
      const contents = new Map<number, Content>([[0, tables.map((table, i) => randomRows(table, seed * 10 + i))]]);
      await writePartitions(dir.path, tables, contents.get(0)!, partitionCount);
      const set = new PartitionSet(tables, partitionCount);
      for (let p = 0; p < partitionCount; p++) await set.add(p, join(dir.path, partitionPath(p)));
      const files: DeltaFile[] = [];
      const chain: EpochRef[] = [BASE];
      let next = 1;
      for (let round = 0; round < 24; round++) {
        const action = random.next();
        const newest = chain.at(-1)!;
        const { oldestEpoch } = set.overlay;
        if (action < 0.6 || chain.length < 3) {
          const { changes, after, rows } = randomChanges(tables, contents.get(newest.epoch)!, random, 12);
          const ref = await writeDelta(dir.path, tables, partitionCount, {
            epoch: next,
            parent: newest,
            baseDigest: BASE.digest,
            changes,
            rows,
          });
          next += 1 + Math.floor(random.next() * 2);
          const file = await openDelta(dir.path, tables, ref.epoch);
          set.overlay.begin(ref.epoch, file.manifest.tables);
          for (let p = 0; p < partitionCount; p++) await set.overlay.stage(p, file);
          files.push(file);
          chain.push(ref);
          contents.set(ref.epoch, after);
        } else if (action < 0.75 && newest.epoch > oldestEpoch) {
          set.overlay.dropNewest(newest.epoch);
          chain.pop();
          await files.pop()![Symbol.asyncDispose]();
        } else if (action < 0.9) {
          await set.overlay.forgetBefore(chain[Math.floor(random.next() * chain.length)]!.epoch);
        } else {
          const p = Math.floor(random.next() * partitionCount);
          await set.remove(p);
          const prepare = async () => {
            for (const file of files) await set.overlay.stage(p, file);
          };
          await set.add(p, join(dir.path, partitionPath(p)), { prepare });
        }
        const asked = chain.filter(({ epoch }) => epoch >= set.overlay.oldestEpoch);
        for (const { epoch } of new Set([asked[0]!, asked.at(-1)!, asked[Math.floor(random.next() * asked.length)]!]))
          await compare(set, epoch, contents.get(epoch)!, random);
      }
      for (const file of files) await file[Symbol.asyncDispose]();
      await set.close();
    }
  });

  it("rebuilds an epoch that was merged beside the overlay in use, and swaps it in whole", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 300, [4])];
    const random = seededRandom(9);
    const contents: Content[] = [tables.map((table, i) => randomRows(table, i))];
    await writePartitions(dir.path, tables, contents[0]!, 7);
    const set = new PartitionSet(tables, 7);
    for (let p = 0; p < 7; p++) await set.add(p, join(dir.path, partitionPath(p)));
    let parent = BASE;
    const files: DeltaFile[] = [];
    for (let epoch = 1; epoch <= 12; epoch++) {
      const { changes, after, rows } = randomChanges(tables, contents[epoch - 1]!, random, 30);
      parent = await writeDelta(dir.path, tables, 7, { epoch, parent, baseDigest: BASE.digest, changes, rows });
      const file = await openDelta(dir.path, tables, epoch);
      set.overlay.begin(epoch, file.manifest.tables);
      for (let p = 0; p < 7; p++) await set.overlay.stage(p, file);
      files.push(file);
      contents.push(after);
    }
    const before = set.overlay.use;
    await set.overlay.forgetBefore(12);
    assert.ok(set.overlay.use.rows < before.rows, "superseded rows are given back");
    await compare(set, 12, contents[12]!, random);
    const other = set.newOverlay();
    for (const file of files.slice(0, 5)) {
      other.begin(file.manifest.epoch, file.manifest.tables);
      for (let p = 0; p < 7; p++) await other.stage(p, file);
    }
    await compare(set, 12, contents[12]!, random);
    set.replaceOverlay(other);
    for (const epoch of [1, 3, 5]) await compare(set, epoch, contents[epoch]!, random);
    for (const file of files) await file[Symbol.asyncDispose]();
    await set.close();
  });

  it("takes a stream without end in, row by row in place: memory is that of the rows that changed, and gathers go on", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 300, [4]), tableOf("b", 90, [4]), tableOf("c", 200, [3])];
    const random = seededRandom(11);
    let content: Content = tables.map((table, i) => randomRows(table, i));
    await writePartitions(dir.path, tables, content, 3);
    const set = new PartitionSet(tables, 3, { syncBytesMax: 0 }); // every gather runs on another thread
    for (let p = 0; p < 3; p++) await set.add(p, join(dir.path, partitionPath(p)));
    let parent = BASE;
    const files: DeltaFile[] = [];
    for (let epoch = 1; epoch <= 60; epoch++) {
      const { changes, after, rows } = randomChanges(tables, content, random, 30);
      parent = await writeDelta(dir.path, tables, 3, { epoch, parent, baseDigest: BASE.digest, changes, rows });
      const file = await openDelta(dir.path, tables, epoch);
      files.push(file);
      const asking = epoch > 1 ? compare(set, epoch - 1, content, random) : undefined;
      set.overlay.begin(epoch, file.manifest.tables);
      for (let p = 0; p < 3; p++) await set.overlay.stage(p, file);
      const forgetting = set.overlay.forgetBefore(epoch - 1);
      await Promise.all([asking, forgetting, compare(set, epoch, after, random)]);
      content = after;
      if (epoch % 20 !== 0) continue;
      await set.remove(1);
      const prepare = async () => {
        for (const one of files) await set.overlay.stage(1, one);
      };
      await set.add(1, join(dir.path, partitionPath(1)), { prepare });
      await compare(set, epoch, after, random);
    }
    const rowsNow = content.reduce((sum, bytes, t) => sum + bytes.length / tables[t]!.rowBytes, 0);
    await set.overlay.forgetBefore(60);
    await compare(set, 60, content, random);
    const { rows } = set.overlay.use;
    assert.ok(
      rows <= rowsNow + 8 * 3 * 50, // eight epochs are not taken in yet; each brings up to 50 rows of three tables
      `${rows} rows in memory for ${rowsNow}`,
    );
    for (const file of files) await file[Symbol.asyncDispose]();
    await set.close();
  });

  it("refuses every flipped byte and every cut of a rows file, by file and partition, and stays as it was", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 300, [4]), tableOf("b", 90, [2])];
    const content = tables.map((table, i) => randomRows(table, i));
    await writePartitions(dir.path, tables, content, 3);
    const random = seededRandom(5);
    const { changes, after, rows } = randomChanges(tables, content, random, 40);
    await writeDelta(dir.path, tables, 3, { epoch: 1, parent: BASE, baseDigest: BASE.digest, changes, rows });
    const path = join(dir.path, deltaPath(1), DELTA_ROWS_FILE);
    const set = new PartitionSet(tables, 3);
    for (let p = 0; p < 3; p++) await set.add(p, join(dir.path, partitionPath(p)));
    await using file = await openDelta(dir.path, tables, 1);
    set.overlay.begin(1, file.manifest.tables);
    await using handle = await open(path, "r+");
    const { size } = await handle.stat();
    const { segments } = file.manifest;
    let refused = 0;
    for (let offset = 0; offset < size; offset += 7) {
      const segment = segments.find((one) => offset >= one.offset && offset < one.offset + one.bytes);
      if (!segment) continue; // between two segments nothing is read
      const byte = Buffer.alloc(1);
      await handle.read(byte, 0, 1, offset);
      await handle.write(Buffer.of(byte[0]! ^ 0x10), 0, 1, offset);
      await assert.rejects(set.overlay.stage(segment.partition, file), (error) => {
        assert.ok(isServingError(error, "DIGEST_MISMATCH", "CHECKSUM_MISMATCH", "DELTA_INVALID"), String(error));
        assert.match(error.message, new RegExp(`rows\\.delta: partition ${segment.partition}`));
        return true;
      });
      await handle.write(byte, 0, 1, offset);
      refused++;
    }
    assert.ok(refused > 50);
    assert.equal(set.overlay.use.rows, 0);
    await handle.truncate(size - 1);
    await assert.rejects(set.overlay.stage(segments.at(-1)!.partition, file), /it was cut off/);
    await compare(set, 0, content, random);
    await writeDelta(dir.path, tables, 3, { epoch: 2, parent: BASE, baseDigest: BASE.digest, changes, rows });
    await using whole = await openDelta(dir.path, tables, 2);
    set.overlay.begin(2, whole.manifest.tables);
    for (let p = 0; p < 3; p++) await set.overlay.stage(p, whole);
    await compare(set, 2, after, random);
    await set.close();
  });

  it("costs at most 1.5 times its own bytes in memory and on disk, for rows of 64 bytes", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 200_000, [16])];
    await writePartitions(dir.path, tables, [new Uint8Array(200_000 * 64)], 13);
    const changed = new Map(Array.from({ length: 20_000 }, (_, i) => [i * 10, new Uint8Array(64).fill(i)]));
    const changes = [changed];
    await writeDelta(dir.path, tables, 13, {
      epoch: 1,
      parent: BASE,
      baseDigest: BASE.digest,
      changes,
      rows: [200_000],
    });
    await using file = await openDelta(dir.path, tables, 1);
    const set = new PartitionSet(tables, 13);
    for (let p = 0; p < 13; p++) await set.add(p, join(dir.path, partitionPath(p)));
    set.overlay.begin(1, file.manifest.tables);
    for (let p = 0; p < 13; p++) await set.overlay.stage(p, file);
    const ownBytes = 20_000 * 64;
    const diskBytes = file.manifest.segments.reduce((sum, { bytes }) => sum + bytes, 0);
    assert.equal(set.overlay.use.rows, 20_000);
    assert.ok(set.overlay.use.bytes <= 1.5 * ownBytes, `${set.overlay.use.bytes / ownBytes} in memory`);
    assert.ok(diskBytes <= 1.1 * ownBytes, `${diskBytes / ownBytes} on disk`);
    await set.close();
  });
});
