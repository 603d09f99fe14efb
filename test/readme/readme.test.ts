import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import {
  EtcdServer,
  eventually,
  freePort,
  launch,
  type LaunchedProcess,
  REPO_DIR,
  type TempDir,
  tempDir,
} from "@shardserve/testkit";

/**
 * Types the README's shell blocks as a reader would, in a folder that looks like a clone, and sees them work. Only what a
 * reader's machine may not offer is replaced: ports by free ones, the etcd and the paths of the example fleet by real ones.
 */

const README = readFileSync(join(REPO_DIR, "README.md"), "utf8");
/** Commands that run until they are stopped, and what they print when they are ready. */
const SERVERS: Readonly<Record<string, RegExp>> = {
  serve: /^serving \S+: gRPC on /m,
  up: /^ready: /m,
  shard: /^shard \S+: rows on /m,
  executor: /^executor \S+: gRPC on /m,
};

interface Block {
  readonly heading: string;
  readonly lines: readonly string[];
}

function shellBlocks(): Block[] {
  return [...README.matchAll(/^```sh\n([^]*?)^```$/gm)].map((match) => {
    const before = README.slice(0, match.index);
    const heading = [...before.matchAll(/^## (.*)$/gm)].at(-1)?.[1] ?? "";
    const lines = match[1]!.split("\n").map((line) => line.replace(/\s+# .*$/, "").trim());
    return { heading, lines: lines.filter((line) => line !== "") };
  });
}

describe("the README's commands", function () {
  this.timeout(120_000);
  let dir: TempDir;
  let running: LaunchedProcess[] = [];

  before(async () => {
    dir = await tempDir("shardserve-readme-");
    for (const name of ["node_modules", "package.json", "test"])
      symlinkSync(join(REPO_DIR, name), join(dir.path, name));
    mkdirSync(join(dir.path, "repository"));
  });
  const stopAll = async () => {
    await Promise.all(running.map((child) => child.stop("SIGTERM", 15_000)));
    running = [];
  };
  afterEach(stopAll);
  after(() => dir?.remove());

  /** Runs one line; a server is left running until the block ends. @returns what the line printed */
  const type = async (line: string): Promise<string> => {
    const server = SERVERS[/^npx shardserve (\S+)/.exec(line)?.[1] ?? ""];
    if (server) {
      const child = launch("sh", {
        args: ["-c", `exec ${line.replace(/^npx /, "node_modules/.bin/")}`],
        cwd: dir.path,
      });
      running.push(child);
      await child.waitForOutput(server, { timeoutMs: 60_000 });
      return child.output;
    }
    const [, body, url] = /^curl -d '(.*)' (\S+)$/.exec(line) ?? [];
    if (url !== undefined && spawnSync("curl", ["--version"]).error) {
      console.log("no curl on this machine: sending its request without it");
      return (await fetch(`http://${url}`, { method: "POST", body: body! })).text();
    }
    return new Promise((resolve, reject) => {
      execFile("sh", ["-c", line], { cwd: dir.path, timeout: 60_000 }, (error, stdout, stderr) => {
        if (error) reject(new Error(`${line}: ${error.message}\n${stderr}`));
        else resolve(stdout);
      });
    });
  };

  /** The lines of a block with ports that are free here. */
  const withFreePorts = async (lines: readonly string[]) => {
    const [grpc, rest] = [await freePort(), await freePort()];
    return lines.map((line) => line.replaceAll("8500", String(grpc)).replaceAll("8501", String(rest)));
  };

  const find = (text: string): Block => {
    const found = shellBlocks().filter(({ lines }) => lines.some((line) => line.includes(text)));
    assert.equal(found.length, 1, `one block with "${text}"`);
    return found[0]!;
  };

  it("name nothing that is not tested here", () => {
    const known = ["npm ci", "shardserve serve", "shardserve inspect", "shardserve shard "];
    for (const { heading, lines } of shellBlocks())
      assert.ok(
        known.some((text) => lines.some((line) => line.includes(text))),
        `a block under "${heading}" is not tested: ${lines[0]}`,
      );
  });

  it("two commands: both are npm scripts", () => {
    const { scripts } = JSON.parse(readFileSync(join(REPO_DIR, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    const { lines } = find("npm ci");
    assert.equal(lines.length, 2);
    for (const line of lines) {
      const script = /^npm ci && npm (?:run )?(\w+)$/.exec(line)?.[1];
      assert.ok(script !== undefined && script in scripts, line);
    }
    const mentioned = [...README.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name!);
    for (const name of mentioned) assert.ok(name in scripts, `npm run ${name}`);
  });

  it("one node: serve, then curl", async () => {
    const lines = await withFreePorts(find("shardserve serve").lines);
    const printed: string[] = [];
    for (const line of lines) printed.push(await type(line));
    // half_plus_two of 1, 2 and 5
    assert.deepEqual(JSON.parse(printed.at(-1)!), { predictions: [2.5, 3.0, 4.5] });
  });

  it("a cluster on this machine: inspect, export, up", async () => {
    const lines = await withFreePorts(find("shardserve inspect").lines);
    for (const line of lines) await type(line);
    const port = /--port=(\d+)/.exec(lines.at(-1)!)![1];
    const inputs = JSON.stringify({ dense: [Array(13).fill(0.5)], sparse: [[1, 2, 3, 0, 5, 6]] });
    const reply = await type(
      `npx shardserve predict --address=localhost:${port} --model=dlrm --inputs='${inputs}' --json`,
    );
    assert.equal((JSON.parse(reply) as { outputs: { ctr: number[][] } }).outputs.ctr.length, 1);
  });

  it("a fleet: shards and an executor with nothing but etcd in common", async () => {
    await using etcd = await EtcdServer.start();
    const replaced = (await withFreePorts(find("shardserve shard ").lines)).map((line) =>
      line
        .replaceAll("e1:2379,e2:2379,e3:2379", etcd.host)
        .replaceAll("--model_repository=/models", "--model_repository=repository")
        .replaceAll("0.0.0.0:8600", "127.0.0.1:0"),
    );
    const [shard, executor, status, ...more] = replaced;
    assert.deepEqual(more, []);
    try {
      // The line is for each machine of the fleet; the default replication wants two.
      await Promise.all([type(shard!), type(shard!.replace("shard-0", "shard-1"))]);
      await type(executor!);
      await eventually(
        async () => {
          assert.match(await type(status!), /dlrm\/1 available/);
        },
        { timeoutMs: 60_000, intervalMs: 500 },
      );
    } finally {
      await stopAll(); // before etcd goes
    }
  });
});
