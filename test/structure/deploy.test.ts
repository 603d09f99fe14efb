import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseAllDocuments } from "yaml";
import { FlagTables } from "./flag-tables.js";
import { registeredMetrics } from "./metrics.js";
import { filesUnder, REPO } from "./sources.js";

const DEPLOY = filesUnder(join(REPO, "deploy")).map((file) => ({
  path: relative(REPO, file),
  text: readFileSync(file, "utf8"),
}));
const MANIFESTS = DEPLOY.filter(({ path }) => path.endsWith(".yaml"));
const DOCUMENTS = ["README.md", "docs/operations.md", "deploy/README.md"].map((path) => ({
  path,
  text: readFileSync(join(REPO, path), "utf8"),
}));

describe("deploy/", () => {
  let flags: FlagTables;
  before(async () => {
    flags = await FlagTables.read();
  });

  it("YAML parses, without duplicate keys or unresolved anchors", () => {
    assert.ok(MANIFESTS.length > 0);
    const errors = MANIFESTS.flatMap(({ path, text }) =>
      parseAllDocuments(text, { merge: true }).flatMap((document) =>
        [...document.errors, ...document.warnings].map((error) => `${path}: ${error.message}`),
      ),
    );
    assert.deepEqual(errors, []);
  });

  it("JSON parses", () => {
    for (const { path, text } of DEPLOY.filter((file) => file.path.endsWith(".json")))
      assert.doesNotThrow(() => JSON.parse(text), path);
  });

  it("containers are started with commands and flags that the program has", () => {
    const used = MANIFESTS.flatMap(({ path, text }) =>
      parseAllDocuments(text, { merge: true }).flatMap((document) =>
        argumentLists(document.toJS()).map((args) => ({ path, args })),
      ),
    ).filter(({ args }) => flags.commands.includes(args[0]!));
    assert.ok(used.length >= 7, `found only ${used.length} command lines: 5 in compose, 2 in Kubernetes`);
    assert.deepEqual(
      used.flatMap(({ path, args }) => flags.unknown(args).map((flag) => `${path}: ${args[0]} has no ${flag}`)),
      [],
    );
  });

  it("containers that are killed when they do not answer are given time to start", () => {
    const probed = MANIFESTS.flatMap(({ text }) =>
      parseAllDocuments(text, { merge: true }).flatMap((document) => containersOf(document.toJS())),
    ).filter((container) => container["livenessProbe"] !== undefined);
    assert.equal(probed.length, 2, "shards and executors");
    for (const { name, startupProbe } of probed) assert.ok(startupProbe, `${String(name)} has no startupProbe`);
  });

  it("etcd does not keep the history of every key until its quota is used up", () => {
    const compose = MANIFESTS.find(({ path }) => path.endsWith("compose.yaml"))!;
    const { services } = parseAllDocuments(compose.text, { merge: true })[0]!.toJS() as {
      services: { etcd: { command: string[] } };
    };
    assert.ok(services.etcd.command.some((flag) => flag.startsWith("--auto-compaction-retention=")));
  });

  it("command lines of the Dockerfile and of the documents use flags that the program has", () => {
    const dockerfile = DEPLOY.find(({ path }) => path.endsWith("Dockerfile"))!;
    const lines = [dockerfile, ...DOCUMENTS].flatMap(({ path, text }) =>
      commandLines(text).map((args) => ({ path, args })),
    );
    assert.ok(lines.length > 10, `found only ${lines.length} command lines`);
    assert.deepEqual(
      lines.flatMap(({ path, args }) =>
        flags.commands.includes(args[0]!)
          ? flags.unknown(args).map((flag) => `${path}: ${args[0]} has no ${flag}`)
          : [`${path}: there is no command ${args[0]}`],
      ),
      [],
    );
  });

  it("dashboards and alerts ask for metrics that are registered, all of them at least once", () => {
    const known = new Map(registeredMetrics().map((metric) => [metric.name, metric.type]));
    const asked = new Set<string>();
    const wrong: string[] = [];
    for (const { path, text } of DEPLOY) {
      if (!/dashboards\/.*\.json$|alerts\.yaml$/.test(path)) continue;
      for (const [name] of text.matchAll(/:tensorflow:serving:\w+|\bshardserve_\w+/g)) {
        const base = known.has(name) ? name : name.replace(/_(bucket|sum|count)$/, "");
        if (known.get(base) === (base === name ? known.get(name) : "histogram") && known.has(base)) asked.add(base);
        else wrong.push(`${path}: ${name}`);
      }
    }
    assert.deepEqual(wrong, []);
    assert.deepEqual(
      [...known.keys()].filter((name) => !asked.has(name)),
      [],
      "metrics that no panel and no alert shows",
    );
  });
});

/** Every `command` and `args` list of texts, however deep. */
function argumentLists(value: unknown): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    (key === "command" || key === "args") && Array.isArray(child) && child.every((item) => typeof item === "string")
      ? [child]
      : argumentLists(child),
  );
}

/** Every entry of every list `containers`, however deep. */
function containersOf(value: unknown): Record<string, unknown>[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === "containers" && Array.isArray(child) ? (child as Record<string, unknown>[]) : containersOf(child),
  );
}

/** `shardserve COMMAND ...` and `shard-export ...` at the start of a line or behind `npx` and `exec`, to the line's end. */
function commandLines(text: string): string[][] {
  const lines = text.replaceAll("\\\n", " ").matchAll(/(?:^ *|npx |exec )(shardserve |(?=shard-export ))([^\n|`]*)/gm);
  return [...lines].map((match) => match[2]!.split(/\s+/).filter((word) => /^[a-z]|^--[a-z]/.test(word)));
}
