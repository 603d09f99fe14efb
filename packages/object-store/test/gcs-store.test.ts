import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Storage } from "@google-cloud/storage";
import { isServingError } from "@shardserve/core";
import { GcsServer, tempDir } from "@shardserve/testkit";
import { parseStoreUri, Stores, type Upload, VersionCache } from "../src/index.js";

const PLACE = parseStoreUri("gs://models/ranker/7");

describe("Google Cloud Storage", function () {
  this.timeout(60_000);
  let emulator: GcsServer | undefined;
  let bucket: ReturnType<Storage["bucket"]>;
  before(async function () {
    emulator = await GcsServer.start();
    if (!emulator) return this.skip();
    Object.assign(process.env, emulator.environment);
    bucket = new Storage({ projectId: "test" }).bucket("models");
    for (const path of ["saved_model.pb", "variables/variables.index"]) {
      await bucket.file(`${PLACE.prefix}${path}`).save(path, { resumable: false });
    }
  });
  after(async () => {
    delete process.env["STORAGE_EMULATOR_HOST"];
    await emulator?.[Symbol.asyncDispose]();
  });

  it("lists versions and brings one", async () => {
    const stores = new Stores({});
    const store = await stores.of(PLACE);
    assert.deepEqual((await store.children(parseStoreUri("gs://models/ranker"))).folders, ["7"]);
    assert.deepEqual(
      (await store.objects(PLACE)).map(({ path, bytes }) => [path, bytes]),
      [
        ["saved_model.pb", 14],
        ["variables/variables.index", 25],
      ],
    );
    await using dir = await tempDir();
    const cache = await VersionCache.open({ stores, dir: dir.path, limitBytes: 1000 });
    const held = await cache.acquire("gs://models/ranker/7");
    assert.equal(await readFile(join(held.dir, "variables/variables.index"), "utf8"), "variables/variables.index");
    await bucket.file(`${PLACE.prefix}saved_model.pb`).save("another", { resumable: false });
    const now = await cache.acquire("gs://models/ranker/7");
    assert.equal(await readFile(join(now.dir, "saved_model.pb"), "utf8"), "another");
    await cache.close();
    await stores.close();
  });

  it("says what is not there", async () => {
    const stores = new Stores({});
    const absent = parseStoreUri("gs://absent/x");
    await assert.rejects((await stores.of(absent)).objects(absent), (error) => isServingError(error, "NOT_FOUND"));
    const gone = { path: "x", key: "ranker/7/x", bytes: 1, revision: "1" };
    const read = async () => {
      for await (const _ of await (await stores.of(PLACE)).read(PLACE, gone)) assert.fail("there is nothing");
    };
    await assert.rejects(read(), (error) => isServingError(error, "NOT_FOUND"));
  });

  it("puts objects, tells what they were put with, and reads ranges of them", async () => {
    const stores = new Stores({});
    const store = await stores.of(PLACE);
    const contents = Buffer.from("0123456789".repeat(2 ** 18)); // more than one piece
    const read: Upload["read"] = async ({ offset, length }) => contents.subarray(offset, offset + length);
    const upload = { bytes: contents.length, digest: "d1", read };
    await store.put(PLACE, "partitions/p-00000.rows", upload);
    const found = await store.find(PLACE, "partitions/p-00000.rows");
    assert.deepEqual([found?.bytes, found?.digest], [contents.length, "d1"]);
    const parts: Uint8Array[] = [];
    for await (const part of await store.read(PLACE, found!, undefined, { offset: 12, length: 5 })) parts.push(part);
    assert.equal(Buffer.concat(parts).toString(), "23456");
    assert.equal(await store.find(PLACE, "absent"), undefined);
    await store.remove(PLACE, "partitions/p-00000.rows");
    await store.remove(PLACE, "partitions/p-00000.rows");
    assert.equal(await store.find(PLACE, "partitions/p-00000.rows"), undefined);
    await stores.close();
  });
});
