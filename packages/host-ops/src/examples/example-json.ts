/** tf.Examples as JSON. */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ExampleSchema, type Feature, fromJson } from "@shardserve/api";
import { StringColumn, tensor } from "@shardserve/tensor";
import { invalid } from "../call/errors.js";
import type { Kernel } from "../call/op-call.js";

const decoder = new TextDecoder();

/** The bytes that TensorFlow's transcoder makes: features in their order, and every number with a tag of its own. */
function exampleBytes(json: string): Uint8Array {
  const writer = new BinaryWriter();
  const { features } = fromJson(ExampleSchema, JSON.parse(json));
  if (!features) return writer.finish();
  writer.tag(1, WireType.LengthDelimited).fork();
  for (const [name, feature] of Object.entries(features.feature)) {
    writer.tag(1, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(name);
    writer.tag(2, WireType.LengthDelimited).fork();
    writeFeature(writer, feature);
    writer.join().join();
  }
  return writer.join().finish();
}

function writeFeature(writer: BinaryWriter, { kind }: Feature): void {
  switch (kind.case) {
    case "bytesList":
      writer.tag(1, WireType.LengthDelimited).fork();
      for (const bytes of kind.value.value) writer.tag(1, WireType.LengthDelimited).bytes(bytes);
      break;
    case "floatList":
      writer.tag(2, WireType.LengthDelimited).fork();
      for (const value of kind.value.value) writer.tag(1, WireType.Bit32).float(value);
      break;
    case "int64List":
      writer.tag(3, WireType.LengthDelimited).fork();
      for (const value of kind.value.value) writer.tag(1, WireType.Varint).int64(value);
      break;
    default:
      return;
  }
  writer.join();
}

const decodeJsonExample: Kernel = (op) => {
  const texts = op.strings(0);
  const out: Uint8Array[] = [];
  for (let i = 0; i < texts.length; i++) {
    try {
      out.push(exampleBytes(decoder.decode(texts.at(i))));
    } catch (error) {
      throw invalid(`Error while parsing JSON: ${(error as Error).message}`);
    }
  }
  return [tensor("string", op.tensor(0).shape, StringColumn.from(out))];
};

export const EXAMPLE_JSON_KERNELS: Readonly<Record<string, Kernel>> = { DecodeJSONExample: decodeJsonExample };
