import assert from "node:assert/strict";
import { appendFile, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileFingerprint } from "@shardserve/servable";
import { tempDir } from "@shardserve/testkit";

describe("file fingerprint", () => {
  it("changes when files grow, come or are replaced, and only then", async () => {
    await using temp = await tempDir("shardserve-fingerprint-");
    const dir = join(temp.path, "7");
    await assert.rejects(fileFingerprint(dir), /ENOENT/);
    await mkdir(join(dir, "variables"), { recursive: true });
    await writeFile(join(dir, "saved_model.pb"), "graph");
    const seen = new Set([await fileFingerprint(dir)]);
    const look = async () => seen.add(await fileFingerprint(dir)).size;
    assert.equal(await look(), 1, "nothing changed");
    await writeFile(join(dir, "variables", "variables.index"), "index");
    assert.equal(await look(), 2, "a file came");
    await appendFile(join(dir, "variables", "variables.index"), "more");
    assert.equal(await look(), 3, "a file grew");
    await writeFile(join(dir, "new.pb"), "other");
    await rename(join(dir, "new.pb"), join(dir, "saved_model.pb"));
    assert.equal(await look(), 4, "a file of the same size was put in its place");
  });
});
