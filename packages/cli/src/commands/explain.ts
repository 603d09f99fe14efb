import { ServingError } from "@shardserve/core";
import type { ExplanationDocument } from "@shardserve/model-server";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { table } from "../terminal.js";
import { ask, QUESTION_FLAGS } from "./question.js";

/** Ids named on a line. */
const IDS_SHOWN = 8;

export const explain = defineCommand({
  name: "explain",
  summary: "Asks for one prediction and tells what gave each of its rows, and where its time went",
  usage: "--model=NAME --inputs=JSON",
  examples: [
    "shardserve explain --address=localhost:8500 --model=dlrm --inputs=@request.json",
    "shardserve explain --model=dlrm --inputs=@request.json --json",
  ],
  flags: { ...QUESTION_FLAGS, json: flag.bool("print the whole explanation as JSON") },
  async run(positionals, flags, terminal) {
    refusePositionals("explain", positionals);
    const { explanation } = await ask(flags, { isExplained: true });
    if (explanation === undefined) {
      throw new ServingError("UNIMPLEMENTED", `${flags.address} does not explain its answers: is it shardserve?`);
    }
    terminal.print(flags.json ? explanation : describe(JSON.parse(explanation) as ExplanationDocument));
  },
});

function describe({ model, version, epoch, stagesMs, rows, fetches, leftOut }: ExplanationDocument): string {
  const stages = Object.entries(stagesMs).map(([stage, ms]) => `${stage} ${ms} ms`);
  const lines = [
    `${model} version ${version}${epoch === undefined ? "" : ` epoch ${epoch}`}: ${stages.join(", ")}`,
    ...(rows.length === 0 ? ["no rows came from shards or caches"] : []),
  ];
  if (rows.length > 0) {
    const given = rows.map((group) => [
      `  ${group.table}`,
      group.level,
      group.shard ?? "",
      group.epoch,
      group.count,
      `${group.ids.slice(0, IDS_SHOWN).join(" ")}${group.count > IDS_SHOWN ? " ..." : ""}`,
    ]);
    lines.push(table([["  table", "from", "shard", "epoch", "rows", "ids"], ...given]));
  }
  if (fetches.length > 0) {
    const asked = fetches.map((fetch) => [
      `  ${fetch.shard ?? fetch.from}`,
      fetch.rows,
      fetch.startMs,
      fetch.durationMs,
      `${fetch.outcome}${fetch.isHedge ? ", asked because another one was late" : ""}`,
    ]);
    lines.push(table([["  asked", "rows", "after ms", "took ms", ""], ...asked]));
  }
  if (leftOut) lines.push(`  left out for want of room: ${leftOut.rows} lines of rows, ${leftOut.fetches} questions`);
  return lines.join("\n");
}
