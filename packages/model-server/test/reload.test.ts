import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import {
  create,
  GetModelStatusRequestSchema,
  GetModelStatusResponseSchema,
  ModelServerConfigSchema,
  ReloadConfigRequestSchema,
  ReloadConfigResponseSchema,
} from "@shardserve/api";
import { type Logger, silentLogger } from "@shardserve/core";
import {
  ConfigFilePoll,
  ModelCatalog,
  ModelServer,
  parseTextFormat,
  readModelConfigFile,
} from "@shardserve/model-server";
import { Manager } from "@shardserve/servable";
import { tensor } from "@shardserve/tensor";
import { eventually } from "@shardserve/testkit";
import { call, failureOf, predict } from "./harness.js";
import { halfPlus } from "./models.js";

const RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest";
const STATUS = "/tensorflow.serving.ModelService/GetModelStatus";

/** A server over directories: version V of any model answers x / 2 + V; one whose directory holds "bad" fails. */
async function startCatalog(
  options: { isUnavailableLabelAllowed?: boolean; root?: string; pollIntervalMs?: number } = {},
) {
  const base = await mkdtemp(join(tmpdir(), "shardserve-reload-"));
  const bad = new Set<string>();
  const hold = { until: Promise.resolve() };
  const manager = new Manager({
    loader: {
      load: async ({ version }, path) => {
        await hold.until;
        if (bad.has(path)) throw new Error(`${version} is bad`);
        return halfPlus(version);
      },
    },
    loadRetriesMax: 0,
  });
  await manager.start();
  const catalog = new ModelCatalog({
    manager,
    pollIntervalMs: options.pollIntervalMs ?? 0,
    isUnavailableLabelAllowed: options.isUnavailableLabelAllowed ?? false,
    ...(options.root !== undefined && { rootDir: join(base, options.root) }),
  });
  await catalog.start();
  const server = new ModelServer({
    manager,
    grpcPort: 0,
    host: "127.0.0.1",
    reload: (config, { signal }) => catalog.apply(config, { signal }),
  });
  await server.start();
  const client = new Client(`127.0.0.1:${server.grpcPort}`, credentials.createInsecure());
  return {
    base,
    bad,
    hold,
    manager,
    catalog,
    client,
    async versions(name: string, ...versions: number[]) {
      for (const version of versions) await mkdir(join(base, name, String(version)), { recursive: true });
    },
    config: (models: string) =>
      parseTextFormat(ModelServerConfigSchema, `model_config_list { ${models.replaceAll("$", base)} }`, "test"),
    reload(models: string) {
      const config = this.config(models);
      return call(client, RELOAD, ReloadConfigRequestSchema, ReloadConfigResponseSchema, { config });
    },
    async ask(name: string, choice: object = { case: undefined }) {
      const modelSpec = { name, versionChoice: choice } as Parameters<typeof predict>[2];
      const { outputs } = await predict(client, { x: tensor("float32", [1], Float32Array.of(0)) }, modelSpec);
      return (outputs["y"]!.data as Float32Array)[0];
    },
    async states(name: string) {
      const status = await call(client, STATUS, GetModelStatusRequestSchema, GetModelStatusResponseSchema, {
        modelSpec: { name },
      });
      return status.modelVersionStatus.map((each) => `${each.version} ${each.state}`);
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await server.close();
      await catalog.close();
      await manager.close();
      await rm(base, { recursive: true });
    },
  };
}

const model = (name: string, more = "", path = `$/${name}`) =>
  `config { name: "${name}" base_path: "${path}" model_platform: "tensorflow" ${more} }`;
const label = (value: string) => ({ case: "versionLabel", value });

