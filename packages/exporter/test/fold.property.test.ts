import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, seededRandom } from "@shardserve/core";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import {
  appliedBy,
  DELTA_MANIFEST_FILE,
  DELTA_ROWS_FILE,
  DeltaFile,
  deltaPath,
  epochPath,
  type EpochRef,
  foldPath,
  readDeltaChain,
  readManifest,
  refOf,
  type StoredManifest,
} from "@shardserve/rowstore";
import { bytesOf } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { planDelta, proveFold, runDelta, runExport, writeFold } from "../src/index.js";
import { plan } from "./models.js";
import { changedCopy, DIM, readAll, stream, tableOf, writeModel } from "./versions.js";

const run = { writer: "test", chunkBytes: 8 * 1024 };

/** Where the rows of a fold's first partition begin in its file. */
async function firstRowByte(version: string, base: StoredManifest, ref: EpochRef): Promise<number> {
  await using file = await DeltaFile.open(join(version, epochPath(ref)), base.manifest.tables);
  const { segment, layout } = (await file.segment(file.partitions[0]!))!;
  return segment.offset + layout.headBytes;
}

const fold = async (version: string, base: StoredManifest, epoch: number) =>
  writeFold(version, base, await readDeltaChain(version, base, epoch), { writer: "test" });

describe("fold of deltas", function () {
  this.timeout(60_000);

  before(() => void loadOrt());

  it("is its chain: rows, sizes, dense part, sources and identity, with other folds in it or without; and a delta follows it", async () => {
    for (const seed of [1, 2, 3]) {
      await using dir = await tempDir();
      const version = join(dir.path, "m/1");
      const random = seededRandom(seed);
      let tables = [tableOf(900, seed), tableOf(400, seed + 1)];
      await writeModel(join(dir.path, "s0"), tables, 0);
      await runExport(await plan(join(dir.path, "s0"), { tables: ["t0", "t1"], partitions: 7 }), version, run);
      const base = (await readManifest(version))!;
      const epochs = [tables];
      const refs: EpochRef[] = [{ epoch: 0, digest: base.digest }];
      for (let epoch = 1; epoch <= 12; epoch++) {
        const ids = [...new Set(Array.from({ length: 30 }, () => random.uint32() % 400))];
        if (epoch % 4 === 0) {
          tables = tables.map((table) => changedCopy(table, ids, random.uint32() % 9));
          await writeModel(join(dir.path, `s${epoch}`), tables, epoch);
          const source = join(dir.path, `s${epoch}`);
          const { digest } = await runDelta(await planDelta(source, version, {}, hostKernels), run);
          refs.push({ epoch, digest: digest! });
        } else {
          tables = tables.map((table) => table.slice());
          for (const table of tables) for (const id of ids) table.fill(epoch, id * DIM, (id + 1) * DIM);
          refs.push(await stream(version, base, ids, epoch, epoch));
        }
        epochs.push(tables);
      }
      const isRight = async (from: number) => {
        for (const [epoch, expected] of epochs.entries()) {
          if (epoch < from) continue;
          const read = await readAll(version, base, epoch);
          for (const [i, table] of expected.entries())
            assert.ok(Buffer.from(bytesOf(read[i]!)).equals(bytesOf(table)), `t${i} at epoch ${epoch}, seed ${seed}`);
        }
      };
      const first = await fold(version, base, 1 + (random.uint32() % 5));
      const second = await fold(version, base, 6 + (random.uint32() % 6));
      for (const { epoch, digest } of [first, second]) assert.equal(digest, refs[epoch]!.digest);
      await isRight(0);
      const byFolds = await readFile(join(version, foldPath(second.epoch), DELTA_ROWS_FILE));
      await rm(join(version, "folds"), { recursive: true });
      assert.deepEqual(await fold(version, base, second.epoch), second);
      assert.ok(byFolds.equals(await readFile(join(version, foldPath(second.epoch), DELTA_ROWS_FILE))));
      for (let epoch = 1; epoch <= second.epoch; epoch++)
        await rm(join(version, deltaPath(epoch)), { recursive: true });
      await isRight(second.epoch);
      const chain = await readDeltaChain(version, base, 12);
      assert.equal(chain[0]!.fold, second.fold);
      assert.equal(chain.at(-1)!.digest, refs[12]!.digest);
      assert.deepEqual([...appliedBy(chain)], [["trainer", 11]]);
      const dense = chain.findLast(({ manifest }) => manifest.files.length > 0)!;
      assert.ok(existsSync(join(version, epochPath(refOf(dense)), "dense/saved_model.pb")));
      const nothing = await runDelta(await planDelta(join(dir.path, "s12"), version, {}, hostKernels), run);
      assert.equal(nothing.out, undefined); // what an export compares with is the fold and what follows it
      const { digest } = await stream(version, base, [3], 77, 13);
      assert.equal((await readDeltaChain(version, base, 13)).at(-1)!.digest, digest);
    }
  });

  it("that is damaged is passed over as long as its deltas are there, named when they are gone, and proved when asked", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    await writeModel(join(dir.path, "s"), [tableOf(300, 1)], 0);
    await runExport(await plan(join(dir.path, "s"), { tables: ["t0"], partitions: 3 }), version, run);
    const base = (await readManifest(version))!;
    for (let epoch = 1; epoch <= 3; epoch++) await stream(version, base, [1, 2, 3], epoch, epoch);
    const folded = await fold(version, base, 2);
    await proveFold(version, base, folded);
    for (const [name, code] of [
      [DELTA_ROWS_FILE, "CHECKSUM_MISMATCH"],
      [DELTA_MANIFEST_FILE, "DELTA_INVALID"],
    ] as const) {
      const path = join(version, foldPath(2), name);
      const bytes = await readFile(path);
      const damaged = Buffer.from(bytes);
      if (name === DELTA_ROWS_FILE) damaged[(await firstRowByte(version, base, folded)) + 1]! ^= 1;
      await writeFile(path, name === DELTA_ROWS_FILE ? damaged : damaged.subarray(0, bytes.length >> 1));
      await assert.rejects(
        proveFold(version, base, folded),
        (error) => isServingError(error, code) && error.message.includes("folds/2"),
      );
    }
    const chain = await readDeltaChain(version, base, 3);
    assert.deepEqual(
      chain.map(({ fold: own }) => own),
      [undefined, undefined, undefined],
    );
    await rm(join(version, deltaPath(2)), { recursive: true });
    await assert.rejects(
      readDeltaChain(version, base, 3),
      (error) => isServingError(error, "DELTA_INVALID") && error.message.includes("folds/2"),
    );
  });

  it("is not made of what is damaged: the error names it, and nothing is left behind", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    await writeModel(join(dir.path, "s"), [tableOf(300, 1)], 0);
    await runExport(await plan(join(dir.path, "s"), { tables: ["t0"], partitions: 7 }), version, run);
    const base = (await readManifest(version))!;
    for (const sequence of [1, 2, 3]) await stream(version, base, [1, 2, 3, 10 * sequence], sequence, sequence);
    const path = join(version, deltaPath(2), DELTA_ROWS_FILE);
    const bytes = await readFile(path);
    const at = bytes.indexOf(Buffer.from(new Float32Array(DIM).fill(2).buffer));
    bytes[at] = bytes[at]! ^ 1;
    await writeFile(path, bytes);
    await assert.rejects(fold(version, base, 3), (error) => {
      assert.ok(isServingError(error, "CHECKSUM_MISMATCH"));
      assert.match(error.message, /deltas\/2\/rows\.delta: partition \d, block 0/);
      return true;
    });
    assert.deepEqual(readdirSync(join(version, "folds")), []);
    const { epoch } = await fold(version, base, 1);
    await assert.rejects(fold(version, base, 1), (error) => isServingError(error, "OUTPUT_EXISTS"));
    assert.equal(epoch, 1);
  });

  it("that stands for another epoch of its number is left alone", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    await writeModel(join(dir.path, "s"), [tableOf(300, 1)], 0);
    await runExport(await plan(join(dir.path, "s"), { tables: ["t0"], partitions: 7 }), version, run);
    const base = (await readManifest(version))!;
    await stream(version, base, [2], 2, 1);
    await stream(version, base, [3], 3, 2);
    const good = await readAll(version, base, 2);
    const other = join(dir.path, "other/1");
    await runExport(await plan(join(dir.path, "s"), { tables: ["t0"], partitions: 7 }), other, run);
    await stream(other, base, [1], 9, 1);
    await fold(other, base, 1);
    await mkdir(join(version, "folds"), { recursive: true });
    await rename(join(other, foldPath(1)), join(version, foldPath(1)));
    assert.equal((await readDeltaChain(version, base, 2))[0]!.fold, undefined);
    assert.deepEqual(await readAll(version, base, 2), good);
  });
});
