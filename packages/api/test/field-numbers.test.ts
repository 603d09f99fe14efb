import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as api from "../src/index.js";
import { SERVING_FIELDS } from "./serving-fields.js";

const shared = process.env["SHARDSERVE_SHARED"] ?? fileURLToPath(new URL("../../../../../shared", import.meta.url));
const tensorflowFields = `${shared}/reference/tf-protos.txt`;

const messages = new Map<string, api.DescMessage>();
for (const exported of Object.values(api)) {
  if (typeof exported === "object" && "kind" in exported && exported.kind === "message") {
    messages.set(exported.typeName, exported);
  }
}

describe("field numbers", () => {
  it("of package tensorflow.serving are TensorFlow Serving's", () => {
    const wanted = new Map<string, string[]>();
    for (const [, name, fields] of SERVING_FIELDS.matchAll(/^([A-Z][\w.]*):([^A-Z]*)$/gm)) {
      wanted.set(`tensorflow.serving.${name}`, fields!.trim().split(/\s+/).filter(Boolean).sort());
    }
    const ours = [...messages].filter(([name]) => name.startsWith("tensorflow.serving."));
    assert.deepEqual(ours.map(([name]) => name).sort(), [...wanted.keys()].sort());
    for (const [name, message] of ours) {
      const fields = message.fields.map((field) => `${field.name}=${field.number}`).sort();
      assert.deepEqual(fields, wanted.get(name), name);
    }
  });

  it("of package tensorflow are TensorFlow's, by name, number and type", function () {
    if (!existsSync(tensorflowFields)) {
      console.log(`skipped: ${tensorflowFields} is absent`);
      return this.skip();
    }
    const text = readFileSync(tensorflowFields, "utf8");
    let compared = 0;
    for (const [, name, body] of text.matchAll(/^(\w+)\{(.*)\}$/gm)) {
      const wanted = body!.split("; ").sort();
      const found = [...messages.values()].filter(
        (message) =>
          message.typeName.startsWith("tensorflow.") &&
          message.name === name &&
          !message.typeName.includes(".serving."),
      );
      assert.ok(found.length > 0, `${name} is not declared`);
      for (const message of found) {
        assert.deepEqual(message.fields.map((field) => describeField(field, wanted)).sort(), wanted, message.typeName);
        compared++;
      }
    }
    assert.ok(compared > 50, `only ${compared} messages were compared`);
  });

  it("keep TensorProto fields undecoded", () => {
    const request = api.create(api.PredictRequestSchema, { inputs: { x: Uint8Array.of(8, 1) } });
    const back = api.fromBinary(api.PredictRequestSchema, api.toBinary(api.PredictRequestSchema, request));
    assert.deepEqual(back.inputs["x"], Uint8Array.of(8, 1));
  });

  it("that nothing here declares survive a rewrite", () => {
    const unknown = Uint8Array.from([0xfa, 0x3f, 2, 0x61, 0x62]); // field 1023, "ab"
    const model = api.fromBinary(api.SavedModelSchema, Uint8Array.from([8, 1, ...unknown]));
    assert.deepEqual(api.toBinary(api.SavedModelSchema, model), Uint8Array.from([8, 1, ...unknown]));
  });
});

describe("services", () => {
  it("have the methods that clients call", () => {
    const methods = [api.PredictionService, api.ModelService, api.SessionService, api.Health, api.RowService].flatMap(
      (service) => service.methods.map((method) => `/${service.typeName}/${method.name}`),
    );
    assert.deepEqual(methods, [
      "/tensorflow.serving.PredictionService/Classify",
      "/tensorflow.serving.PredictionService/Regress",
      "/tensorflow.serving.PredictionService/Predict",
      "/tensorflow.serving.PredictionService/MultiInference",
      "/tensorflow.serving.PredictionService/GetModelMetadata",
      "/tensorflow.serving.ModelService/GetModelStatus",
      "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
      "/tensorflow.serving.SessionService/SessionRun",
      "/grpc.health.v1.Health/Check",
      "/grpc.health.v1.Health/Watch",
      "/shardserve.v1.RowService/Lookup",
    ]);
  });
});

/** `name*:type=number` as the table writes it; a `bytes` that stands for a message takes the table's type. */
function describeField(field: api.DescMessage["fields"][number], wanted: readonly string[]): string {
  const repeated = field.fieldKind === "list" ? "*" : "";
  const text = `${field.name}${repeated}:${typeOf(field)}=${field.number}`;
  if (!text.includes("bytes")) return text;
  const pattern = new RegExp(`^${field.name}\\*?:(map<string,TensorProto>|[A-Z]\\w+)=${field.number}$`);
  return wanted.find((line) => pattern.test(line) && line.includes("*") === (repeated === "*")) ?? text;
}

function typeOf(field: api.DescMessage["fields"][number]): string {
  if (field.fieldKind === "map") {
    const value =
      field.mapKind === "scalar"
        ? SCALARS[field.scalar]
        : field.mapKind === "enum"
          ? field.enum.name
          : field.message.name;
    return `map<${SCALARS[field.mapKey]},${value}>`;
  }
  if (field.message) return field.message.name;
  if (field.enum) return field.enum.name;
  return SCALARS[field.scalar!] ?? String(field.scalar);
}

/** google.protobuf.FieldDescriptorProto.Type by number. */
const SCALARS: Readonly<Record<number, string>> = {
  1: "double",
  2: "float",
  3: "int64",
  4: "uint64",
  5: "int32",
  7: "fixed32",
  8: "bool",
  9: "string",
  12: "bytes",
  13: "uint32",
};
