import assert from "node:assert/strict";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { availabilityPreserving, Manager, type Model, resourcePreserving, type RunResult } from "@shardserve/servable";
import { tensor } from "@shardserve/tensor";
import { ModelServer } from "@shardserve/model-server";
import { predict } from "./harness.js";
import { FunctionModel } from "./models.js";

const CALLERS = 16;
const SWITCHES_MIN = 10;
/** SWITCH_SECONDS=60 goes on for a minute. */
const LEAST_MS = Number(process.env["SWITCH_SECONDS"] ?? 0) * 1000;
const spec = { dtype: "float32", shape: [-1] } as const;

/** Answers its version for each row, twice, with a pause in between; a run after its close is a failure. */
class VersionModel extends FunctionModel {
  #isClosed = false;
  #runs = 0;

  constructor(version: number) {
    const filled = (rows: number) => tensor("float32", [rows], new Float32Array(rows).fill(version));
    super({
      serving_default: {
        inputs: { x: spec },
        outputs: { first: spec, second: spec },
        run: async (inputs) => {
          const rows = inputs.get("x")!.shape[0]!;
          const first = filled(rows);
          await new Promise((resolve) => setImmediate(resolve));
          return { first, second: filled(rows) };
        },
      },
    });
  }

  override async run(...args: Parameters<Model["run"]>): Promise<RunResult> {
    assert.ok(!this.#isClosed, "a version runs after it was closed");
    this.#runs++;
    try {
      return await super.run(...args);
    } finally {
      this.#runs--;
    }
  }

  override async close(): Promise<void> {
    assert.equal(this.#runs, 0, "a version is closed while it runs");
    this.#isClosed = true;
  }
}

describe("two versions back and forth under load", function () {
  this.timeout(60_000 + 2 * LEAST_MS);

  for (const [name, policy] of [
    ["availability", availabilityPreserving],
    ["resource", resourcePreserving],
  ] as const) {
    it(`${name} preserving: every reply is wholly one version's`, async () => {
      const manager = new Manager({ policy, loader: { load: async ({ version }) => new VersionModel(version) } });
      const aspire = (version: number) => manager.setAspired("m", [{ version, path: "" }]);
      aspire(1);
      await manager.start();
      await manager.whenAvailable(["m"]);
      const server = new ModelServer({ manager, grpcPort: 0, host: "127.0.0.1" });
      await server.start();
      const client = new Client(`127.0.0.1:${server.grpcPort}`, credentials.createInsecure());
      const answers = new Map<number, number>();
      const failures: string[] = [];
      let isOver = false;
      const caller = async (id: number) => {
        const rows = (id % 3) + 1;
        const inputs = { x: tensor("float32", [rows], new Float32Array(rows)) };
        while (!isOver) {
          try {
            const { outputs, trailers } = await predict(client, inputs);
            const version = Number(trailers["x-shardserve-model-version"]);
            const expected = Array.from({ length: rows }, () => version);
            assert.deepEqual(Array.from(outputs.first!.data as Float32Array), expected);
            assert.deepEqual(Array.from(outputs.second!.data as Float32Array), expected);
            answers.set(version, (answers.get(version) ?? 0) + 1);
          } catch (error) {
            failures.push((error as ServiceError).details ?? (error as Error).message);
          }
        }
      };
      try {
        const callers = Array.from({ length: CALLERS }, (_, id) => caller(id));
        const isSettled = (version: number) =>
          manager.statuses("m")!.every((status) => (status.state === "AVAILABLE") === (status.version === version)) &&
          manager.statuses("m")!.every(({ state }) => state === "AVAILABLE" || state === "END");
        const startMs = performance.now();
        let i = 0;
        for (; i < SWITCHES_MIN || performance.now() - startMs < LEAST_MS; i++) {
          const version = i % 2 === 0 ? 2 : 1;
          const before = answers.get(version) ?? 0;
          aspire(version);
          while (!isSettled(version) || (answers.get(version) ?? 0) === before) {
            await new Promise((resolve) => setImmediate(resolve));
            if (failures.length > 0 && policy === availabilityPreserving) break;
          }
        }
        isOver = true;
        await Promise.all(callers);
        const unexpected = failures.filter(
          (text) => policy === availabilityPreserving || !text.includes("Servable not found for request: Latest(m)"),
        );
        if (LEAST_MS > 0) {
          const replies = [...answers.values()].reduce((total, count) => total + count, 0);
          console.log(`${name}: ${i} switches, ${replies} replies, ${failures.length} refused`);
        }
        assert.deepEqual(unexpected, [], "only the policy that unloads first leaves a gap");
      } finally {
        isOver = true;
        client.close();
        await server.close();
        await manager.close();
      }
    });
  }
});
