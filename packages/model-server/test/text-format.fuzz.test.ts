import assert from "node:assert/strict";
import { BatchingParametersSchema, ModelServerConfigSchema, SignatureDefSchema } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { parseTextFormat } from "@shardserve/model-server";
import fc from "fast-check";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

const WORDS = [
  "model_config_list",
  "config",
  "name",
  "base_path",
  "version_labels",
  "key",
  "value",
  "model_version_policy",
  "latest",
  "num_versions",
  "specific",
  "versions",
  "all",
  "inputs",
  "dtype",
  "DT_FLOAT",
  "tensor_shape",
  "dim",
  "size",
  "{",
  "}",
  "<",
  ">",
  "[",
  "]",
  ":",
  ",",
  ";",
  "-",
  "#",
  "\n",
  " ",
  '"a"',
  "'b'",
  '"\\',
  '\\x4"',
  "'\\777'",
  "1",
  "0x",
  "0xg",
  "1e5",
  ".5",
  "nan",
  "inf",
  "true",
  "99999999999999999999",
  "max_batch_size",
  "allowed_batch_sizes",
  "\0",
  "é",
  "😀",
  "{".repeat(70),
  "model_config_list { config { name: 'a' } }",
];

describe("text format, fuzzed", () => {
  it("reads any text or refuses it with a position", () => {
    const soup = fc.array(fc.oneof(fc.constantFrom(...WORDS), fc.string({ maxLength: 4 })), { maxLength: 60 });
    const schemas = [ModelServerConfigSchema, BatchingParametersSchema, SignatureDefSchema];
    fc.assert(
      fc.property(soup, fc.constantFrom("", " "), (words, glue) => {
        for (const schema of schemas) {
          try {
            parseTextFormat(schema, words.join(glue), "f");
          } catch (error) {
            assert.ok(isServingError(error, "CONFIG_INVALID"), String((error as Error).stack));
            assert.match(error.message, /^f:\d+:\d+: ./);
          }
        }
      }),
      { interruptAfterTimeLimit: FUZZ_MS, numRuns: 1e9 },
    );
  });
});
