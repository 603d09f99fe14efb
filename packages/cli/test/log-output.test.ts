import assert from "node:assert/strict";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { logOutput } from "../src/log-output.js";

describe("logOutput", () => {
  it("writes each line at once", () => {
    const dir = mkdtempSync(join(tmpdir(), "shardserve-log-"));
    const fd = openSync(join(dir, "log"), "w");
    const logger = pino({}, logOutput(fd));
    for (const line of ["one", "two"]) {
      logger.info(line);
      assert.match(readFileSync(join(dir, "log"), "utf8"), new RegExp(`"msg":"${line}"\\}\n$`));
    }
    closeSync(fd);
    rmSync(dir, { recursive: true });
  });

  it("loses lines that cannot be written, and writes again when it can", function () {
    if (!existsSync("/dev/full")) return this.skip();
    const dir = mkdtempSync(join(tmpdir(), "shardserve-log-"));
    const full = openSync("/dev/full", "w");
    const logger = pino({}, logOutput(full));
    logger.info("lost");
    closeSync(full);
    const fd = openSync(join(dir, "log"), "w");
    assert.equal(fd, full, "the lowest free one");
    logger.info("written");
    assert.match(readFileSync(join(dir, "log"), "utf8"), /^[^\n]*"msg":"written"\}\n$/);
    closeSync(fd);
    rmSync(dir, { recursive: true });
  });
});
