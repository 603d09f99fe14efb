import assert from "node:assert/strict";
import { Changes, ServingError } from "@shardserve/core";
import { ClusterLoader, type ClusterLoaderOptions } from "../src/roles/executor/cluster-loader.js";

describe("an executor's loader", () => {
  it("knows what a version failed at for as long as the version has a map", async () => {
    const maps = new Set(["m/1", "m/2"]);
    const changes = new Changes();
    const loader = new ClusterLoader({
      follower: {
        subscribe: (listener: () => void) => changes.subscribe(listener),
        map: (model: string, version: number) => (maps.has(`${model}/${version}`) ? {} : undefined),
      },
      files: {
        open: () => Promise.reject(new ServingError("UNAVAILABLE", "the store is away")),
        distrust: () => undefined,
      },
    } as unknown as ClusterLoaderOptions);
    const ids = [1, 2].map((version) => ({ name: "m", version }));
    const troubles = () => ids.map((id) => loader.troubleOf(id)?.message);
    const { signal } = new AbortController();
    for (const id of ids) await assert.rejects(loader.load(id, "", { signal }), /the store is away/);
    changes.notify();
    assert.deepEqual(troubles(), ["the store is away", "the store is away"]);
    maps.delete("m/1");
    changes.notify();
    assert.deepEqual(troubles(), [undefined, "the store is away"]);
  });
});
