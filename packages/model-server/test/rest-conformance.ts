import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Model } from "@shardserve/servable";
import { startServer, type TestServer } from "./harness.js";

/** Reference data beside the repository; SHARDSERVE_SHARED names another place. */
export const SHARED = process.env["SHARDSERVE_SHARED"] ?? join(process.cwd(), "..", "shared");
const SAMPLES = join(SHARED, "savedmodels", "tf-serving", "samples");

interface Case {
  readonly model?: string;
  readonly method: string;
  readonly path: string;
  readonly body?: string;
  readonly status: number;
  readonly json?: unknown;
  readonly error_contains?: string;
}

/**
 * Replays facts of TensorFlow Serving's own REST tests against a server of ours.
 *
 * @param load  gives the model of a folder of savedmodels/tf-serving
 */
export function restConformance(title: string, load: (folder: string) => Promise<Model>): void {
  describe(title, () => {
    const file = join(SAMPLES, "rest_conformance.json");
    if (!existsSync(file)) {
      it("replays TensorFlow Serving's REST cases", function () {
        console.log(`skipped: ${file} is absent`);
        this.skip();
      });
      return;
    }
    const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: readonly Case[] };
    let server: TestServer;
    before(async () => {
      const two = await load("saved_model_half_plus_two_2_versions");
      const three = await load("saved_model_half_plus_three");
      server = await startServer({
        saved_model_half_plus_two_2_versions: { 123: two },
        saved_model_half_plus_three: { 123: three },
      });
      server.manager.setLabels("saved_model_half_plus_two_2_versions", new Map([["LABEL", 123]]));
    });
    after(() => server[Symbol.asyncDispose]());

    for (const each of cases) {
      const model = each.model ?? "saved_model_half_plus_two_2_versions";
      const path = each.path.replace("/models/M", `/models/${model}`);
      it(`${each.method} ${path} ${each.body ?? ""}`, async () => {
        const response = await fetch(`${server.baseUrl}${path}`, {
          method: each.method,
          ...(each.body === undefined ? {} : { body: each.body }),
        });
        const text = await response.text();
        assert.equal(response.status, each.status, text);
        if (each.json !== undefined) assert.deepEqual(JSON.parse(text), each.json);
        if (each.error_contains !== undefined) {
          assert.ok((JSON.parse(text) as { error: string }).error.includes(each.error_contains), text);
        }
      });
    }
  });
}
