import {
  create,
  NamedTensorProtoSchema,
  type SessionRunRequest,
  SessionRunResponseSchema,
  toBinary,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { ServableHandle, SignatureInfo, TensorSpec } from "@shardserve/servable";
import { encodeTensorProto } from "@shardserve/tensor";
import type { RequestScope } from "../scope.js";
import { fillInputs, decodeInput } from "./checks.js";
import { specFields } from "./describe-model.js";
import { answeredBy } from "./examples.js";
import type { Answer, Predictor } from "./predictor.js";

/**
 * SessionService.SessionRun: feeds and fetches by the names of tensors, "x:0", or by aliases when the request says so.
 *
 * TensorFlow can run any part of a graph; here signatures are compiled, not whole graphs. So what is fed must be the inputs
 * of one signature, and what is fetched among its outputs: the one that the model spec names, or else the first that fits.
 *
 * @throws ServingError NOT_FOUND for tensors of no signature, UNIMPLEMENTED for targets, and what Predict throws
 */
export async function sessionRun(
  predictor: Predictor,
  request: SessionRunRequest,
  scope: RequestScope,
): Promise<Answer> {
  using handle = predictor.handle(specFields(request.modelSpec), scope);
  if (request.target.length > 0) {
    throw new ServingError("UNIMPLEMENTED", `target: nodes are not run by name (${request.target[0]})`);
  }
  if (request.fetch.length === 0) {
    throw new ServingError("INVALID_ARGUMENT", "Must specify at least one target to fetch or execute.");
  }
  const names = request.tensorNameIsAlias ? (spec: TensorSpec) => spec.name : (spec: TensorSpec) => spec.tensorName;
  const feeds = new Map<string, Uint8Array>();
  for (const { name, tensor } of request.feed) {
    const key = request.tensorNameIsAlias ? name : withOutputIndex(name);
    if (feeds.has(key)) throw new ServingError("INVALID_ARGUMENT", `Feed ${name} is given twice`);
    feeds.set(key, tensor);
  }
  const fetches = request.tensorNameIsAlias ? request.fetch : request.fetch.map(withOutputIndex);
  const signature = signatureOf(handle, request.modelSpec!.signatureName, [...feeds.keys()], fetches, names);

  const aliasOf = new Map([...signature.inputs.values()].map((spec) => [names(spec), spec.name]));
  const sent = new Map([...feeds].map(([name, bytes]) => [aliasOf.get(name)!, bytes]));
  const inputs = fillInputs(signature, sent, (alias, value) => decodeInput(alias, value, scope));
  const outputs = [...signature.outputs.values()].filter((spec) => fetches.includes(names(spec)));
  const aliases = outputs.map((spec) => spec.name);
  const result = await predictor.run(handle, signature, inputs, aliases, scope, "SessionRun");

  const encoded = new Map(
    outputs.map((spec) => [names(spec), encodeTensorProto(result.outputs.get(spec.name)!)] as const),
  );
  const response = create(SessionRunResponseSchema, {
    modelSpec: answeredBy(handle, signature),
    tensor: request.fetch.map((name, i) => create(NamedTensorProtoSchema, { name, tensor: encoded.get(fetches[i]!)! })),
  });
  return { body: Buffer.from(toBinary(SessionRunResponseSchema, response)), report: result.report, by: handle.id };
}

/** "x" means the first output of node x. */
function withOutputIndex(name: string): string {
  return name.includes(":") ? name : `${name}:0`;
}

function signatureOf(
  handle: ServableHandle,
  asked: string,
  feeds: readonly string[],
  fetches: readonly string[],
  names: (spec: TensorSpec) => string,
): SignatureInfo {
  const { signatures } = handle.model;
  const candidates =
    asked === "" ? [...signatures.values()] : [signatures.get(asked)].filter((each) => each !== undefined);
  if (candidates.length === 0)
    throw new ServingError("FAILED_PRECONDITION", `Serving signature key "${asked}" not found.`);
  const known = { feeds: new Set<string>(), fetches: new Set<string>() };
  for (const signature of candidates) {
    const inputs = new Set([...signature.inputs.values()].map(names));
    const outputs = new Set([...signature.outputs.values()].map(names));
    const required = [...signature.inputs.values()].filter((spec) => !signature.defaults.has(spec.name)).map(names);
    const isFed = feeds.every((name) => inputs.has(name)) && required.every((name) => feeds.includes(name));
    if (isFed && fetches.every((name) => outputs.has(name))) return signature;
    for (const name of inputs) known.feeds.add(name);
    for (const name of outputs) known.fetches.add(name);
  }
  const feed = feeds.find((name) => !known.feeds.has(name));
  if (feed !== undefined) throw new ServingError("NOT_FOUND", `FeedInputs: unable to find feed output ${feed}`);
  const fetch = fetches.find((name) => !known.fetches.has(name));
  if (fetch !== undefined) {
    const among = [...known.fetches].sort().join(",");
    throw new ServingError(
      "NOT_FOUND",
      `FetchOutputs node ${fetch}: not found among the outputs of signatures: {${among}}`,
    );
  }
  throw new ServingError(
    "INVALID_ARGUMENT",
    `no signature takes {${[...feeds].sort().join(",")}} and gives {${[...fetches].sort().join(",")}}`,
  );
}
