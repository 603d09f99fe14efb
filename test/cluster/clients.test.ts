import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { REPO_DIR, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { linkVersion, ownModels } from "./support/golden-models.js";
import { type Front, startServe, startUp } from "./support/roles.js";

/**
 * Clients as their users have them, against a single node and against a cluster of the same model; all must work, and must
 * get the same bytes from both. What is not installed is skipped, and says so.
 */

/** An interpreter that has the packages of the Python clients. */
const PYTHON = process.env["SHARDSERVE_CLIENTS_PYTHON"] ?? "python3";
const SCRIPT = join(REPO_DIR, "test/cluster/clients.py");
const MISSING = 3;

interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, ...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, args, { encoding: "utf8", timeout: 60_000, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? "killed") : 0, stdout, stderr });
    });
  });
}

const ROWS = { age: [31], city: ["berlin"], device: [3], score: [0.1, 0.2, 0.3, 0.4], user_id: [7] };

describe("clients of others", function () {
  this.timeout(120_000);
  let dir: TempDir;
  let fronts: readonly Front[] = [];

  before(async () => {
    dir = await tempDir("shardserve-clients-");
    const wideDeep = { ...ownModels().find(({ name }) => name === "wide-deep")!, name: "wide_deep" };
    const repository = join(dir.path, "repository");
    const exported = await cli(
      "shard-export",
      wideDeep.dir,
      `--out=${join(repository, "wide_deep", "1")}`,
      "--min-table-bytes=0",
    );
    assert.equal(exported.code, 0, exported.stderr);
    fronts = await Promise.all([
      startServe("wide_deep", await linkVersion(join(dir.path, "whole"), wideDeep)),
      startUp(repository, "--shards=3", "--replication=2"),
    ]);
  });
  after(async () => {
    await Promise.all(fronts.map((front) => front.process.stop()));
    await dir?.remove();
  });

  for (const client of ["tensorflow-serving-api", "tritonclient", "reflection"]) {
    it(`${client} (Python) gets the same bytes from a node and from a cluster`, async function () {
      const answers: unknown[] = [];
      for (const { grpc, rest } of fronts) {
        const { code, stdout, stderr } = await run(PYTHON, SCRIPT, grpc, rest, client);
        if (code === MISSING || code === "ENOENT") {
          console.log(
            `skipped: ${client}: ${stderr.trim() || `no ${PYTHON}`} (SHARDSERVE_CLIENTS_PYTHON names a Python)`,
          );
          return this.skip();
        }
        assert.equal(code, 0, stderr);
        answers.push(JSON.parse(stdout));
      }
      assert.ok(Object.keys(answers[0] as object).length > 1);
      assert.deepEqual(answers[1], answers[0]);
    });
  }

  it("curl gets the same bytes from a node and from a cluster", async function () {
    const predict = JSON.stringify({ instances: [ROWS] });
    const examples: readonly (readonly string[])[] = [
      ["-d", predict, "/v1/models/wide_deep:predict"],
      ["-d", predict, "/v1/models/wide_deep/versions/1:predict"],
      [
        "-d",
        JSON.stringify({ inputs: Object.fromEntries(Object.entries(ROWS).map(([k, v]) => [k, [v]])) }),
        "/v1/models/wide_deep:predict",
      ],
      ["-d", "{}", "/v1/models/wide_deep:predict"],
      ["--compressed", "/v1/models/wide_deep/metadata"],
      ["/v1/models/wide_deep"],
      ["/v2/models/wide_deep"],
    ];
    for (const [at, example] of examples.entries()) {
      const bodies: string[] = [];
      for (const { rest } of fronts) {
        const args = [...example.slice(0, -1), `http://${rest}${example.at(-1)}`];
        const { code, stdout, stderr } = await run("curl", "-sS", "-w", "\n%{http_code}", ...args);
        if (code === "ENOENT") {
          console.log("skipped: no curl");
          return this.skip();
        }
        assert.equal(code, 0, stderr);
        bodies.push(stdout);
      }
      assert.match(bodies[0]!, at === 3 ? /400$/ : /200$/);
      assert.equal(bodies[1], bodies[0], example.join(" "));
    }
  });

  it("grpcurl, which learns the API by reflection, gets the same bytes from a node and from a cluster", async function () {
    const value = (tensor: object, sizes: readonly number[]) => ({
      ...tensor,
      tensorShape: { dim: sizes.map((size) => ({ size })) },
    });
    const request = {
      modelSpec: { name: "wide_deep" },
      inputs: {
        age: value({ dtype: "DT_FLOAT", floatVal: ROWS.age }, [1, 1]),
        city: value({ dtype: "DT_STRING", stringVal: [Buffer.from("berlin").toString("base64")] }, [1, 1]),
        device: value({ dtype: "DT_INT64", int64Val: ROWS.device }, [1, 1]),
        score: value({ dtype: "DT_FLOAT", floatVal: ROWS.score }, [1, 4]),
        user_id: value({ dtype: "DT_INT64", int64Val: ROWS.user_id }, [1, 1]),
      },
    };
    const answers: unknown[] = [];
    for (const { grpc } of fronts) {
      const args = ["-plaintext", "-d", JSON.stringify(request), grpc, "tensorflow.serving.PredictionService/Predict"];
      const { code, stdout, stderr } = await run("grpcurl", ...args);
      if (code === "ENOENT") {
        console.log("skipped: no grpcurl; the reflection client of the Python suite and of model-server stand in");
        return this.skip();
      }
      assert.equal(code, 0, stderr);
      answers.push(JSON.parse(stdout));
    }
    assert.deepEqual(answers[1], answers[0]);
  });
});
