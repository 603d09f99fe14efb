import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, silentLogger } from "@shardserve/core";
import { S3Server, SmallDisk, tempDir, type TempDir } from "@shardserve/testkit";
import type { ObjectStore, StoredObject } from "../src/object-store.js";
import { parseStoreUri, Stores, VersionCache } from "../src/index.js";

const URI = "s3://models/ranker/7";

describe("version cache", function () {
  this.timeout(60_000);
  let server: S3Server;
  let stores: Stores;
  let dir: TempDir;
  before(async () => {
    server = await S3Server.start();
    Object.assign(process.env, server.environment);
    stores = new Stores(server.environment);
  });
  after(async () => {
    await stores.close();
    await server[Symbol.asyncDispose]();
    for (const name of Object.keys(server.environment)) delete process.env[name];
  });
  beforeEach(async () => {
    dir = await tempDir("shardserve-cache-");
    await server.put("ranker/7/saved_model.pb", "graph");
    await server.put("ranker/7/variables/variables.index", "index");
    await server.put("ranker/7/empty", "");
  });
  afterEach(() => dir.remove());

  const open = (limitBytes = 1000, from = stores) => VersionCache.open({ stores: from, dir: dir.path, limitBytes });

  it("lists folders, and what is below them", async () => {
    await server.put("ranker/12/saved_model.pb", "x");
    const store = await stores.of(parseStoreUri(URI));
    assert.deepEqual([...(await store.children(parseStoreUri("s3://models/ranker"))).folders].sort(), ["12", "7"]);
    const objects = await store.objects(parseStoreUri(URI));
    assert.deepEqual(
      objects.map(({ path, bytes }) => [path, bytes]),
      [
        ["empty", 0],
        ["saved_model.pb", 5],
        ["variables/variables.index", 5],
      ],
    );
    await server.remove("ranker/12/saved_model.pb");
  });

  it("brings a version once, whole", async () => {
    const cache = await open();
    assert.equal(cache.heldDirectory(URI), undefined);
    const [first, second] = await Promise.all([cache.acquire(URI), cache.acquire(URI)]);
    assert.equal(first.dir, second.dir);
    assert.equal(cache.heldDirectory(URI), first.dir);
    assert.equal(await readFile(join(first.dir, "variables/variables.index"), "utf8"), "index");
    assert.equal(await readFile(join(first.dir, "empty"), "utf8"), "");
    await writeFile(join(first.dir, "saved_model.pb"), "marks");
    first.release();
    first.release();
    assert.equal(cache.heldDirectory(URI), second.dir);
    second.release();
    assert.equal(cache.heldDirectory(URI), undefined);
    const again = await cache.acquire(URI);
    assert.equal(await readFile(join(again.dir, "saved_model.pb"), "utf8"), "marks", "it was not downloaded again");
    await cache.close();
    const later = await (await open()).acquire(URI);
    assert.equal(later.dir, again.dir, "nor by the next process");
  });

  it("mends a copy of which files are missing or cut short, and one that could not be loaded, once", async () => {
    const cache = await open();
    const first = await cache.acquire(URI);
    const path = join(first.dir, "saved_model.pb");
    first.release();
    for (const damage of [() => truncate(path, 2), () => rm(path)]) {
      await damage();
      const mended = await cache.acquire(URI);
      assert.equal(mended.dir, first.dir);
      assert.equal(await readFile(path, "utf8"), "graph");
      mended.release();
    }
    for (const expected of ["graph", "grapX"]) {
      await writeFile(path, "grapX"); // the same length
      await (await cache.acquire(URI)).discard();
      const again = await cache.acquire(URI);
      assert.equal(await readFile(path, "utf8"), expected);
      again.release();
    }
    await cache.close();
  });

  it("is whole for who asks for it while the copy of another is removed", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `file-${i}`);
    const objects = names.map((path): StoredObject => ({ path, key: path, bytes: 1, revision: "1" }));
    const store: Pick<ObjectStore, "objects" | "read" | "close"> = {
      objects: async () => objects,
      read: async () => oneByte(),
      close: () => undefined,
    };
    const cache = await open(1000, Object.assign(new Stores({}), { of: async () => store }));
    const discarding = (await cache.acquire(URI)).discard();
    const again = await cache.acquire(URI);
    await discarding;
    assert.deepEqual((await readdir(again.dir)).sort(), names.sort());
    await cache.close();
  });

  it("names a bad copy that cannot be removed, and mends it once it can", async function () {
    const errors: string[] = [];
    const logger = { ...silentLogger, error: (_fields: object, message: string) => errors.push(message) };
    const cache = await VersionCache.open({ stores, dir: dir.path, limitBytes: 1000, logger });
    const first = await cache.acquire(URI);
    const disk = SmallDisk.mount(join(first.dir, "variables"), 2 ** 20); // EBUSY
    if (!disk) return this.skip();
    try {
      await first.discard();
    } finally {
      disk.stop();
    }
    assert.deepEqual(errors, ["the files of a version in the cache cannot be loaded, nor removed"]);
    const again = await cache.acquire(URI);
    assert.equal(await readFile(join(again.dir, "saved_model.pb"), "utf8"), "graph");
    await cache.close();
  });

  it("says which folder has no room, and goes on once it has", async function () {
    const disk = SmallDisk.mount(dir.path, 2 ** 20);
    if (!disk) return this.skip();
    try {
      await server.put("large/1/data", Buffer.alloc(300_000));
      const cache = await open(2 ** 20);
      disk.fill();
      await assert.rejects(
        cache.acquire("s3://models/large/1"),
        (error) => isServingError(error, "DISK_FULL") && error.message.includes(`no room in ${dir.path}`),
      );
      disk.free();
      (await cache.acquire("s3://models/large/1")).release();
      await cache.close();
    } finally {
      disk.stop();
    }
  });

  it("takes a version that was replaced for another one", async () => {
    const cache = await open();
    const old = await cache.acquire(URI);
    await server.put("ranker/7/saved_model.pb", "other");
    const now = await cache.acquire(URI);
    assert.notEqual(now.dir, old.dir);
    assert.equal(await readFile(join(old.dir, "saved_model.pb"), "utf8"), "graph");
    assert.equal(await readFile(join(now.dir, "saved_model.pb"), "utf8"), "other");
    await cache.close();
  });

  it("makes room by what was used longest ago, never by what is held", async () => {
    for (const version of [1, 2, 3]) await server.put(`sized/${version}/data`, "x".repeat(40));
    const cache = await open(100);
    const first = await cache.acquire("s3://models/sized/1");
    const second = await cache.acquire("s3://models/sized/2");
    await assert.rejects(
      cache.acquire("s3://models/sized/3"),
      (error) => isServingError(error, "RESOURCE_EXHAUSTED") && /40 bytes, .* 80 of the 100/.test(error.message),
    );
    first.release();
    second.release();
    await utimes(second.dir, 1, 1);
    const third = await cache.acquire("s3://models/sized/3");
    const left = (await readdir(dir.path)).filter((name) => name !== "lock").map((name) => join(dir.path, name));
    assert.deepEqual(left.sort(), [first.dir, third.dir].sort());
    await cache.close();
  });

  it("goes on after a failed download with the files that were finished", async () => {
    const store = await stores.of(parseStoreUri(URI));
    const read: string[] = [];
    let isBroken = true;
    const flaky: Pick<ObjectStore, "objects" | "read" | "close"> = {
      objects: (...args) => store.objects(...args),
      read: async (place, object, signal) => {
        read.push(object.path);
        if (isBroken && object.path.startsWith("variables")) {
          while (!read.includes("saved_model.pb")) await new Promise(setImmediate);
          return cutShort(await store.read(place, object, signal));
        }
        return store.read(place, object, signal);
      },
      close: () => undefined,
    };
    const cache = await open(1000, Object.assign(new Stores({}), { of: async () => flaky }));
    await assert.rejects(cache.acquire(URI), (error) => isServingError(error, "CHECKSUM_MISMATCH"));
    const finished = await readdir(dir.path, { recursive: true });
    isBroken = false;
    read.length = 0;
    const held = await cache.acquire(URI);
    assert.ok(read.includes("variables/variables.index"));
    for (const path of ["saved_model.pb", "empty"]) {
      if (finished.some((name) => name.endsWith(path))) assert.ok(!read.includes(path), `${path} was read again`);
    }
    assert.equal(await readFile(join(held.dir, "variables/variables.index"), "utf8"), "index");
    await cache.close();
  });

  it("refuses keys that are no paths of files, and places where nothing is", async () => {
    const evil = (path: string): Pick<ObjectStore, "objects" | "read" | "close"> => ({
      objects: async (): Promise<StoredObject[]> => [{ path, key: path, bytes: 1, revision: "1" }],
      read: async () => assert.fail("it must not be read"),
      close: () => undefined,
    });
    for (const path of ["../outside", "a/../../b", "/etc/passwd", "a//b", "a\0b", "a\\b", "."]) {
      const cache = await open(1000, Object.assign(new Stores({}), { of: async () => evil(path) }));
      await assert.rejects(cache.acquire(URI), (error) => isServingError(error, "INVALID_ARGUMENT"), path);
      await cache.close();
    }
    const cache = await open();
    await assert.rejects(cache.acquire("s3://models/nothing"), (error) => isServingError(error, "NOT_FOUND"));
    await assert.rejects(cache.acquire("s3://absent/x"), (error) => isServingError(error, "NOT_FOUND"));
    await assert.rejects(cache.acquire("ftp://models/x"), (error) => isServingError(error, "INVALID_ARGUMENT"));
    await cache.close();
  });

  it("does not read an object that is another than was listed", async () => {
    const place = parseStoreUri(URI);
    const store = await stores.of(place);
    const [, graph] = await store.objects(place);
    await server.put("ranker/7/saved_model.pb", "later");
    await assert.rejects(store.read(place, graph!), (error) => isServingError(error, "FAILED_PRECONDITION"));
  });

  it("is one process's, until that process is gone", async () => {
    await mkdir(dir.path, { recursive: true });
    await writeFile(join(dir.path, "lock"), String(process.ppid));
    await assert.rejects(
      open(),
      (error) => isServingError(error, "CONFIG_INVALID") && /is used by process/.test(error.message),
    );
    await writeFile(join(dir.path, "lock"), "2147483646");
    await (await open()).close();
    assert.deepEqual(await readdir(dir.path), []);
  });
});

async function* oneByte(): AsyncIterable<Uint8Array> {
  yield Uint8Array.of(1);
}

async function* cutShort(contents: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of contents) yield chunk.subarray(1);
}
