import type { IncomingHttpHeaders } from "node:http";
import { type Clock, ServingError } from "@shardserve/core";
import type { Manager } from "@shardserve/servable";
import type { Answer, Predictor } from "../predict/predictor.js";
import type { RequestScope } from "../scope.js";
import { runInSlices } from "../slices.js";
import { modelMetadata, repositoryIndex, SERVER_EXTENSIONS, SERVER_NAME } from "./describe.js";
import { infer, specOf } from "./infer.js";
import { flagOf, readInferBody } from "./json-request.js";
import { inferToJson } from "./json-response.js";
import { isModelReady } from "./ready.js";
import type { InferTarget } from "./url.js";

const LENGTH_HEADER = "Inference-Header-Content-Length";

export interface InferRestOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  readonly clock: Clock;
  readonly serverVersion: string;
  readonly isReady: () => boolean;
}

export interface InferRestAnswer extends Answer {
  readonly httpStatus?: number;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** KServe's Open Inference Protocol v2 over HTTP, with its binary tensor extension. */
export class InferRest {
  readonly #options: InferRestOptions;

  constructor(options: InferRestOptions) {
    this.#options = options;
  }

  /** Everything but infer. */
  describe({ method, model, version }: InferTarget): InferRestAnswer {
    const { manager, predictor, serverVersion, isReady } = this.#options;
    switch (method) {
      case "index":
        return json(repositoryIndex(manager));
      case "live":
        return json({ live: true });
      case "ready":
        return readiness(isReady());
      case "model-ready":
        return readiness(isReady() && isModelReady(predictor, specOf(model, version, new Map())), model);
      case "model-metadata": {
        using handle = predictor.handle(specOf(model, version, new Map()));
        return { ...json(modelMetadata(manager, handle)), by: handle.id };
      }
      default:
        return json({ name: SERVER_NAME, version: serverVersion, extensions: SERVER_EXTENSIONS });
    }
  }

  async infer(
    { model, version }: InferTarget,
    headers: IncomingHttpHeaders,
    bytes: Buffer,
    scope: RequestScope,
  ): Promise<InferRestAnswer> {
    const { predictor, clock } = this.#options;
    const body = await runInSlices(readInferBody(bytes, jsonBytesOf(headers), scope.hold), scope.signal);
    const spec = specOf(model, version, body.parameters);
    const call = { spec, outputs: body.outputs.map(({ name }) => name) };
    const result = await infer(predictor, call, body.inputs, (_name, value) => value, scope);

    const isBinaryByDefault = flagOf(body.parameters, "binary_data_output") ?? false;
    const isBinary = (output: string) =>
      body.outputs.find(({ name }) => name === output)?.isBinary ?? isBinaryByDefault;
    const startMs = clock.nowMs();
    const answer = await runInSlices(inferToJson(result, body.id, isBinary), scope.signal);
    predictor.encoded(result.by, result.signature, scope, startMs);
    const { jsonBytes } = answer;
    return {
      body: answer.body,
      report: result.report,
      by: result.by,
      ...(jsonBytes !== undefined && {
        contentType: "application/octet-stream",
        headers: { [LENGTH_HEADER]: String(jsonBytes) },
      }),
    };
  }
}

/** @throws ServingError INVALID_ARGUMENT for a header that is no length */
function jsonBytesOf(headers: IncomingHttpHeaders): number | undefined {
  const value = headers[LENGTH_HEADER.toLowerCase()];
  if (value === undefined) return undefined;
  if (typeof value === "string" && /^\d{1,15}$/.test(value)) return Number(value);
  throw new ServingError("INVALID_ARGUMENT", `${LENGTH_HEADER} "${String(value)}" is no length in bytes`);
}

function readiness(isReady: boolean, name?: string): InferRestAnswer {
  return { ...json({ ...(name !== undefined && { name }), ready: isReady }), httpStatus: isReady ? 200 : 503 };
}

function json(value: object): InferRestAnswer {
  return { body: Buffer.from(JSON.stringify(value)), report: undefined, by: undefined };
}
