import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";

const PROGRAM = join(import.meta.dirname, "../../../../packages/cli/bin/shardserve.js");

/** serving_default doubles; `odd` needs an op that nobody has. */
async function writeModel(dir: string): Promise<void> {
  const g = new GraphBuilder();
  const x = g.placeholder("x", "float32", [-1]);
  const attrs = { T: attr.type("float32") };
  const like = (ref: string) => ({ ref, dtype: "float32", shape: [-1] }) as const;
  const model = g.savedModel({
    serving_default: predictSignature({ x: like(x) }, { y: like(g.node("AddV2", [x, x], { attrs })) }),
    odd: predictSignature({ x: like(x) }, { y: like(g.node("OpOfNobody", [x], { attrs })) }),
  });
  await writeSavedModel(dir, model);
}

describe("a signature that cannot be served", function () {
  this.timeout(180_000);

  it("is told by inspect, /v1/config, status and a metric before anybody asks for it; the others serve", async () => {
    const dir = await mkdtemp(join(tmpdir(), "shardserve-broken-"));
    await writeModel(join(dir, "1"));
    const run = (...args: readonly string[]) =>
      execFileSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const flags = ["--model-name=m", `--model-base-path=${dir}`, "--host=127.0.0.1", "--port=0", "--rest-api-port=0"];
    const child = spawn(process.execPath, [PROGRAM, "serve", ...flags], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const rest = await new Promise<string>((resolve, reject) => {
        createInterface({ input: child.stdout }).on("line", (line) => {
          const found = /REST on (\S+)/.exec(line);
          if (found) resolve(found[1]!);
        });
        child.once("exit", (code) => reject(new Error(`serve ended with ${code}`)));
      });
      const get = async (path: string) => (await fetch(`http://${rest}${path}`)).text();
      const { models } = JSON.parse(await get("/v1/config")) as {
        models: { name: string; state: string; brokenSignatures: Record<string, string> }[];
      };
      assert.deepEqual(
        models.map(({ name, state }) => [name, state]),
        [["m", "READY"]],
      );
      assert.deepEqual(Object.keys(models[0]!.brokenSignatures), ["odd"]);
      assert.match(models[0]!.brokenSignatures["odd"]!, /OpOfNobody/);
      assert.match(
        await get("/monitoring/prometheus/metrics"),
        /^shardserve_broken_signatures\{model="m",version="1"\} 1$/m,
      );
      assert.match(run("status", `--server=${rest}`), /^ {2}m\/1 refuses .* signature odd: .*OpOfNobody/m);
      assert.match(run("inspect", join(dir, "1")), /^ {2}but not odd: .*OpOfNobody/m);
      const ask = (signature_name: string) =>
        fetch(`http://${rest}/v1/models/m:predict`, {
          method: "POST",
          body: JSON.stringify({ signature_name, inputs: { x: [1, 2] } }),
        });
      assert.deepEqual(await (await ask("serving_default")).json(), { outputs: [2, 4] });
      assert.match(await (await ask("odd")).text(), /OpOfNobody/);
    } finally {
      child.kill("SIGKILL");
      await rm(dir, { recursive: true });
    }
  });
});
