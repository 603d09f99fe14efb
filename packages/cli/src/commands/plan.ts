import { basename, dirname, resolve } from "node:path";
import { contentsOf, planPlacement } from "@shardserve/controller";
import { ServingError } from "@shardserve/core";
import { readManifest } from "@shardserve/rowstore";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { amount, table } from "../terminal.js";

export const plan = defineCommand({
  name: "plan",
  summary: "Says where a version's partitions would go and the exact bytes per shard, before anything is loaded",
  usage: "VERSION_DIR --shards=N|ID[:WEIGHT[:ZONE]],... --replication=R",
  examples: [
    "shardserve plan repository/dlrm/1 --shards=3 --replication=2",
    "shardserve plan repository/dlrm/1 --shards=a:1:z1,b:1:z2,c:2:z3 --capacity=64GiB --json",
  ],
  flags: {
    shards: flag.list("a count, or shards by id with weight and zone", "SHARDS", ["3"]),
    replication: flag.int("replicas of every partition", 1, 16, 2),
    capacity: flag.bytes("bytes that each shard may hold; 0 = no limit", 0),
    json: flag.bool("print the plan as JSON, with the partitions of each shard"),
  },
  async run([directory, ...rest], flags, terminal) {
    if (directory === undefined || rest.length > 0)
      throw new ServingError("CONFIG_INVALID", "plan: give one version directory; see --help");
    const path = resolve(directory);
    const stored = await readManifest(path);
    if (!stored)
      throw new ServingError(
        "MANIFEST_INVALID",
        `${directory} has no shardserve.manifest; write one with shard-export`,
      );
    const shards = readShards(flags.shards).map((shard) => ({
      ...shard,
      ...(flags.capacity > 0 && { capacityBytes: flags.capacity }),
    }));
    const planned = planPlacement(contentsOf(stored), shards, {
      // The ring depends on the model's name: BASE/NAME/VERSION.
      model: basename(dirname(path)),
      version: Number(basename(path)) || 0,
      replication: flags.replication,
    });
    if (flags.json) return terminal.print(JSON.stringify(planned, undefined, 2));
    terminal.print(
      `${planned.partitionCount} partitions of ${planned.partitionBytes} bytes, ${planned.replication} replicas: ${amount(planned.totalBytes, "bytes")} over all shards`,
    );
    terminal.print(
      table([
        ["shard", "partitions", "bytes", ""],
        ...planned.shards.map(({ id, partitions, bytes }) => [id, partitions.length, bytes, amount(bytes, "bytes")]),
      ]),
    );
  },
});

function readShards(texts: readonly string[]): { id: string; weight: number; zone: string }[] {
  const [first] = texts;
  if (texts.length === 1 && /^\d+$/.test(first!)) {
    return Array.from({ length: Number(first) }, (_, i) => ({ id: `shard-${i}`, weight: 1, zone: "" }));
  }
  return texts.map((text) => {
    const [id = "", weight = "1", zone = ""] = text.split(":");
    if (id === "" || !(Number(weight) > 0))
      throw new ServingError("CONFIG_INVALID", `--shards: "${text}" is not ID[:WEIGHT[:ZONE]]`);
    return { id, weight: Number(weight), zone };
  });
}
