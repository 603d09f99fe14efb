import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, isServingError, ServingError, systemClock } from "@shardserve/core";
import { type ObjectStore, Stores } from "@shardserve/object-store";
import { tempDir } from "@shardserve/testkit";
import { publish } from "../src/index.js";

const URI = "s3://bucket/m/1";
const MANIFEST = "shardserve.manifest";

/** An object store in memory that knows conditions. */
class MemoryObjects {
  readonly objects = new Map<string, { readonly bytes: number; readonly digest: string }>();
  /** Keys in the order in which they were put. */
  readonly puts: string[] = [];
  /** Called before each put; may throw. */
  beforePut: (path: string) => void = () => undefined;

  readonly store: Pick<ObjectStore, "find" | "objects" | "put" | "remove"> = {
    find: async (_place, path) => {
      const object = this.objects.get(path);
      return object && { path, key: path, revision: "1", ...object };
    },
    objects: async () => [...this.objects].map(([path, { bytes }]) => ({ path, key: path, revision: "1", bytes })),
    put: async (_place, path, { bytes, digest, read, isNew, onSent }) => {
      this.beforePut(path);
      if (isNew && this.objects.has(path)) throw new ServingError("FAILED_PRECONDITION", `${path} is there`);
      if (bytes > 0) assert.equal((await read({ offset: 0, length: bytes })).length, bytes);
      onSent?.(bytes);
      this.objects.set(path, { bytes, digest });
      this.puts.push(path);
    },
    remove: async (_place, path) => void this.objects.delete(path),
  };
}

describe("a version that is put into an object store", () => {
  const hasty: Clock = { ...systemClock, after: (_ms, call) => systemClock.after(0, call) };
  const setUp = async (dir: string, contents: string) => {
    for (const path of [
      "partitions/p-00000.rows",
      "partitions/p-00001.rows",
      "saved_model.pb",
      "variables/v",
      MANIFEST,
    ]) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), `${contents} of ${path}`);
    }
  };
  const run = (dir: string, memory: MemoryObjects) => {
    const stores = Object.assign(new Stores({}), { of: async () => memory.store as ObjectStore });
    return publish(dir, { stores, uri: URI, manifest: MANIFEST, clock: hasty });
  };
  const gone = new ServingError("INTERNAL", "the process was killed");

  it("has its claim first, its manifest last and its graph before it, and is put once", async () => {
    await using dir = await tempDir();
    await setUp(dir.path, "one");
    const memory = new MemoryObjects();
    const { digest } = await run(dir.path, memory);
    assert.deepEqual([memory.puts[0], ...memory.puts.slice(-2)], ["shardserve.upload", "saved_model.pb", MANIFEST]);
    assert.ok(!memory.objects.has("shardserve.upload"));
    assert.ok([...memory.objects.values()].every((object) => object.digest === digest));
    assert.deepEqual(await run(dir.path, memory), { digest, sentBytes: 0 });
  });

  it("goes on where it was cut off, wherever that was, and nobody else may put something else meanwhile", async () => {
    await using dir = await tempDir();
    await using other = await tempDir();
    await setUp(dir.path, "one");
    await setUp(other.path, "two");
    for (let cutAt = 1; cutAt < 6; cutAt++) {
      const memory = new MemoryObjects();
      memory.beforePut = () => {
        if (memory.puts.length >= cutAt) throw gone;
      };
      await assert.rejects(run(dir.path, memory), /was killed/);
      memory.beforePut = () => undefined;
      assert.ok(!memory.objects.has(MANIFEST));
      await assert.rejects(run(other.path, memory), (error) => isServingError(error, "OUTPUT_EXISTS"));
      await run(dir.path, memory);
      assert.equal(new Set(memory.puts).size, memory.puts.length, `${memory.puts.join()}: one was put twice`);
      assert.ok(memory.objects.has(MANIFEST));
      await assert.rejects(run(other.path, memory), (error) => isServingError(error, "OUTPUT_EXISTS"));
    }
  });

  it("waits for a store that is away, but not for ever, and not where it may not write", async () => {
    await using dir = await tempDir();
    await setUp(dir.path, "one");
    const memory = new MemoryObjects();
    let failures = 0;
    memory.beforePut = (path) => {
      if (path.startsWith("partitions/") && failures++ < 5) throw new ServingError("UNAVAILABLE", "away");
    };
    await run(dir.path, memory);
    assert.ok(failures > 5 && memory.objects.has(MANIFEST));
    for (const code of ["UNAVAILABLE", "PERMISSION_DENIED"] as const) {
      const refusing = new MemoryObjects();
      let tries = 0;
      refusing.beforePut = (path) => {
        if (path !== "variables/v") return;
        tries++;
        throw new ServingError(code, "no");
      };
      await assert.rejects(run(dir.path, refusing), (error) => isServingError(error, code));
      assert.ok(code === "UNAVAILABLE" ? tries > 5 : tries === 1, `${tries} tries`);
    }
  });
});