describe("model configuration", () => {
  it("serves the versions that each model's policy wants, and what a reload adds or leaves out", async () => {
    await using served = await startCatalog();
    await served.versions("a", 1, 2, 3);
    await served.versions("b", 5, 6, 7);
    await served.catalog.apply(
      served.config(
        model("a", "model_version_policy { all {} }") +
          model("b", "model_version_policy { specific { versions: [5, 6] } }"),
      ),
    );
    assert.equal(await served.ask("a"), 3);
    assert.equal(await served.ask("b"), 6);
    await served.versions("c", 1, 2, 3);
    const reply = await served.reload(model("b") + model("c", "model_version_policy { latest { num_versions: 2 } }"));
    assert.equal(reply.status!.errorCode, 0);
    assert.ok((await served.ask("c"))! >= 2);
    assert.equal(await failureOf(served.ask("a")), "5: Servable not found for request: Latest(a)");
    for (const [name, states] of [
      ["a", ["3 50", "2 50", "1 50"]],
      ["b", ["7 30", "6 50", "5 50"]],
      ["c", ["3 30", "2 30"]],
    ] as const) {
      while (JSON.stringify(await served.states(name)) !== JSON.stringify(states)) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
    // A model that comes back is waited for, whatever became of it before.
    await served.reload(model("a") + model("b") + model("c"));
    assert.equal(await served.ask("a"), 3);
  });

  it("keeps TensorFlow Serving's rules of labels for models that are served already", async () => {
    await using served = await startCatalog();
    await served.versions("a", 1, 2);
    const all = "model_version_policy { all {} }";
    const labels = (text: string) => model("a", all + text);
    await served.reload(labels('version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'));
    assert.equal(await served.ask("a", label("stable")), 1);
    assert.equal(await served.ask("a", label("canary")), 2);
    assert.equal(
      await failureOf(served.reload(labels('version_labels { key: "stable" value: 9 }'))),
      "9: Request to assign label to version 9 of model a, which is not currently available for inference",
    );
    assert.equal(await served.ask("a", label("canary")), 2, "a refused reload changes nothing");
    await served.reload(labels('version_labels { key: "stable" value: 2 }'));
    assert.equal(await served.ask("a", label("stable")), 2);
    assert.equal(
      await failureOf(served.ask("a", label("canary"))),
      "3: Unrecognized servable version label: canary",
      "a label that is left out is gone",
    );
  });

  it("lets a new label name a version that is not there, when that is allowed", async () => {
    await using served = await startCatalog({ isUnavailableLabelAllowed: true });
    await served.versions("a", 1);
    const at = (version: number) => model("a", `version_labels { key: "next" value: ${version} }`);
    await served.reload(at(9));
    assert.equal(await failureOf(served.ask("a", label("next"))), "5: Servable not found for request: Specific(a, 9)");
    await served.reload(at(9));
    assert.match(await failureOf(served.reload(at(8))), /^9: Request to assign label to version 8 of model a/);
    await served.reload(at(1));
    assert.equal(await served.ask("a", label("next")), 1);
  });

  it("labels new models that become available only after the reload", async () => {
    await using served = await startCatalog({ pollIntervalMs: 5 });
    await served.versions("broken", 1);
    served.bad.add(join(served.base, "broken", "1"));
    const labelled = (name: string) => model(name, 'version_labels { key: "stable" value: 2 }');
    const models = labelled("broken") + labelled("gone");
    assert.match(await failureOf(served.reload(models)), /broken version: 1\}.* Could not find base path .*gone/);
    assert.equal((await served.reload(models)).status!.errorCode, 0, "the labels are known");
    for (const name of ["broken", "gone"]) {
      await served.versions(name, 2);
      await eventually(() => assert.ok(served.manager.isAvailable(name)));
      assert.equal(await served.ask(name, label("stable")), 2);
    }
  });

  it("labels new models also where nobody waits for them any more", async () => {
    await using served = await startCatalog({ pollIntervalMs: 5 });
    await served.versions("slow", 1);
    let go: () => void = () => undefined;
    served.hold.until = new Promise((resolve) => (go = resolve));
    const config = served.config(model("slow", 'version_labels { key: "stable" value: 1 }'));
    const gone = new AbortController();
    const reload = served.catalog.apply(config, { signal: gone.signal });
    await eventually(() => assert.equal(served.manager.statuses("slow")?.[0]?.state, "LOADING"));
    gone.abort(new Error("the client's deadline"));
    await assert.rejects(reload, /the client's deadline/);
    go();
    await eventually(() => assert.ok(served.manager.isAvailable("slow")));
    assert.equal(await served.ask("slow", label("stable")), 1);
  });

  it("refuses what is no list of distinct models with paths", async () => {
    await using served = await startCatalog();
    await served.versions("a", 1);
    await served.reload(model("a"));
    for (const [models, failure] of [
      [model("a") + model("a"), "3: Illegal to list model a multiple times in config list"],
      [model("a", "", "models/a"), "3: Expected model a to have an absolute path or URI; got base_path()=models/a"],
      ['config { name: "a" base_path: "$/a" }', /^3: Illegal setting neither ModelServerConfig::model_type/],
      [model("a", "model_type: TENSORFLOW"), /^3: Illegal setting both ModelServerConfig::model_type/],
      ['config { name: "a" base_path: "$/a" model_platform: "tflow" }', /^3: model a: the platform tflow is unknown/],
      [model("", "", "$/a"), /^3: the model at base_path .* has no name/],
      [
        model("a", "", "s3://bucket/a"),
        /^3: model a: base_path s3:\/\/bucket\/a is neither a path of this machine nor/,
      ],
      [model("a", "logging_config {}"), /^3: No request-logger-creator provided\./],
      [model("a", "model_version_policy { specific { versions: -1 } }"), /^3: model a: version -1 lies outside/],
    ] as const) {
      const actual = await failureOf(served.reload(models));
      if (typeof failure === "string") assert.equal(actual, failure);
      else assert.match(actual, failure);
    }
    for (const config of [
      undefined,
      create(ModelServerConfigSchema),
      create(ModelServerConfigSchema, { config: { case: "customModelConfig", value: {} } }),
    ]) {
      assert.equal(
        await failureOf(
          call(served.client, RELOAD, ReloadConfigRequestSchema, ReloadConfigResponseSchema, config ? { config } : {}),
        ),
        "3: ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
      );
    }
    await assert.rejects(
      served.catalog.apply(create(ModelServerConfigSchema, { config: { case: "customModelConfig", value: {} } })),
      /Cannot transition to requested config\. It is only legal to transition from one ModelConfigList to another\./,
    );
    await served.catalog.apply(create(ModelServerConfigSchema));
    assert.equal(await served.ask("a"), 1, "an empty configuration is no action");
  });

  it("keeps base paths inside the root, where there is one", async () => {
    await using served = await startCatalog({ root: "inside" });
    await served.versions("inside/a", 3);
    await served.versions("inside-out", 1);
    await served.reload(model("a", "", "a") + model("b", "", "$/inside/a"));
    assert.equal(await served.ask("a"), 3);
    assert.equal(await served.ask("b"), 3);
    for (const path of ["$/inside-out", "../inside-out", "a/../../inside-out", "..", ".", "", "/"]) {
      assert.match(await failureOf(served.reload(model("c", "", path))), /^3: model c: base_path .* does not lie in /);
    }
    await served.versions("inside/..b", 1);
    await served.reload(model("d", "", "..b"));
    assert.equal(await served.ask("d"), 1);
  });

  it("tells which models did not come, and serves the others", async () => {
    await using served = await startCatalog();
    await served.versions("good", 1);
    await served.versions("broken", 4);
    await served.versions("empty");
    await mkdir(join(served.base, "empty"));
    served.bad.add(join(served.base, "broken", "4"));
    const models = model("good") + model("broken");
    assert.equal(
      await failureOf(served.reload(models)),
      "2: 1 model(s) did not become available: {{name: broken version: 4} due to error: INTERNAL: 4 is bad}, }",
    );
    assert.equal(await served.ask("good"), 1);
    const failure = await failureOf(served.reload(models + model("gone") + model("empty")));
    assert.match(failure, /^2: Could not find base path .*gone for servable gone with error ENOENT/);
    assert.match(failure, /No versions of servable empty found under base path/);
    assert.equal(await served.ask("good"), 1);
  });

  it("follows its file, and keeps what it has while the file is bad", async () => {
    const complaints: string[] = [];
    await using served = await startCatalog();
    await served.versions("a", 1);
    await served.versions("b", 2);
    const path = join(served.base, "models.config");
    const write = (text: string) => writeFile(path, text.replaceAll("$", served.base));
    await write(`model_config_list { ${model("a")} }`);
    const applied = await readModelConfigFile(path);
    await served.catalog.apply(applied);
    const poll = new ConfigFilePoll({
      what: "model configuration",
      schema: ModelServerConfigSchema,
      path,
      applied,
      intervalMs: 5,
      apply: (config, options) => served.catalog.apply(config, options),
      logger: { ...silentLogger, error: (_fields: object, message: string) => complaints.push(message) } as Logger,
    });
    await poll.start();
    const until = async (isDone: () => boolean) => {
      while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 2));
    };
    await write("model_config_list {\n confg {} }");
    await until(() => complaints.length > 0);
    await write(`model_config_list { ${model("a")} ${model("b")} }`);
    await until(() => served.manager.isAvailable("b"));
    assert.equal(await served.ask("a"), 1);
    await poll.close();
    assert.equal(complaints.length, 1);
    assert.match(complaints[0]!, /models\.config:2:2: tensorflow\.serving\.ModelConfigList has no field "confg"/);
  });
});
