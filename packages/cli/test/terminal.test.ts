import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, REPO_DIR, tempDir } from "@shardserve/testkit";

describe("progress on a terminal", function () {
  this.timeout(60_000);

  it("ends with a command that fails: the process does too, and says why on a line of its own", async () => {
    await using dir = await tempDir();
    const model = join(dir.path, "model");
    cpSync(join(REPO_DIR, "test/fixtures/models/dlrm/1"), model, { recursive: true });
    const data = join(model, "variables/variables.data-00000-of-00001");
    const bytes = readFileSync(data);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(data, bytes);
    await using exporting = launch(process.execPath, {
      args: [
        "--import=data:text/javascript,process.stderr.isTTY=true;process.stderr.columns=120",
        join(REPO_DIR, "packages/cli/bin/shard-export.js"),
        model,
        `--out=${join(dir.path, "repository/dlrm/1")}`,
        "--min-table-bytes=0",
      ],
    });
    const { code } = await exporting.exit;
    assert.equal(code, 1);
    assert.match(exporting.output, /\nshardserve shard-export: CHECKSUM_MISMATCH: /);
    assert.match(exporting.output, /exporting +\[/, "it showed a bar");
  });
});
