import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { type StringColumn, strings } from "@shardserve/tensor";

describe("tf.io.read_file in a signature", () => {
  it("reads assets of the model and nothing else", async () => {
    const dir = mkdtempSync(join(tmpdir(), "read-file-"));
    const g = new GraphBuilder();
    const path = g.placeholder("path", "string", []);
    const like = (ref: string) => ({ ref, dtype: "string", shape: [] }) as const;
    const contents = g.node("ReadFile", [path]);
    const saved = g.savedModel({
      serving_default: predictSignature({ path: like(path) }, { contents: like(contents) }),
    });
    await writeSavedModel(dir, saved, { assets: [{ filename: "notes.txt", source: Buffer.from("some text") }] });
    const model = await loadModel({ dir, ort: loadOrt() });
    const read = async (asked: string): Promise<string> => {
      const { outputs } = await model.run("serving_default", new Map([["path", strings([], [asked])]]), {});
      return (outputs.get("contents")!.data as StringColumn).textAt(0);
    };
    try {
      assert.equal(await read(join(dir, "assets/notes.txt")), "some text");
      await assert.rejects(read(join(dir, "assets/other.txt")), { code: "NOT_FOUND" });
      for (const outside of [
        join(dir, "saved_model.pb"),
        `${dir}/assets/../saved_model.pb`,
        "/etc/hostname",
        "notes.txt",
        "",
      ]) {
        await assert.rejects(read(outside), { code: "INVALID_ARGUMENT" });
      }
    } finally {
      await model.close();
      rmSync(dir, { recursive: true });
    }
  });
});
