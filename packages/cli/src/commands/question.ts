import { readFileSync } from "node:fs";
import { ServingError, systemClock } from "@shardserve/core";
import { dtypeFromTf, type Tensor } from "@shardserve/tensor";
import { parseAddress } from "@shardserve/transport";
import { type Prediction, PredictionClient } from "../clients.js";
import { flag } from "../flags.js";
import { tensorFromJson } from "../tensor-json.js";

/** What a command needs that asks a server for one prediction. */
export const QUESTION_FLAGS = {
  address: flag.text("server, HOST:PORT or unix:PATH", "ADDRESS", "localhost:8500"),
  model: flag.text("name of the model", "NAME"),
  modelVersion: flag.int("version; 0 = the highest available", 0, Number.MAX_SAFE_INTEGER, 0),
  signature: flag.text("signature to run", "NAME", "serving_default"),
  inputs: flag.text("object of nested lists by input name, or @FILE", "JSON"),
  timeoutSeconds: flag.number("how long to wait", 0.001, 86_400, 30),
};

export interface Question {
  readonly address: string;
  readonly model: string;
  readonly modelVersion: number;
  readonly signature: string;
  readonly inputs: string;
  readonly timeoutSeconds: number;
}

/** @throws ServingError CONFIG_INVALID for inputs that the signature does not have; NOT_FOUND; what the server answers */
export async function ask(question: Question, options: { readonly isExplained?: boolean } = {}): Promise<Prediction> {
  const { address, model, modelVersion, signature: name, timeoutSeconds } = question;
  const given = Object.entries(parseInputs(question.inputs));
  const version = modelVersion === 0 ? undefined : modelVersion;
  using client = new PredictionClient(parseAddress(address), timeoutSeconds * 1000, () => systemClock.wallMs());
  const { signatures } = await client.signatures(model, version);
  const signature = signatures[name];
  if (!signature) {
    throw new ServingError(
      "NOT_FOUND",
      `${model} has no signature "${name}"; it has ${Object.keys(signatures).join(", ")}`,
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
  return await client.predict(model, name, inputs, version, options); // before the client closes
}

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
