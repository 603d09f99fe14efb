import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ObjectStore, Stores } from "@shardserve/object-store";
import { tempDir } from "@shardserve/testkit";
import { RepositoryMirror } from "../src/observe/repository-mirror.js";

const BASE = "base/";

/** An object store in memory that says what was asked of it. */
class FakeStore {
  readonly objects = new Map<string, string>();
  readonly calls: string[] = [];
  isAway = false;

  readonly store: Pick<ObjectStore, "children" | "find" | "read"> = {
    children: async ({ prefix }) => {
      this.#called(`list ${prefix.slice(BASE.length)}`);
      const below = [...this.objects.keys()].filter((key) => key.startsWith(prefix));
      const paths = below.map((key) => key.slice(prefix.length));
      const folders = new Set(paths.filter((path) => path.includes("/")).map((path) => path.split("/")[0]!));
      return {
        folders: [...folders],
        objects: paths.filter((path) => !path.includes("/")).map(this.#objectAt(prefix)),
      };
    },
    find: async ({ prefix }, path) => {
      this.#called(`find ${path}`);
      return this.objects.has(prefix + path) ? { ...this.#objectAt(prefix)(path), digest: undefined } : undefined;
    },
    read: async (_place, { key }) => {
      this.#called(`read ${key.slice(BASE.length)}`);
      return this.#contents(key);
    },
  };

  #called(call: string): void {
    if (this.isAway) throw new Error("away");
    this.calls.push(call);
  }

  async *#contents(key: string) {
    yield Buffer.from(this.objects.get(key)!);
  }

  readonly #objectAt = (prefix: string) => (path: string) => {
    const key = prefix + path;
    return { path, key, bytes: this.objects.get(key)!.length, revision: this.objects.get(key)! };
  };
}

describe("the mirror of a repository in an object store", () => {
  const { signal } = new AbortController();
  const setUp = (directory: string) => {
    const fake = new FakeStore();
    const stores = Object.assign(new Stores({}), { of: async () => fake.store as ObjectStore });
    const mirror = new RepositoryMirror({ stores, uri: "s3://bucket/base", directory: join(directory, "mirror") });
    const put = (path: string, contents: string) => fake.objects.set(BASE + path, contents);
    const files = async () => {
      const entries = await readdir(mirror.directory, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(mirror.directory.length + 1))
        .sort();
    };
    return { fake, mirror, put, files };
  };

  it("has the manifests of what is whole, lists no file of a version, and reads nothing twice", async () => {
    await using dir = await tempDir("shardserve-mirror-");
    const { fake, mirror, put, files } = setUp(dir.path);
    put("m/1/shardserve.manifest", "one");
    for (let i = 0; i < 5; i++) put(`m/1/partitions/p-${i}`, "rows");
    put("m/1/deltas/1/shardserve.delta", "delta 1");
    put("m/1/deltas/2/rows.delta", "not whole yet");
    put("m/2/saved_model.pb", "not whole yet");
    put("m/007/shardserve.manifest", "no number that shards look for");
    put(".hidden/1/shardserve.manifest", "no model");
    await mirror.refresh(signal);
    assert.deepEqual(await files(), ["m/1/deltas/1/shardserve.delta", "m/1/shardserve.manifest"]);
    assert.ok(!fake.calls.some((call) => call.includes("partitions")), fake.calls.join());
    fake.calls.length = 0;
    await mirror.refresh(signal);
    assert.deepEqual(
      fake.calls.filter((call) => !call.startsWith("list")),
      ["find m/1/deltas/2/shardserve.delta"],
    );
    put("m/1/deltas/2/shardserve.delta", "delta 2");
    put("m/1/shardserve.manifest", "another one");
    await mirror.refresh(signal);
    assert.equal(await readFile(join(mirror.directory, "m/1/shardserve.manifest"), "utf8"), "another one");
    assert.ok((await files()).includes("m/1/deltas/2/shardserve.delta"));
  });

  it("reads the manifest of a fold again when it was mended", async () => {
    await using dir = await tempDir("shardserve-mirror-");
    const { fake, mirror, put } = setUp(dir.path);
    put("m/1/shardserve.manifest", "one");
    put("m/1/folds/3/shardserve.delta", "damaged");
    await mirror.refresh(signal);
    put("m/1/folds/3/shardserve.delta", "whole");
    await mirror.refresh(signal);
    assert.equal(await readFile(join(mirror.directory, "m/1/folds/3/shardserve.delta"), "utf8"), "whole");
    fake.calls.length = 0;
    await mirror.refresh(signal);
    assert.ok(!fake.calls.some((call) => call.startsWith("read")), fake.calls.join());
  });

  it("forgets what went, keeps what it has while the store is away, and begins anew with a process", async () => {
    await using dir = await tempDir("shardserve-mirror-");
    const { fake, mirror, put, files } = setUp(dir.path);
    put("m/1/shardserve.manifest", "one");
    put("m/1/deltas/1/shardserve.delta", "delta");
    put("m/2/shardserve.manifest", "two");
    await mirror.refresh(signal);
    fake.isAway = true;
    await assert.rejects(mirror.refresh(signal), /away/);
    assert.equal((await files()).length, 3);
    fake.isAway = false;
    fake.objects.delete(`${BASE}m/1/shardserve.manifest`);
    await mirror.refresh(signal);
    assert.deepEqual(await files(), ["m/2/shardserve.manifest"]);
    fake.objects.clear();
    const { mirror: next, put: putNext, files: filesNext } = setUp(dir.path);
    putNext("n/3/shardserve.manifest", "three");
    await next.refresh(signal);
    assert.deepEqual(await filesNext(), ["n/3/shardserve.manifest"]);
  });
});
