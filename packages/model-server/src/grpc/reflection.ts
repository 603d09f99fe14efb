import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import {
  create,
  fromBinary,
  GRPCInferenceService,
  Health,
  type MessageInitShape,
  ModelService,
  PredictionService,
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  SessionService,
  toBinary,
} from "@shardserve/api";
import { DescriptorIndex } from "./descriptors.js";

/** grpc.reflection.v1.ServerReflection, also under its old name v1alpha (the same on the wire). */
export class ReflectionService {
  readonly #index = new DescriptorIndex([
    PredictionService,
    ModelService,
    SessionService,
    GRPCInferenceService,
    Health,
    ServerReflection,
  ]);

  readonly #streams = new Set<ServerDuplexStream<Buffer, Buffer>>();

  /** Ends all streams: each request that came was answered at once. */
  close(): void {
    for (const stream of this.#streams) stream.end();
    this.#streams.clear();
  }

  /** One answer for each request; the next one is read only when the client has taken the answers before. */
  info(stream: ServerDuplexStream<Buffer, Buffer>): void {
    this.#streams.add(stream);
    stream.on("cancelled", () => this.#streams.delete(stream));
    stream.on("data", (bytes: Buffer) => {
      const answer = this.#answer(bytes);
      if (!answer) {
        this.#streams.delete(stream);
        stream.emit("error", { code: status.INVALID_ARGUMENT, details: "no ServerReflectionRequest" });
      } else if (!stream.write(answer)) {
        stream.pause();
        stream.once("drain", () => stream.resume());
      }
    });
    stream.on("end", () => {
      this.#streams.delete(stream);
      stream.end();
    });
  }

  #answer(bytes: Buffer): Buffer | undefined {
    let request: ServerReflectionRequest;
    try {
      request = fromBinary(ServerReflectionRequestSchema, bytes);
    } catch {
      return undefined; // answered as INVALID_ARGUMENT
    }
    const response = create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: this.#respond(request.messageRequest),
    });
    return Buffer.from(toBinary(ServerReflectionResponseSchema, response));
  }

  #respond(asked: ServerReflectionRequest["messageRequest"]): MessageResponseInit {
    switch (asked.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: this.#index.services.map((name) => ({ name })) },
        };
      case "fileByFilename":
        return files(this.#index.file(asked.value), asked.value);
      case "fileContainingSymbol":
        return files(this.#index.fileOfSymbol(asked.value), asked.value);
      case "fileContainingExtension":
        return failure(status.NOT_FOUND, `no extensions of ${asked.value.containingType}`);
      case "allExtensionNumbersOfType":
        return this.#index.fileOfSymbol(asked.value)
          ? { case: "allExtensionNumbersResponse", value: { baseTypeName: asked.value } }
          : failure(status.NOT_FOUND, `unknown type ${asked.value}`);
      default:
        return failure(status.INVALID_ARGUMENT, "the request asks for nothing");
    }
  }
}

type MessageResponseInit = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

function files(found: readonly Uint8Array[] | undefined, name: string): MessageResponseInit {
  if (!found) return failure(status.NOT_FOUND, `unknown: ${name}`);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: [...found] } };
}

function failure(errorCode: number, errorMessage: string): MessageResponseInit {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
