import assert from "node:assert/strict";
import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import type { Tensor } from "@shardserve/tensor";
import { type Golden, type GoldenCase, goldenDifference } from "@shardserve/testkit";
import type { GrpcClient, GrpcReply } from "./grpc.js";
import { RestError, restPredict } from "./rest.js";

/** An input or output as REST's metadata describes it. */
interface TensorInfo {
  readonly dtype: string;
}

/** The cases of one model, ready to be sent to servers. */
export class GoldenCheck {
  readonly model: string;
  readonly golden: Golden;
  /** dtype names by input, by signature, as the server says. */
  readonly #inputs: Readonly<Record<string, Readonly<Record<string, TensorInfo>>>>;

  /** @param rest  host:port of a server that serves the model */
  static async open(model: string, golden: Golden, rest: string): Promise<GoldenCheck> {
    const response = await fetch(`http://${rest}/v1/models/${model}/metadata`);
    assert.equal(response.status, 200, `metadata of ${model}`);
    const body = (await response.json()) as {
      metadata: { signature_def: { signature_def: Record<string, { inputs: Record<string, TensorInfo> }> } };
    };
    const { signature_def: signatures } = body.metadata.signature_def;
    const inputs = Object.fromEntries(Object.entries(signatures).map(([name, found]) => [name, found.inputs]));
    return new GoldenCheck(model, golden, inputs);
  }

  private constructor(
    model: string,
    golden: Golden,
    inputs: Readonly<Record<string, Readonly<Record<string, TensorInfo>>>>,
  ) {
    this.model = model;
    this.golden = golden;
    this.#inputs = inputs;
  }

  /** What goes into the request: serialised Examples are fed to the signature's only input. */
  inputsOf({ signature, inputs, examples }: GoldenCase): ReadonlyMap<string, Tensor> {
    if (!examples) return inputs;
    return new Map([[Object.keys(this.#inputs[signature] ?? {})[0]!, examples]]);
  }

  /** Every difference of the answers over gRPC from TensorFlow's, in words. */
  async overGrpc(client: GrpcClient): Promise<string[]> {
    return this.#all((item) => this.#askGrpc(client, item));
  }

  /**
   * The same over REST. Cases that REST cannot say go over gRPC, so that a model that counts its calls sees them all: JSON
   * has no dtypes, so none can be wrong; `[]` has one dimension, whatever the tensor had; an input that is left to its
   * default is an error there, and so is a signature without inputs.
   *
   * @returns differences, and how many cases went over REST
   */
  async overRest(address: string, client: GrpcClient): Promise<{ wrong: string[]; sent: number }> {
    let sent = 0;
    const wrong = await this.#all(async (item) => {
      if (!this.#isJson(item)) return this.#askGrpc(client, item);
      sent++;
      try {
        const expected = item.outputs ?? new Map<string, Tensor>();
        return await restPredict(address, this.model, item.signature, this.inputsOf(item), expected);
      } catch (error) {
        if (!(error instanceof RestError)) throw error;
        return refusal(item, error.status < 500 ? "INVALID_ARGUMENT" : `status ${error.status}`, error.message);
      }
    });
    return { wrong, sent };
  }

  /** Sends every case to two servers and compares the bytes of what comes back. */
  async sameBytes(one: GrpcClient, other: GrpcClient): Promise<void> {
    for (const [i, item] of this.golden.cases.entries()) {
      const ask = (client: GrpcClient): Promise<GrpcReply["bytes"] | number> =>
        client.predict(this.model, item.signature, this.inputsOf(item)).then(
          ({ bytes }) => bytes,
          (error: ServiceError) => error.code,
        );
      const [a, b] = await Promise.all([ask(one), ask(other)]);
      assert.deepEqual(a, b, `${item.signature}[${i}]: the answers are not bit-identical`);
    }
  }

  #isJson(item: GoldenCase): boolean {
    const declared = this.#inputs[item.signature] ?? {};
    const inputs = this.inputsOf(item);
    return (
      inputs.size > 0 &&
      inputs.size === Object.keys(declared).length &&
      [...inputs].every(
        ([alias, { dtype, shape }]) =>
          declared[alias]?.dtype === JSON_DTYPES[dtype] && (shape.length === 1 || !shape.includes(0)),
      )
    );
  }

  async #askGrpc(client: GrpcClient, item: GoldenCase): Promise<ReadonlyMap<string, Tensor> | string[]> {
    try {
      return (await client.predict(this.model, item.signature, this.inputsOf(item))).outputs;
    } catch (error) {
      return refusal(item, grpcStatus[(error as ServiceError).code] ?? "?", (error as Error).message);
    }
  }

  async #all(ask: (item: GoldenCase) => Promise<ReadonlyMap<string, Tensor> | string[]>): Promise<string[]> {
    const wrong: string[] = [];
    for (const [i, item] of this.golden.cases.entries()) {
      const found = await ask(item);
      const differences = Array.isArray(found) ? found : compare(item, found);
      wrong.push(...differences.map((text) => `${item.signature}[${i}]: ${text}`));
    }
    return wrong;
  }
}

/** Names of dtypes in metadata. */
const JSON_DTYPES: Readonly<Record<string, string>> = {
  float32: "DT_FLOAT",
  float64: "DT_DOUBLE",
  int32: "DT_INT32",
  int64: "DT_INT64",
  bool: "DT_BOOL",
  string: "DT_STRING",
};

function compare(item: GoldenCase, actual: ReadonlyMap<string, Tensor>): string[] {
  if (item.outputs === undefined) return [`must fail with ${item.error}`];
  return [...item.outputs].flatMap(([alias, expected]) => {
    const difference = goldenDifference(actual.get(alias), expected);
    const other = item.otherOutputs?.get(alias);
    if (difference === undefined || (other && goldenDifference(actual.get(alias), other) === undefined)) return [];
    return [`${alias} ${difference}`];
  });
}

/** [] when TensorFlow refused the case too, for the same class of reason; every refusal of the goldens is the request's fault. */
function refusal(item: GoldenCase, code: string, message: string): string[] {
  if (item.error === undefined) return [`${code}: ${message}`];
  return code === "INVALID_ARGUMENT" ? [] : [`fails with ${code} (${message}) instead of ${item.error}`];
}
