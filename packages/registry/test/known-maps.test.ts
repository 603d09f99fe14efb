import assert from "node:assert/strict";
import { type PartitionMap, place } from "@shardserve/placement";
import { type Entry, KnownMaps, type MapRecord, mapKey, mapRecord } from "@shardserve/registry";

const SHARDS = ["a", "b", "c"].map((id) => ({ id, weight: 1, zone: "" }));

function map(version: number, generation: number, shards = SHARDS): PartitionMap {
  return place(shards, 13, 2, { model: "ctr", version, generation });
}

/** A registry view as a test sets it. */
class FakeView {
  readonly entries = new Map<string, Entry>();
  historyCount = 0;
  #revision = 0;

  put(version: number, record: MapRecord): void {
    const key = mapKey("ctr", version);
    const modRevision = ++this.#revision;
    this.entries.set(key, { key, value: mapRecord.encode(record), modRevision, createRevision: modRevision });
  }

  /** As etcd that was restored or begun anew. */
  loseHistory(): void {
    this.historyCount++;
    this.entries.clear();
    this.#revision = 0;
  }
}

describe("known maps", () => {
  const generationsOf = (known: KnownMaps, version = 1) => {
    const { record } = known.all.get(mapKey("ctr", version)) ?? {};
    return [record?.enabled?.generation, record?.staged?.generation];
  };

  it("follow the registry within one history, deletions included", () => {
    const [view, known] = [new FakeView(), new KnownMaps()];
    view.put(1, { enabled: map(1, 5) });
    known.update(view);
    view.put(1, { enabled: map(1, 2) }); // removed and rolled out anew
    known.update(view);
    assert.deepEqual(generationsOf(known), [2, undefined]);
    view.entries.clear();
    known.update(view);
    assert.equal(known.all.size, 0);
  });

  it("a registry that begins anew takes nothing away; a map above the held generation takes over", () => {
    const [view, known] = [new FakeView(), new KnownMaps()];
    view.put(1, { enabled: map(1, 5) });
    known.update(view);
    view.loseHistory();
    known.update(view);
    assert.deepEqual(generationsOf(known), [5, undefined]);
    view.put(1, { staged: map(1, 1) });
    known.update(view);
    assert.deepEqual(generationsOf(known), [5, 1], "shards load what is staged, executors go on");
    view.put(1, { enabled: map(1, 1, SHARDS.slice(0, 2)) });
    known.update(view);
    assert.deepEqual(generationsOf(known), [5, 1], "an old generation is not acted on");
    view.put(1, { enabled: map(1, 6) });
    known.update(view);
    assert.deepEqual(generationsOf(known), [6, undefined]);
    view.entries.clear();
    known.update(view);
    assert.equal(known.all.size, 0, "the new history deletes again");
  });

  it("a version that the new history serves its model without goes", () => {
    const [view, known] = [new FakeView(), new KnownMaps()];
    view.put(1, { enabled: map(1, 5) });
    view.put(2, { enabled: map(2, 3) });
    known.update(view);
    view.loseHistory();
    view.put(2, { staged: map(2, 4) });
    known.update(view);
    assert.deepEqual([generationsOf(known, 1)[0], generationsOf(known, 2)[0]], [5, 3]);
    view.put(2, { enabled: map(2, 4) });
    known.update(view);
    assert.deepEqual([generationsOf(known, 1)[0], generationsOf(known, 2)[0]], [undefined, 4]);
  });

  it("an unreadable value leaves the last one in force", () => {
    const [view, known] = [new FakeView(), new KnownMaps()];
    view.put(1, { enabled: map(1, 5) });
    known.update(view);
    const key = mapKey("ctr", 1);
    view.entries.set(key, { key, value: Uint8Array.of(0xc1), modRevision: 99, createRevision: 1 });
    known.update(view);
    assert.deepEqual(generationsOf(known), [5, undefined]);
  });
});
