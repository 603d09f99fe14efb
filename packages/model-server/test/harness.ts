import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@shardserve/api";
import { InputSchema, PredictRequestSchema, PredictResponseSchema } from "@shardserve/api";
import { Manager, type Model } from "@shardserve/servable";
import { decodeTensorProto, encodeTensorProto, type Tensor } from "@shardserve/tensor";
import { ModelServer, type ModelServerOptions } from "@shardserve/model-server";

/** Models by name and version. */
export type Models = Record<string, Record<number, Model>>;

export interface TestServer extends AsyncDisposable {
  readonly manager: Manager;
  readonly server: ModelServer;
  readonly client: Client;
  readonly baseUrl: string;
}

export async function startManager(models: Models): Promise<Manager> {
  const manager = new Manager({
    loader: { load: async (id) => models[id.name]![id.version]! },
    loadRetriesMax: 0,
  });
  for (const [name, versions] of Object.entries(models)) {
    manager.setAspired(
      name,
      Object.keys(versions).map((version) => ({ version: Number(version), path: "" })),
    );
  }
  await manager.start();
  await manager.whenAvailable(Object.keys(models));
  for (const [name, versions] of Object.entries(models)) {
    while (
      manager.statuses(name)!.filter((status) => status.state === "AVAILABLE").length < Object.keys(versions).length
    ) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return manager;
}

/** A real server on free ports, and a real gRPC client on it. */
export async function startServer(models: Models, options: Partial<ModelServerOptions> = {}): Promise<TestServer> {
  const manager = await startManager(models);
  const server = new ModelServer({ manager, grpcPort: 0, restPort: 0, host: "127.0.0.1", ...options });
  await server.start();
  const client = new Client(`127.0.0.1:${server.grpcPort}`, credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
  });
  return {
    manager,
    server,
    client,
    baseUrl: `http://127.0.0.1:${server.restPort}`,
    async [Symbol.asyncDispose]() {
      client.close();
      await server.close();
      await manager.close();
    },
  };
}

export interface Reply {
  readonly body: Buffer;
  readonly trailers: Record<string, string>;
}

/** One unary call with raw bytes; rejects with the ServiceError. */
export function callRaw(
  client: Client,
  path: string,
  request: Uint8Array,
  options: { deadlineMs?: number; onCall?: (cancel: () => void) => void } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let trailers: Record<string, string> = {};
    let body: Buffer | undefined;
    const call = client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from(request),
      new Metadata(),
      options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs },
      (error: ServiceError | null, reply?: Buffer) => {
        if (error) reject(error);
        else body = reply!;
      },
    );
    call.on("status", (status) => {
      trailers = Object.fromEntries(
        Object.entries(status.metadata.getMap()).map(([name, value]) => [name, value.toString()]),
      );
      if (body) resolve({ body, trailers });
    });
    options.onCall?.(() => call.cancel());
  });
}

export async function call<Q extends DescMessage, A extends DescMessage>(
  client: Client,
  path: string,
  request: Q,
  answer: A,
  message: MessageInitShape<Q>,
): Promise<MessageShape<A>> {
  const { body } = await callRaw(client, path, toBinary(request, create(request, message)));
  return fromBinary(answer, body);
}

/** The serialised Input of a Classify, Regress or MultiInference request. */
export function exampleInput(examples: readonly Uint8Array[], context?: Uint8Array): Uint8Array {
  const list = { examples: [...examples] };
  const kind = context
    ? ({ case: "exampleListWithContext", value: { ...list, context } } as const)
    : ({ case: "exampleList", value: list } as const);
  return toBinary(InputSchema, create(InputSchema, { kind }));
}

export const PREDICT = "/tensorflow.serving.PredictionService/Predict";

export function predictRequest(
  inputs: Record<string, Tensor | Uint8Array>,
  spec: MessageInitShape<typeof PredictRequestSchema>["modelSpec"] = { name: "m" },
  outputFilter: string[] = [],
): Uint8Array {
  const encoded = Object.entries(inputs).map(([alias, value]) => [
    alias,
    value instanceof Uint8Array ? value : encodeTensorProto(value),
  ]);
  return toBinary(
    PredictRequestSchema,
    create(PredictRequestSchema, {
      ...(spec === undefined ? {} : { modelSpec: spec }),
      inputs: Object.fromEntries(encoded) as Record<string, Uint8Array>,
      outputFilter,
    }),
  );
}

export async function predict(
  client: Client,
  ...request: Parameters<typeof predictRequest>
): Promise<{
  outputs: Record<string, Tensor>;
  spec: MessageShape<typeof PredictResponseSchema>["modelSpec"];
  trailers: Record<string, string>;
}> {
  const { body, trailers } = await callRaw(client, PREDICT, predictRequest(...request));
  const response = fromBinary(PredictResponseSchema, body);
  const outputs = Object.fromEntries(
    Object.entries(response.outputs).map(([alias, bytes]) => [alias, decodeTensorProto(bytes)]),
  );
  return { outputs, spec: response.modelSpec, trailers };
}

/** "CODE: details" of a call that must fail. */
export async function failureOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const { code, details, message } = error as ServiceError;
    return `${code}: ${details ?? message}`;
  }
  return "no failure";
}
