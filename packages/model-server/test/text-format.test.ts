import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  AttrValueSchema,
  BatchingParametersSchema,
  create,
  equals,
  ExampleSchema,
  ModelServerConfigSchema,
  MonitoringConfigSchema,
  SamplingConfigSchema,
  SignatureDefSchema,
  SSLConfigSchema,
  TensorShapeProtoSchema,
} from "@shardserve/api";
import { parseTextFormat } from "@shardserve/model-server";

const SAMPLES = join(
  process.env["SHARDSERVE_SHARED"] ?? join(import.meta.dirname, "../../../../../shared"),
  "savedmodels/tf-serving/samples",
);

const parse = (schema: Parameters<typeof parseTextFormat>[0], text: string) => parseTextFormat(schema, text, "file");

const failure = (schema: Parameters<typeof parseTextFormat>[0], text: string) => {
  try {
    parse(schema, text);
  } catch (error) {
    return (error as Error).message;
  }
  return undefined;
};

describe("text format", () => {
  it("reads messages with braces and angles, lists, separators, comments and adjacent strings", () => {
    const config = parseTextFormat(
      ModelServerConfigSchema,
      `# models
      model_config_list: {
        config <
          name: "a" 'b'   # joined
            "c"
          base_path: "/m\\x41\\101\\n\\u00e9\\U0001F600\\"";
          model_platform: 'tensorflow',
          model_version_policy { specific { versions: [1, 0x10, 010] versions: 3 } }
          version_labels { key: "stable" value: 1 }
          version_labels: [{ value: 2, key: 'canary' }, { key: "zero" }]
        >
        config { name: "d" model_type: TENSORFLOW model_version_policy { all {} } }
      }`,
      "file",
    );
    const list = config.config.value as { config: unknown[] };
    assert.equal(config.config.case, "modelConfigList");
    const expected = create(ModelServerConfigSchema, {
      config: {
        case: "modelConfigList",
        value: {
          config: [
            {
              name: "abc",
              basePath: '/mAA\né\u{1F600}"',
              modelPlatform: "tensorflow",
              modelVersionPolicy: { policyChoice: { case: "specific", value: { versions: [1n, 16n, 8n, 3n] } } },
              versionLabels: { stable: 1n, canary: 2n, zero: 0n },
            },
            { name: "d", modelType: 1, modelVersionPolicy: { policyChoice: { case: "all", value: {} } } },
          ],
        },
      },
    });
    assert.equal(list.config.length, 2);
    assert.ok(equals(ModelServerConfigSchema, config, expected));
  });

  it("reads wrappers, bools, floats, enums by number and bytes", () => {
    const batching = parse(
      BatchingParametersSchema,
      `max_batch_size { value: 128 } batch_timeout_micros: { value: 0 } thread_pool_name { value: "p" }
       allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: t enable_large_batch_splitting { value: True }`,
    );
    assert.deepEqual(
      { ...batching },
      {
        ...create(BatchingParametersSchema, {
          maxBatchSize: 128n,
          batchTimeoutMicros: 0n,
          threadPoolName: "p",
          allowedBatchSizes: [32n, 128n],
          padVariableLengthInputs: true,
          enableLargeBatchSplitting: true,
        }),
      },
    );
    for (const [written, value] of [
      ["0.25", 0.25],
      ["-1e-3f", -0.001],
      [".5", 0.5],
      ["7", 7],
      ["-inf", Number.NEGATIVE_INFINITY],
      ["NaN", Number.NaN],
    ] as const) {
      const message = parseTextFormat(SamplingConfigSchema, `sampling_rate: ${written}`, "file");
      assert.equal(message.samplingRate, value, written);
    }
    const example = parseTextFormat(
      ExampleSchema,
      `features { feature { key: "b" value { bytes_list { value: "\\xff\\0" "z" } } }
                  feature { key: "f" value { float_list { value: [1.5, -2, 1e39] } } } }`,
      "file",
    );
    const { b, f } = example.features!.feature;
    assert.deepEqual(Buffer.from((b!.kind.value as { value: Uint8Array[] }).value[0]!), Buffer.from([255, 0, 122]));
    assert.deepEqual((f!.kind.value as { value: number[] }).value, [1.5, -2, Number.POSITIVE_INFINITY]);
    const signature = parseTextFormat(
      SignatureDefSchema,
      `inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } } inputs { key: "y" value { dtype: 3 } }`,
      "file",
    );
    assert.deepEqual([signature.inputs["x"]!.dtype, signature.inputs["y"]!.dtype], [1, 3]);
    assert.equal(signature.inputs["x"]!.tensorShape!.dim[0]!.size, -1n);
  });

  it("refuses what it does not know, with line and column", () => {
    const cases: [Parameters<typeof parseTextFormat>[0], string, string][] = [
      [
        MonitoringConfigSchema,
        "\n  prom: 1",
        'file:2:3: tensorflow.serving.MonitoringConfig has no field "prom"; it has prometheus_config',
      ],
      [MonitoringConfigSchema, "prometheus_config { enable: yes }", 'file:1:29: expected true or false, found "yes"'],
      [MonitoringConfigSchema, "prometheus_config { enable: true", 'file:1:33: expected "}", found the end'],
      [MonitoringConfigSchema, "prometheus_config { enable: true >", 'file:1:34: expected a field\'s name, found ">"'],
      [MonitoringConfigSchema, "prometheus_config { path 'x' }", 'file:1:26: expected ":", found a string'],
      [
        MonitoringConfigSchema,
        "prometheus_config {} prometheus_config {}",
        'file:1:22: the field "prometheus_config" is given twice',
      ],
      [MonitoringConfigSchema, "prometheus_config { path: 'x\n' }", "file:1:27: the string has no end on its line"],
      [MonitoringConfigSchema, "prometheus_config { path: '\\q' }", "file:1:28: unknown escape \\q"],
      [
        MonitoringConfigSchema,
        "prometheus_config { path: '\\ud800' }",
        "file:1:28: the escape \\ud800 is no character",
      ],
      [MonitoringConfigSchema, "prometheus_config { path: '\\400' }", "file:1:28: the escape \\400 is no byte"],
      [MonitoringConfigSchema, "prometheus_config { path: '\\xff' }", "file:1:27: the string is not valid UTF-8"],
      [MonitoringConfigSchema, "prometheus_config: [{}]", 'file:1:20: expected "{", found "["'],
      [MonitoringConfigSchema, "[a.b] {}", 'file:1:1: extensions and expanded Any messages are not read, found "["'],
      [MonitoringConfigSchema, "prometheus_config { @ }", 'file:1:21: unexpected character "@"'],
      [
        ModelServerConfigSchema,
        "model_config_list {} custom_model_config {}",
        'file:1:22: "custom_model_config" and "model_config_list" exclude each other (oneof config)',
      ],
      [
        ModelServerConfigSchema,
        "model_config_list { config { model_type: JAX } }",
        'file:1:42: tensorflow.serving.ModelType has no value "JAX"; it has MODEL_TYPE_UNSPECIFIED, TENSORFLOW, OTHER',
      ],
      [
        ModelServerConfigSchema,
        "model_config_list { config { version_labels { k: 1 } } }",
        'file:1:47: an entry of "version_labels" has the fields key and value only',
      ],
      [
        ModelServerConfigSchema,
        "model_config_list { config { model_version_policy { latest { num_versions: -1 } } } }",
        "file:1:76: -1 lies outside 0 to 4294967295",
      ],
      [
        BatchingParametersSchema,
        "allowed_batch_sizes: 9223372036854775808",
        "file:1:22: 9223372036854775808 lies outside -9223372036854775808 to 9223372036854775807",
      ],
      [BatchingParametersSchema, "allowed_batch_sizes: 1.5", 'file:1:22: expected an integer, found "1.5"'],
      [BatchingParametersSchema, "allowed_batch_sizes: 12ab", "file:1:22: a number must not run into a name"],
      [BatchingParametersSchema, "allowed_batch_sizes: [1,]", 'file:1:25: expected an integer, found "]"'],
      [BatchingParametersSchema, "pad_variable_length_inputs: 2", "file:1:29: 2 lies outside 0 to 1"],
      [SamplingConfigSchema, "sampling_rate: 0x10", 'file:1:16: expected a number, found "0x10"'],
      [TensorShapeProtoSchema, "dim { size { } }", 'file:1:12: expected ":", found "{"'],
    ];
    for (const [schema, text, message] of cases) assert.equal(failure(schema, text), message);
  });

  it("bounds the depth", () => {
    const nested = (levels: number) => `${"func { attr { value { ".repeat(levels)}${"} } } ".repeat(levels)}`;
    assert.equal(failure(AttrValueSchema, nested(20)), undefined);
    assert.match(failure(AttrValueSchema, nested(30))!, /more than 64 messages within each other/);
  });

  it("reads TensorFlow Serving's own samples and refuses the bad one", function () {
    if (!existsSync(SAMPLES)) {
      console.log(`skipped: ${SAMPLES} is not here`);
      return this.skip();
    }
    const sample = (name: string) => readFileSync(join(SAMPLES, name), "utf8");
    const good = parseTextFormat(ModelServerConfigSchema, sample("good_model_config.txt"), "good");
    const { config } = good.config.value as { config: { name: string; basePath: string }[] };
    assert.deepEqual(
      config.map(({ name, basePath }) => [name, basePath]),
      [
        ["half_plus_two", "${TEST_HALF_PLUS_TWO_DIR}"],
        ["half_plus_three", "${TEST_HALF_PLUS_THREE_DIR}"],
      ],
    );
    assert.match(
      failure(ModelServerConfigSchema, sample("bad_model_config.txt"))!,
      /^file:1:1: tensorflow\.serving\.ModelServerConfig has no field "improperly"/,
    );
    assert.equal(parseTextFormat(BatchingParametersSchema, sample("batching_config.txt"), "b").maxBatchSize, 128n);
    assert.equal(
      parseTextFormat(MonitoringConfigSchema, sample("monitoring_config.txt"), "m").prometheusConfig!.enable,
      true,
    );
    assert.equal(failure(SSLConfigSchema, "server_key: 'k' client_verify: true"), undefined);
  });
});
