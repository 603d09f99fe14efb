import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SimCluster } from "./sim-cluster.js";

/**
 * Scripts: commands, then `----`, then what they say, up to a blank line. `REWRITE=1` writes what is said now; review
 * the difference (the form of etcd-io/raft's testdata).
 */
const FOLDER = fileURLToPath(new URL("../../test/testdata/", import.meta.url));

describe("nextStep, by script", () => {
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".txt"))) {
    it(file, () => {
      const text = readFileSync(FOLDER + file, "utf8");
      const said = text
        .trimEnd()
        .split(/\n\n+/)
        .map((block, _, blocks) => runBlock(block, clusterOf(blocks)))
        .join("\n\n");
      if (process.env.REWRITE) writeFileSync(FOLDER + file, `${said}\n`);
      else assert.equal(`${said}\n`, text);
    });
  }
});

const clusters = new WeakMap<object, SimCluster>();

/** One cluster per script: its array of blocks is the identity. */
function clusterOf(blocks: object): SimCluster {
  const cluster = clusters.get(blocks) ?? new SimCluster();
  clusters.set(blocks, cluster);
  return cluster;
}

function runBlock(block: string, cluster: SimCluster): string {
  const lines = block.split("\n");
  const end = lines.indexOf("----");
  const commands = end < 0 ? lines : lines.slice(0, end);
  const said = commands.filter((line) => line !== "" && !line.startsWith("#")).flatMap((line) => cluster.run(line));
  const isComment = commands.every((line) => line.startsWith("#"));
  return isComment ? commands.join("\n") : [...commands, "----", ...said].join("\n");
}
