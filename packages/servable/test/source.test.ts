import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, silentLogger } from "@shardserve/core";
import { type AspiredSet, FileSystemSource, selectVersions } from "@shardserve/servable";

describe("file system source", () => {
  let base: string;
  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), "shardserve-source-"));
  });
  afterEach(() => rm(base, { recursive: true }));

  function watch(servables: { name: string; basePath: string }[], pollIntervalMs = 0) {
    const aspired = new Map<string, AspiredSet>();
    const warnings: string[] = [];
    const clock = new ManualClock();
    const source = new FileSystemSource({
      servables,
      onAspired: (name, versions) => aspired.set(name, versions),
      pollIntervalMs,
      clock,
      logger: { ...silentLogger, warn: (_fields, message) => warnings.push(message) },
    });
    return { aspired, warnings, clock, source };
  }

  it("takes numeric directories, leading zeros included, and wants the latest", async () => {
    for (const child of ["00000123", "124", "abc", "9x", "-5", "99999999999999999999"]) await mkdir(join(base, child));
    await writeFile(join(base, "500"), "a file is no version");
    await symlink(join(base, "124"), join(base, "200"));
    await symlink(join(base, "nowhere"), join(base, "300"));
    const { aspired, warnings, source } = watch([{ name: "m", basePath: base }]);
    await source.start();
    assert.deepEqual(aspired.get("m"), [{ version: 200, path: join(base, "200") }]);
    assert.match(warnings.join(), /exceeds the largest version/);
    await source.close();
  });

  it("says once what it does not find; a missing base path leaves other models alone", async () => {
    await mkdir(join(base, "ok", "1"), { recursive: true });
    await mkdir(join(base, "empty"));
    const missing = join(base, "missing");
    const { aspired, warnings, source } = watch([
      { name: "missing", basePath: missing },
      { name: "empty", basePath: join(base, "empty") },
      { name: "ok", basePath: join(base, "ok") },
    ]);
    await source.start();
    await source.poll();
    assert.equal(warnings.length, 2);
    assert.match(
      warnings[0]!,
      new RegExp(`^Could not find base path ${missing} for servable missing with error ENOENT`),
    );
    assert.equal(
      warnings[1],
      `No versions of servable empty found under base path ${join(base, "empty")}. Did you forget to name your leaf directory as a number (eg. '/1/')?`,
    );
    assert.equal(aspired.has("missing"), false);
    assert.deepEqual(aspired.get("empty"), []);
    assert.equal(aspired.get("ok")!.length, 1);
    await source.setServables([]);
    assert.deepEqual(aspired.get("ok"), []);
    await source.close();
  });

  it("polls on its clock until it is closed", async () => {
    await mkdir(join(base, "1"));
    const { aspired, clock, source } = watch([{ name: "m", basePath: base }], 1000);
    await source.start();
    await mkdir(join(base, "2"));
    clock.advance(1000);
    while (aspired.get("m")![0]!.version !== 2) await new Promise((resolve) => setImmediate(resolve));
    await source.close();
  });

  it("a name dropped during a poll does not come back", async () => {
    await mkdir(join(base, "1"));
    const { aspired, source } = watch([{ name: "m", basePath: base }]);
    await source.start();
    const polling = source.poll();
    await source.setServables([]);
    await polling;
    assert.deepEqual(aspired.get("m"), []);
    await source.close();
  });

  it("selects by policy", () => {
    const found = [3, 1, 2].map((version) => ({ version, path: `${version}` }));
    const versions = (set: AspiredSet) => set.map((entry) => entry.version);
    assert.deepEqual(versions(selectVersions(found, { kind: "latest", count: 2 })), [3, 2]);
    assert.deepEqual(versions(selectVersions(found, { kind: "latest", count: 0 })), [3]);
    assert.deepEqual(versions(selectVersions(found, { kind: "all" })), [3, 2, 1]);
    assert.deepEqual(versions(selectVersions(found, { kind: "specific", versions: [1, 9] })), [1]);
  });
});
