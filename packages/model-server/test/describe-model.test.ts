import assert from "node:assert/strict";
import { create, SignatureDefMapSchema, toBinary } from "@shardserve/api";
import { modelMetadataJson } from "../src/predict/describe-model.js";

function metadataOf(...signatures: readonly string[]): Uint8Array {
  const signatureDef = Object.fromEntries(signatures.map((name) => [name, { methodName: "predict" }]));
  return toBinary(SignatureDefMapSchema, create(SignatureDefMapSchema, { signatureDef }));
}

describe("the metadata text", () => {
  it("is made once of a version's bytes, and anew of another version's", () => {
    const first = { id: { name: "m", version: 1 }, model: { metadata: metadataOf("score") } };
    const text = modelMetadataJson(first);
    assert.deepEqual(parsed(text), { version: "1", signatures: ["score"] });
    first.model.metadata.fill(0xff); // whoever reads them again fails
    assert.equal(modelMetadataJson(first), text);

    const second = { id: { name: "m", version: 2 }, model: { metadata: metadataOf("rank", "score") } };
    assert.deepEqual(parsed(modelMetadataJson(second)), { version: "2", signatures: ["rank", "score"] });
    assert.equal(modelMetadataJson(first), text);
  });
});

function parsed(text: string): { readonly version: string; readonly signatures: readonly string[] } {
  const { model_spec, metadata } = JSON.parse(text) as {
    model_spec: { version: string };
    metadata: { signature_def: { signature_def: Record<string, unknown> } };
  };
  return { version: model_spec.version, signatures: Object.keys(metadata.signature_def.signature_def).sort() };
}
