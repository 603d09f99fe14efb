import assert from "node:assert/strict";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { createFileRegistry, fromJson, toBinary, toJson, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, type FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import {
  create,
  fromBinary as decode,
  type MessageInitShape,
  type ServerReflectionResponse,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  toBinary as encode,
} from "@shardserve/api";
import { callRaw, failureOf, PREDICT, startServer, type TestServer } from "./harness.js";
import { halfPlus } from "./models.js";

type Ask = NonNullable<MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]>;

describe("reflection", () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ m: { 1: halfPlus(2) } });
  });
  after(() => server[Symbol.asyncDispose]());

  function open(version: string): ClientDuplexStream<Buffer, Buffer> {
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
    return server.client.makeBidiStreamRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
  }

  async function ask(version: string, ...asks: readonly Ask[]): Promise<ServerReflectionResponse["messageResponse"][]> {
    const stream = open(version);
    for (const messageRequest of asks) {
      const request = create(ServerReflectionRequestSchema, { messageRequest });
      stream.write(Buffer.from(encode(ServerReflectionRequestSchema, request)));
    }
    stream.end();
    const answers: ServerReflectionResponse["messageResponse"][] = [];
    for await (const bytes of stream) {
      answers.push(decode(ServerReflectionResponseSchema, bytes as Buffer).messageResponse);
    }
    return answers;
  }

  it("lists the services, under both names of the protocol", async () => {
    for (const version of ["v1", "v1alpha"]) {
      const [answer] = await ask(version, { case: "listServices", value: "" });
      const { service } = answer!.value as { service: { name: string }[] };
      assert.deepEqual(
        service.map(({ name }) => name),
        [
          "tensorflow.serving.PredictionService",
          "tensorflow.serving.ModelService",
          "tensorflow.serving.SessionService",
          "inference.GRPCInferenceService",
          "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection",
        ],
      );
    }
  });

  it("tells a client that knows nothing how to predict, with tensors as messages", async () => {
    const [answer] = await ask("v1", {
      case: "fileContainingSymbol",
      value: "tensorflow.serving.PredictionService.Predict",
    });
    const { fileDescriptorProto } = answer!.value as { fileDescriptorProto: Uint8Array[] };
    const file: FileDescriptorProto[] = fileDescriptorProto.map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes),
    );
    const set = fromBinary(
      FileDescriptorSetSchema,
      toBinary(FileDescriptorSetSchema, { $typeName: "google.protobuf.FileDescriptorSet", file: file.reverse() }),
    );
    const registry = createFileRegistry(set);
    const predict = registry.getService("tensorflow.serving.PredictionService")!.method["predict"]!;
    const request = fromJson(
      predict.input,
      {
        modelSpec: { name: "m" },
        inputs: { x: { dtype: "DT_FLOAT", tensorShape: { dim: [{ size: 2 }] }, floatVal: [1, 2] } },
      },
      { registry },
    );
    const { body } = await callRaw(server.client, PREDICT, toBinary(predict.input, request));
    const response = toJson(predict.output, fromBinary(predict.output, body), { registry }) as {
      outputs: { y: { floatVal: number[] } };
    };
    assert.deepEqual(response.outputs.y.floatVal, [2.5, 3]);
    const input = registry.getMessage("tensorflow.serving.ExampleListWithContext")!;
    assert.deepEqual(
      input.fields.map((field) => field.message?.typeName),
      ["tensorflow.Example", "tensorflow.Example"],
    );
  });

  it("finds files and symbols by name, and says what it does not know", async () => {
    const known: readonly Ask[] = [
      { case: "fileByFilename", value: "tensorflow_serving/apis/model.proto" },
      { case: "fileContainingSymbol", value: "tensorflow.TensorProto" },
      { case: "fileContainingSymbol", value: "tensorflow.serving.ModelVersionStatus.State" },
      { case: "fileContainingSymbol", value: "grpc.health.v1.HealthCheckResponse.ServingStatus" },
    ];
    for (const answer of await ask("v1", ...known)) assert.equal(answer.case, "fileDescriptorResponse");
    const unknown: readonly Ask[] = [
      { case: "fileByFilename", value: "nope.proto" },
      { case: "fileContainingSymbol", value: "tensorflow.Nope" },
      { case: "allExtensionNumbersOfType", value: "tensorflow.Nope" },
      { case: "fileContainingExtension", value: { containingType: "tensorflow.TensorProto", extensionNumber: 1 } },
    ];
    for (const answer of await ask("v1", ...unknown)) {
      assert.equal((answer.value as { errorCode: number }).errorCode, 5);
    }
    const [none, extensions] = await ask(
      "v1",
      { case: undefined },
      { case: "allExtensionNumbersOfType", value: "tensorflow.TensorProto" },
    );
    assert.equal((none!.value as { errorCode: number }).errorCode, 3);
    assert.equal(extensions!.case, "allExtensionNumbersResponse");
  });

  it("refuses bytes that are no request", async () => {
    const stream = open("v1");
    const failed = failureOf(new Promise((_resolve, reject) => stream.on("error", reject).resume()));
    stream.write(Buffer.from("0aff", "hex"));
    assert.equal(await failed, "3: no ServerReflectionRequest");
  });

  it("reads on only as fast as its answers are taken", async () => {
    const asked = 300;
    const request = create(ServerReflectionRequestSchema, {
      messageRequest: { case: "fileContainingSymbol", value: "tensorflow.serving.PredictionService" },
    });
    const stream = open("v1");
    for (let i = 0; i < asked; i++) stream.write(Buffer.from(encode(ServerReflectionRequestSchema, request)));
    stream.end();
    let answered = 0;
    for await (const _answer of stream) answered++;
    assert.equal(answered, asked);
  });
});
