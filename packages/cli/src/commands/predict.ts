import { readFileSync } from "node:fs";
import { ServingError, systemClock } from "@shardserve/core";
import { dtypeFromTf, type Tensor } from "@shardserve/tensor";
import { PredictionClient } from "../clients.js";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { tensorFromJson, tensorToJson } from "../tensor-json.js";

export const predict = defineCommand({
  name: "predict",
  summary: "Asks a server for one prediction over gRPC",
  usage: "--model=NAME --inputs=JSON",
  examples: [
    "shardserve predict --address=localhost:8500 --model=half_plus_two --inputs='{\"x\": [[1.0], [2.0]]}'",
    "shardserve predict --model=dlrm --inputs=@request.json --json",
  ],
  flags: {
    address: flag.text("server, HOST:PORT or unix:PATH", "ADDRESS", "localhost:8500"),
    model: flag.text("name of the model", "NAME"),
    modelVersion: flag.int("version; 0 = the highest available", 0, Number.MAX_SAFE_INTEGER, 0),
    signature: flag.text("signature to run", "NAME", "serving_default"),
    inputs: flag.text("object of nested lists by input name, or @FILE", "JSON"),
    timeoutSeconds: flag.number("how long to wait", 0.001, 86_400, 30),
    json: flag.bool("print the version and all outputs as one JSON object"),
  },
  async run(positionals, flags, terminal) {
    refusePositionals("predict", positionals);
    const given = Object.entries(parseInputs(flags.inputs));
    const version = flags.modelVersion === 0 ? undefined : flags.modelVersion;
    using client = new PredictionClient(flags.address, flags.timeoutSeconds * 1000, () => systemClock.wallMs());
    const { signatures } = await client.signatures(flags.model, version);
    const signature = signatures[flags.signature];
    if (!signature) {
      throw new ServingError(
        "NOT_FOUND",
        `${flags.model} has no signature "${flags.signature}"; it has ${Object.keys(signatures).join(", ")}`,
      );
    }
    const inputs = new Map<string, Tensor>();
    for (const [alias, value] of given) {
      const info = signature.inputs[alias];
      if (!info)
        throw new ServingError(
          "CONFIG_INVALID",
          `--inputs: "${alias}" is no input; inputs are ${Object.keys(signature.inputs).join(", ")}`,
        );
      inputs.set(alias, tensorFromJson(value, dtypeFromTf(info.dtype), alias));
    }
    const reply = await client.predict(flags.model, flags.signature, inputs, version);
    const outputs = Object.fromEntries([...reply.outputs].map(([alias, value]) => [alias, tensorToJson(value)]));
    if (flags.json) return terminal.print(JSON.stringify({ version: reply.version, outputs }));
    terminal.print(`${flags.model} version ${reply.version}`);
    for (const [alias, value] of reply.outputs) {
      terminal.print(`${alias}: ${value.dtype}[${value.shape.join(",")}] ${JSON.stringify(outputs[alias])}`);
    }
  },
});

function parseInputs(text: string): Record<string, unknown> {
  const json = text.startsWith("@") ? readFileSync(text.slice(1), "utf8") : text;
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw new ServingError("CONFIG_INVALID", `--inputs: ${(cause as Error).message}`, { cause });
  }
  throw new ServingError("CONFIG_INVALID", "--inputs must be an object: input name -> nested lists");
}
