import assert from "node:assert/strict";
import { create, PredictRequestSchema, toBinary } from "@shardserve/api";
import { seededRandom, ServingError } from "@shardserve/core";
import { decodePredictRequest } from "../src/predict/wire.js";
import { checkBody } from "./json-check.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

/** Calls `run` with fresh randomness until the time is up; a failure names the seed. */
function fuzz(run: (random: ReturnType<typeof seededRandom>) => void): void {
  const endMs = performance.now() + FUZZ_MS;
  for (let seed = Math.floor(performance.timeOrigin) >>> 0; performance.now() < endMs; seed++) {
    try {
      run(seededRandom(seed));
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

function mutated(source: Buffer, random: ReturnType<typeof seededRandom>, alphabet?: string): Buffer {
  const bytes = Buffer.from(source);
  for (let i = random.uint32() % 4; i >= 0 && bytes.length > 0; i--) {
    const at = random.uint32() % bytes.length;
    bytes[at] = alphabet ? alphabet.charCodeAt(random.uint32() % alphabet.length) : random.uint32() & 255;
  }
  return random.uint32() % 4 === 0 ? bytes.subarray(0, random.uint32() % (bytes.length + 1)) : bytes;
}

type Field = { field: number; wire: number; value: Buffer | bigint };

/** All fields of a message; undefined for bytes that are none. Groups nest and are left out. */
function fieldsOf(bytes: Buffer): Field[] | undefined {
  let at = 0;
  class Bad extends Error {}
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Bad();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new Bad();
  };
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new Bad();
    return bytes.subarray(at, (at += length));
  };
  const next = (): Field => {
    const tag = Number(varint() & 0xffff_ffffn);
    const field = tag >>> 3;
    const wire = tag & 7;
    if (field === 0) throw new Bad();
    if (wire === 0) return { field, wire, value: varint() };
    if (wire === 1) return { field, wire, value: take(8) };
    if (wire === 5) return { field, wire, value: take(4) };
    if (wire === 2) return { field, wire, value: take(Number(varint() & 0xffff_ffffn)) };
    if (wire === 4) return { field, wire, value: 0n };
    if (wire !== 3) throw new Bad();
    for (;;) {
      const inner = next();
      if (inner.wire !== 4) continue;
      if (inner.field !== field) throw new Bad();
      return { field, wire, value: 0n };
    }
  };
  try {
    const fields: Field[] = [];
    while (at < bytes.length) {
      const field = next();
      if (field.wire === 4) return undefined;
      fields.push(field);
    }
    return fields;
  } catch (error) {
    if (error instanceof Bad) return undefined;
    throw error;
  }
}

function twinOf(bytes: Buffer) {
  let modelSpec:
    | { name: string; version: bigint | undefined; label: string | undefined; signatureName: string }
    | undefined;
  const inputs = new Map<string, Buffer>();
  const outputFilter: string[] = [];
  const top = fieldsOf(bytes);
  if (!top) return undefined;
  for (const { field, wire, value } of top) {
    if (wire !== 2 || field > 3) continue;
    if (field === 3) {
      outputFilter.push((value as Buffer).toString());
      continue;
    }
    const nested = fieldsOf(value as Buffer);
    if (!nested) return undefined;
    if (field === 2) {
      const of = (wanted: number) =>
        nested.filter((each) => each.field === wanted && each.wire === 2).at(-1)?.value as Buffer;
      inputs.set((of(1) ?? "").toString(), of(2) ?? Buffer.alloc(0));
      continue;
    }
    modelSpec ??= { name: "", version: undefined, label: undefined, signatureName: "" };
    for (const each of nested) {
      if (each.wire !== 2) continue;
      const text = (each.value as Buffer).toString();
      if (each.field === 1) modelSpec.name = text;
      if (each.field === 3) modelSpec.signatureName = text;
      if (each.field === 4) [modelSpec.label, modelSpec.version] = [text, undefined];
      if (each.field === 2) {
        const wrapped = fieldsOf(each.value as Buffer);
        if (!wrapped) return undefined;
        modelSpec.version ??= 0n;
        modelSpec.label = undefined;
        for (const { field, wire, value } of wrapped) {
          if (field === 1 && wire === 0) modelSpec.version = BigInt.asIntN(64, value as bigint);
        }
      }
    }
  }
  return { modelSpec, inputs: [...inputs], outputFilter };
}

describe("fuzz", () => {
  it("JSON bodies: no crash, and the twin agrees", function () {
    this.timeout(FUZZ_MS + 60_000);
    const seeds = [
      '{"instances": [[1.5, 2e3], [-3, 0.25]], "signature_name": "s"}',
      '{"inputs": {"x": [[[1], [2]], [[3], [4]]]}}',
      '{"inputs": ["a\\u00e9\\ud83d\\ude00", {"b64": "AAECAw=="}, "\\n"]}',
      '{"instances": [9223372036854775807, -1, 18446744073709551616, NaN, -Infinity]}',
    ].map((source) => Buffer.from(source));
    fuzz((random) => {
      const seed = seeds[random.uint32() % seeds.length]!;
      const dtype = (["float32", "int64", "string"] as const)[random.uint32() % 3]!;
      checkBody(
        mutated(seed, random, random.uint32() % 2 === 0 ? '[]{},:"0123456789.eE+-\\ naItrufl\0' : undefined),
        dtype,
      );
    });
  });

  it("PredictRequest bytes: no crash, and a twin that splits fields first agrees", function () {
    this.timeout(FUZZ_MS + 60_000);
    const seed = Buffer.from(
      toBinary(
        PredictRequestSchema,
        create(PredictRequestSchema, {
          modelSpec: { name: "model", signatureName: "s", versionChoice: { case: "versionLabel", value: "l" } },
          inputs: { x: Buffer.from("tensor"), y: new Uint8Array() },
          outputFilter: ["a", "b"],
        }),
      ),
    );
    fuzz((random) => {
      const bytes = mutated(seed, random);
      let mine: ReturnType<typeof decodePredictRequest> | undefined;
      try {
        mine = decodePredictRequest(bytes);
      } catch (error) {
        assert.ok(error instanceof ServingError && error.code === "INVALID_ARGUMENT", String(error));
      }
      const twin = twinOf(bytes);
      assert.equal(mine !== undefined, twin !== undefined, bytes.toString("hex"));
      if (!mine) return;
      const { modelSpec, inputs, outputFilter } = mine;
      const plain = { modelSpec, inputs: [...inputs].map(([key, value]) => [key, Buffer.from(value)]), outputFilter };
      assert.deepEqual(plain, twin, bytes.toString("hex"));
    });
  });
});
