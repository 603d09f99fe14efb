import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { tensorToJson } from "../tensor-json.js";
import { ask, QUESTION_FLAGS } from "./question.js";

export const predict = defineCommand({
  name: "predict",
  summary: "Asks a server for one prediction over gRPC",
  usage: "--model=NAME --inputs=JSON",
  examples: [
    "shardserve predict --address=localhost:8500 --model=half_plus_two --inputs='{\"x\": [[1.0], [2.0]]}'",
    "shardserve predict --model=dlrm --inputs=@request.json --json",
  ],
  flags: { ...QUESTION_FLAGS, json: flag.bool("print the version and all outputs as one JSON object") },
  async run(positionals, flags, terminal) {
    refusePositionals("predict", positionals);
    const reply = await ask(flags);
    const outputs = Object.fromEntries([...reply.outputs].map(([alias, value]) => [alias, tensorToJson(value)]));
    if (flags.json) return terminal.print(JSON.stringify({ version: reply.version, outputs }));
    terminal.print(`${flags.model} version ${reply.version}`);
    for (const [alias, value] of reply.outputs) {
      terminal.print(`${alias}: ${value.dtype}[${value.shape.join(",")}] ${JSON.stringify(outputs[alias])}`);
    }
  },
});
