import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { BytePace, isServingError, systemClock } from "@shardserve/core";
import { S3Server } from "@shardserve/testkit";
import { parseStoreUri, StoredFiles, Stores, type ObjectStore, type Upload } from "../src/index.js";

const URI = "s3://models/ranker/7";
const PLACE = parseStoreUri(URI);

function uploadOf(contents: Uint8Array, digest: string, more: Partial<Upload> = {}): Upload {
  const read: Upload["read"] = async ({ offset, length }) => contents.subarray(offset, offset + length);
  return { bytes: contents.length, digest, read, ...more };
}

describe("objects that are put and read by pieces", function () {
  this.timeout(60_000);
  let server: S3Server;
  let stores: Stores;
  let store: ObjectStore;
  before(async () => {
    server = await S3Server.start();
    Object.assign(process.env, server.environment);
    stores = new Stores(server.environment);
    store = await stores.of(PLACE);
  });
  after(async () => {
    await stores.close();
    await server[Symbol.asyncDispose]();
    for (const name of Object.keys(server.environment)) delete process.env[name];
  });
  const files = () =>
    new StoredFiles({
      stores,
      uri: URI,
      pace: new BytePace(Number.POSITIVE_INFINITY, systemClock),
      clock: systemClock,
    });
  const signal = new AbortController().signal;

  it("puts objects small, empty and in parts, and finds them by what they were put with", async () => {
    const large = randomBytes(40 * 2 ** 20 + 7); // three parts
    let sentBytes = 0;
    await store.put(
      PLACE,
      "partitions/p-00000.rows",
      uploadOf(large, "d1", { onSent: (bytes) => (sentBytes += bytes) }),
    );
    await store.put(PLACE, "small", uploadOf(Buffer.from("abc"), "d2"));
    await store.put(PLACE, "empty", uploadOf(new Uint8Array(0), "d3"));
    assert.equal(sentBytes, large.length);
    const found = await store.find(PLACE, "partitions/p-00000.rows");
    assert.deepEqual([found?.bytes, found?.digest], [large.length, "d1"]);
    assert.deepEqual((await store.find(PLACE, "empty"))?.bytes, 0);
    assert.equal(await store.find(PLACE, "absent"), undefined);
    const { folders, objects } = await store.children(PLACE);
    assert.deepEqual([folders, objects.map(({ path }) => path)], [["partitions"], ["empty", "small"]]);
    await using file = await files().open("partitions/p-00000.rows", signal);
    assert.equal(file.size, large.length);
    for (let at = 0; at < large.length; at += 2 ** 20) {
      const piece = await file.read(at, 2 ** 20);
      assert.ok(large.subarray(at, at + 2 ** 20).equals(piece), `the piece at ${at}`);
    }
    assert.equal((await file.read(large.length, 1)).length, 0);
    for (const [offset, length] of [
      [5, 3],
      [8, 3],
      [2 ** 24 - 2, 9],
      [0, 1],
      [large.length - 2, 50],
    ] as const)
      assert.ok(
        large.subarray(offset, offset + length).equals(await file.read(offset, length)),
        `${length} at ${offset}`,
      );
    await store.remove(PLACE, "small");
    await store.remove(PLACE, "small");
    assert.equal(await store.find(PLACE, "small"), undefined);
  });

  it("does not join two objects to one file", async () => {
    const of = (digit: string) => Buffer.from(digit.repeat(3 * 2 ** 20));
    await store.put(PLACE, "p", uploadOf(of("1"), "1"));
    const source = files();
    await using file = await source.open("p", signal);
    await file.read(0, 10);
    await store.put(PLACE, "p", uploadOf(of("2"), "2"));
    await assert.rejects(file.read(10, 10), (error) => isServingError(error, "FAILED_PRECONDITION"));
    await using again = await source.open("p", signal);
    assert.equal(Buffer.from(await again.read(10, 3)).toString(), "222");
    await assert.rejects(source.open("absent", signal), (error) => isServingError(error, "NOT_FOUND"));
  });
});
