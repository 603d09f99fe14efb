import assert from "node:assert/strict";
import { ManualClock, ServingError } from "@shardserve/core";
import { executorKey, executorRecord, LeasedKeys, MemoryRegistry } from "@shardserve/registry";
import { type LoadOptions, Manager, type Model, type ServableId } from "@shardserve/servable";
import { eventually } from "@shardserve/testkit";
import { LoadTroubles } from "../src/roles/executor/load-troubles.js";
import { ServedReport } from "../src/roles/executor/served-versions.js";

const ID: ServableId = { name: "ctr", version: 3 };
const MODEL = { signatures: new Map(), close: () => Promise.resolve() } as unknown as Model;

describe("what an executor registers of itself", () => {
  it("says from the start what its first version waits for, and calls it available once requests are taken", async () => {
    const registry = new MemoryRegistry();
    const keys = new LeasedKeys(registry);
    const clock = new ManualClock();
    let onChange = (): void => undefined;
    const troubles = new LoadTroubles(clock, () => onChange());
    let finish: (model: Model) => void = () => undefined;
    const load = (_id: ServableId, _path: string, _options: LoadOptions) =>
      new Promise<Model>((resolve) => (finish = resolve));
    const manager = new Manager({ loader: { load } });
    const loader = {
      epochOf: () => undefined,
      troubleOf: (id: ServableId) => troubles.of(id),
      onChange: (listener: () => void) => (onChange = listener),
    };
    const report = new ServedReport(manager, keys, { id: "x", instance: "1", zone: "" }, loader);
    const said = async () => {
      const [entry] = (await registry.list(executorKey("x"))).entries;
      const { addresses, serving } = executorRecord.decode(entry!.value, entry!.key);
      return [addresses.grpc, serving.map(({ state, error }) => [state, error?.message])];
    };
    report.start();
    await eventually(async () => assert.deepEqual(await said(), [undefined, []]));
    await manager.start();
    manager.setAspired(ID.name, [{ version: ID.version, path: "" }]);
    await eventually(async () => assert.deepEqual(await said(), [undefined, [["loading", undefined]]]));
    troubles.begin(ID);
    troubles.waits(ID, "in the first moments shards connect");
    clock.advance(1_000);
    troubles.waits(ID, "partition 7 has no replica");
    troubles.waits(ID, "what changes at once is not told");
    await eventually(async () =>
      assert.deepEqual(await said(), [undefined, [["loading", "partition 7 has no replica"]]]),
    );
    troubles.failed(ID, new ServingError("UNAVAILABLE", "ctr/3 is not ready"));
    troubles.begin(ID);
    await eventually(async () => assert.deepEqual(await said(), [undefined, [["loading", "ctr/3 is not ready"]]]));
    troubles.end(ID);
    finish(MODEL);
    await manager.whenAvailable([ID.name]);
    await eventually(async () => assert.deepEqual(await said(), [undefined, [["loading", undefined]]]));
    report.listens({ grpc: "h:1" });
    await eventually(async () => assert.deepEqual(await said(), ["h:1", [["available", undefined]]]));
    await manager.close();
    await keys.close();
    await registry.close();
  });
});
