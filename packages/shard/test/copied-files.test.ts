import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, seededRandom, ServingError, silentLogger } from "@shardserve/core";
import { MANIFEST_FILE, partitionPath, readManifest, writeManifest } from "@shardserve/rowstore";
import { tempDir } from "@shardserve/testkit";
import { CopiedFiles } from "../src/files/copied-files.js";
import type { FileSource } from "../src/files/file-source.js";
import { ShardMetrics } from "../src/metrics.js";
import { FileServer } from "../src/files/peer-files.js";
import { type ServedVersion, ServedVersions } from "../src/versions/served-version.js";

const FILE = partitionPath(3);

/** Has one content for every path; says what was asked of it, and fails from an offset on. */
class FakeSource implements FileSource {
  readonly asked: number[] = [];
  readonly name: string;
  readonly kind: "peer" | "repository";
  content: Uint8Array;
  failsFrom = Number.POSITIVE_INFINITY;

  constructor(name: string, kind: "peer" | "repository", content: Uint8Array) {
    this.name = name;
    this.kind = kind;
    this.content = content;
  }

  /** All that it has; undefined = whatever it is asked for. */
  files: readonly string[] | undefined;

  async open(path: string) {
    if (this.failsFrom < 0 || this.files?.includes(path) === false)
      throw new ServingError("NOT_FOUND", "nothing is here");
    return {
      size: this.content.length,
      read: async (offset: number, length: number) => {
        if (offset >= this.failsFrom) throw new ServingError("UNAVAILABLE", "gone");
        this.asked.push(offset);
        return this.content.subarray(offset, offset + length);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  }
}

describe("files copied to a shard's own disk", () => {
  const random = seededRandom(4);
  const content = Uint8Array.from({ length: 3.5 * 2 ** 20 }, () => random.uint32() & 0xff);
  const { signal } = new AbortController();
  const setUp = (directory: string) => {
    const peer = new FakeSource("shard a", "peer", content);
    const repository = new FakeSource("the model repository", "repository", content);
    const metrics = new ShardMetrics();
    const onCopied = (from: FileSource["kind"], bytes: number) => metrics.copiedBytes.inc({ from }, bytes);
    const roomCure = "buy a larger one";
    const logger = silentLogger;
    const files = new CopiedFiles({ directory, peers: () => [peer], repository, roomCure, onCopied, logger });
    return { peer, repository, metrics, files, at: (path: string) => readFile(join(directory, path)) };
  };

  it("come from a peer, and go on from somebody else where the peer ended", async () => {
    await using dir = await tempDir();
    const { peer, repository, metrics, files, at } = setUp(dir.path);
    peer.failsFrom = 2 * 2 ** 20;
    await files.provide(FILE, signal);
    assert.deepEqual(
      [peer.asked, repository.asked],
      [
        [0, 2 ** 20],
        [2 * 2 ** 20, 3 * 2 ** 20],
      ],
    );
    assert.ok((await at(FILE)).equals(content));
    assert.ok(!existsSync(join(dir.path, `${FILE}.part`)));
    await files.provide(FILE, signal); // it is there
    assert.equal(repository.asked.length, 2);
    assert.match(await metrics.registry.metrics(), /copied_bytes_total\{from="repository"\} 1572864/);
  });

  it("deltas come from the repository first; a manifest is asked for each time, and the last one holds when nobody answers", async () => {
    await using dir = await tempDir();
    const { peer, repository, files, at } = setUp(dir.path);
    peer.content = repository.content = Uint8Array.of(1, 2);
    await files.provide("deltas/4/rows.delta", signal);
    assert.deepEqual([peer.asked.length, repository.asked.length], [0, 1]);
    await files.provide(MANIFEST_FILE, signal);
    peer.content = Uint8Array.of(3);
    await files.provide(MANIFEST_FILE, signal);
    assert.deepEqual([...(await at(MANIFEST_FILE))], [3]);
    peer.failsFrom = repository.failsFrom = -1;
    await files.provide(MANIFEST_FILE, signal);
    await assert.rejects(files.provide(FILE, signal), (error) => {
      assert.ok(isServingError(error, "UNAVAILABLE"));
      assert.match(error.message, /shard a: nothing is here; the model repository: nothing is here/);
      return true;
    });
    await files.keepOnly("deltas", ["deltas/5"]);
    assert.ok(!existsSync(join(dir.path, "deltas/4")));
  });

  it("of a delta are the rows of one partition each: a slice of the repository's file, or what another shard has of it", async () => {
    await using dir = await tempDir();
    const { peer, repository, metrics, files, at } = setUp(dir.path);
    const segment = { partition: 3, offset: 1000, bytes: 2_500_000, digest: "" };
    await files.provideSegment("deltas/4", segment, signal);
    assert.ok((await at("deltas/4/p-00003.delta")).equals(content.subarray(1000, 2_501_000)));
    assert.equal(peer.asked.length, 0);
    assert.match(await metrics.registry.metrics(), /copied_bytes_total\{from="repository"\} 2500000/);
    repository.failsFrom = -1;
    peer.content = content.subarray(0, 50);
    await files.provideSegment("deltas/5", { ...segment, bytes: 50 }, signal); // its segment file
    assert.ok((await at("deltas/5/p-00003.delta")).equals(content.subarray(0, 50)));
    peer.files = ["deltas/6/rows.delta"];
    peer.content = content;
    await files.provideSegment("deltas/6", { ...segment, bytes: 70 }, signal);
    assert.ok((await at("deltas/6/p-00003.delta")).equals(content.subarray(1000, 1070)));
    await assert.rejects(files.provideSegment("deltas/7", segment, signal), (error) => {
      assert.ok(isServingError(error, "UNAVAILABLE"));
      return true;
    });
    repository.failsFrom = Number.POSITIVE_INFINITY;
    repository.content = content.subarray(0, 1010);
    await assert.rejects(files.provideSegment("deltas/8", segment, signal), /it has 1010 bytes, 2501000 are needed/);
  });

  it("stay where the version's next manifest names them with the same digest; others and deltas go", async () => {
    await using dir = await tempDir();
    const manifestOf = async (name: string, ends: readonly string[]) => {
      const folder = join(dir.path, name);
      await mkdir(folder);
      const files = ends.map((end, i) => ({ path: `asset-${i}`, bytes: 1, digest: end.repeat(32) }));
      const manifest = {
        writer: "test",
        sourceDigest: "0".repeat(32),
        partitionCount: 3,
        tables: [],
        lookups: [],
        files,
      };
      await writeManifest(folder, manifest);
      return { stored: (await readManifest(folder))!, bytes: await readFile(join(folder, MANIFEST_FILE)) };
    };
    const [first, second] = [await manifestOf("first", ["a", "b", "c"]), await manifestOf("second", ["a", "d"])];
    const copies = join(dir.path, "copies");
    const before = setUp(copies);
    before.peer.content = first.bytes;
    await before.files.provide(MANIFEST_FILE, signal);
    for (const path of [FILE, "asset-0", "asset-1.part", "asset-2", "deltas/1/rows.delta"])
      await before.files.provide(path, signal);
    const { peer, files } = setUp(copies); // the next process
    peer.content = second.bytes;
    await files.provide(MANIFEST_FILE, signal);
    await files.dropOutdated(second.stored);
    const left = (await readdir(copies, { recursive: true })).filter((name) => /\d/.test(name));
    assert.deepEqual(left.sort(), ["asset-0", FILE], "what no manifest named is the readers' business");
  });

  it("are asked of nobody else where the own disk is full", async () => {
    await using dir = await tempDir();
    const { repository, files } = setUp(dir.path);
    await mkdir(join(dir.path, "partitions"));
    await symlink("/dev/full", join(dir.path, `${FILE}.part`));
    await assert.rejects(files.provide(FILE, signal), (error) => {
      assert.ok(isServingError(error, "DISK_FULL"));
      assert.match(error.message, /p-00003\.rows: ENOSPC.*; buy a larger one$/);
      return true;
    });
    assert.equal(repository.asked.length, 0);
  });

  it("that were refused come from another the next time", async () => {
    await using dir = await tempDir();
    const { peer, repository, files, at } = setUp(dir.path);
    peer.content = Uint8Array.of(9);
    await files.provide(FILE, signal);
    await files.discard(FILE);
    await files.provide(FILE, signal);
    assert.ok((await at(FILE)).equals(content));
    assert.equal(repository.asked[0], 0);
    for (const refused of [repository, peer, repository]) {
      const other = refused === peer ? repository : peer;
      const askedBefore = refused.asked.length;
      await files.discard(FILE);
      await files.provide(FILE, signal);
      assert.equal(refused.asked.length, askedBefore, `${refused.name} gave the last one, ${other.name} is asked`);
    }
  });

  it("are given away only as what a version consists of, and partitions only once verified", async () => {
    await using dir = await tempDir();
    await mkdir(join(dir.path, "partitions"));
    for (const name of [MANIFEST_FILE, FILE, partitionPath(4), "secret"])
      await writeFile(join(dir.path, name), "0123456789");
    const versions = new ServedVersions();
    const served = { model: "m", version: 1, channel: 1, files: { directory: dir.path }, digests: new Map([[3, "d"]]) };
    versions.add(served as unknown as ServedVersion);
    const server = new FileServer(versions, "c");
    const read = (path: string, more = {}) =>
      server.read({ cluster: "c", model: "m", version: 1, path, offset: 8, length: 5, ...more });
    const { size, bytes } = await read(FILE);
    assert.deepEqual([size, Buffer.from(bytes).toString()], [10, "89"]);
    assert.equal((await read(MANIFEST_FILE)).size, 10);
    for (const path of [
      partitionPath(4),
      "secret",
      "../secret",
      "deltas/../secret",
      `${FILE}.part`,
      "deltas/1/rows.delta",
    ])
      await assert.rejects(read(path), (error) => isServingError(error, "NOT_FOUND"), path);
    await assert.rejects(read(FILE, { model: "n" }), (error) => isServingError(error, "NOT_FOUND"));
    await assert.rejects(read(FILE, { cluster: "other" }), (error) => isServingError(error, "DIGEST_MISMATCH"));
    for (const wrong of [{ offset: -1 }, { length: 1.5 }, { path: 7 }])
      await assert.rejects(read(FILE, wrong), (error) => isServingError(error, "FRAME_INVALID"));
  });
});
