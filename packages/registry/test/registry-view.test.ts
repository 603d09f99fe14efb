import assert from "node:assert/strict";
import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { ManualClock, ServingError, silentLogger } from "@shardserve/core";
import {
  MemoryRegistry,
  MemoryStore,
  type Registry,
  RegistryView,
  StateFile,
  type WatchEvent,
} from "@shardserve/registry";
import { eventually, tempDir, type TempDir } from "@shardserve/testkit";

/** A registry that is away: nothing is heard of it. */
const AWAY = {
  watch: (_prefix: string, { signal }: { readonly signal?: AbortSignal } = {}): AsyncIterable<WatchEvent> => ({
    [Symbol.asyncIterator]: () => ({
      next: () =>
        new Promise((resolve) => {
          signal?.addEventListener("abort", () => resolve({ done: true, value: undefined }), { once: true });
        }),
    }),
  }),
} as unknown as Registry;

describe("registry view with a state file", () => {
  let dir: TempDir;
  let state: StateFile;
  beforeEach(async () => {
    dir = await tempDir();
    state = new StateFile(join(dir.path, "maps.state"), { cluster: "prod", prefix: "maps/" });
  });
  afterEach(() => dir.remove());

  /** A registry with some keys, at the revision of its last write. */
  const storeOf = (...keys: string[]) => {
    const store = new MemoryStore();
    for (const key of keys) store.txn([], [{ put: key, value: Uint8Array.of(1) }]);
    return store;
  };
  const saveFrom = async (store: MemoryStore) => {
    const view = new RegistryView(new MemoryRegistry({ store }), "maps/", { state });
    view.start();
    await view.reach();
    await view.close();
  };

  it("starts from disk when the registry stays silent, and says how old that is", async () => {
    await saveFrom(storeOf("maps/a/1", "maps/b/1"));
    const clock = new ManualClock(5_000_000_000_000);
    const said: object[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => void said.push(fields) };
    const view = new RegistryView(AWAY, "maps/", { state, clock, logger, stateAfterMs: 3_000 });
    view.start();
    await new Promise((resolve) => setTimeout(resolve, 50)); // the file is read
    clock.advance(2_999);
    assert.equal(view.revision, 0, "it waits for the registry first");
    clock.advance(1);
    await view.reach();
    assert.deepEqual([...view.entries.keys()], ["maps/a/1", "maps/b/1"]);
    assert.ok(view.savedAtMs !== undefined && view.savedAtMs < clock.wallMs());
    const ageSeconds = Math.round((clock.wallMs() - view.savedAtMs) / 1000);
    assert.deepEqual(said, [{ prefix: "maps/", revision: view.revision, ageSeconds, keys: 2 }]);
    await view.close();
    assert.equal((await state.load())?.entries.length, 2, "what came from disk is not saved as news");
  });

  it("prefers a registry that answers, and keeps the file current", async () => {
    await saveFrom(storeOf("maps/old/1"));
    const store = storeOf("maps/x/1", "maps/x/2");
    const view = new RegistryView(new MemoryRegistry({ store }), "maps/", { state, stateAfterMs: 60_000 });
    view.start();
    await view.reach();
    assert.deepEqual([[...view.entries.keys()], view.savedAtMs], [["maps/x/1", "maps/x/2"], undefined]);
    store.txn([], [{ put: "maps/x/3", value: Uint8Array.of(3) }]);
    await eventually(async () => assert.equal((await state.load())?.entries.length, 3));
    await view.close();
  });

  it("saves what a full disk did not take once it does, without further news", async () => {
    const clock = new ManualClock();
    const temporary = `${state.path}.writing`;
    await symlink("/dev/full", temporary);
    const said: string[] = [];
    const say = (_fields: object, message?: string) => void said.push(message ?? "");
    const logger = { ...silentLogger, warn: say, info: say };
    const store = storeOf("maps/x/1");
    const view = new RegistryView(new MemoryRegistry({ store }), "maps/", { state, clock, logger });
    view.start();
    await view.reach();
    const trySave = async () => {
      clock.advance(5_000);
      return state.load();
    };
    for (let tries = 0; tries < 3; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(await trySave(), undefined);
    }
    await rm(temporary);
    await eventually(async () => assert.equal((await trySave())?.entries.length, 1));
    await view.close();
    assert.deepEqual(said, [
      "the last known state was not saved; the one before stays", // once, however often it was tried
      "the last known state is saved again",
    ]);
  });

  it("notices over a restart that the registry lost its history", async () => {
    await saveFrom(storeOf("maps/a/1", "maps/a/2", "maps/a/3"));
    const view = new RegistryView(new MemoryRegistry({ store: storeOf("maps/z/1") }), "maps/", { state });
    const seen: string[][] = [];
    view.subscribe(() => seen.push([...view.entries.keys()]));
    view.start();
    await eventually(() => view.historyCount === 1);
    assert.deepEqual(seen[0], ["maps/a/1", "maps/a/2", "maps/a/3"], "listeners learn what was there before");
    assert.deepEqual([...view.entries.keys()], ["maps/z/1"]);
    await view.close();
  });

  it("notices a lost history that has run further than the one before, by a key that went back", async () => {
    await saveFrom(storeOf("maps/a/1", "maps/a/2"));
    const further = storeOf("maps/a/2", "maps/b/1", "maps/b/2", "maps/b/3");
    const view = new RegistryView(new MemoryRegistry({ store: further }), "maps/", { state });
    view.start();
    await eventually(() => view.historyCount === 1);
    assert.ok(view.revision > 2);
    await view.close();
  });

  it("goes on without a damaged file, and without a disk to save to", async () => {
    const broken = {
      path: "/nowhere",
      load: () => Promise.reject(new ServingError("STATE_INVALID", "damaged")),
      save: () => Promise.reject(new Error("no space left on device")),
    } as unknown as StateFile;
    const view = new RegistryView(new MemoryRegistry({ store: storeOf("maps/a/1") }), "maps/", { state: broken });
    view.start();
    await view.reach();
    assert.deepEqual([...view.entries.keys()], ["maps/a/1"]);
    await view.close();
  });
});
