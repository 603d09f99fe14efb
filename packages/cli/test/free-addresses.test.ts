import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkFree } from "../src/roles/process/free-addresses.js";

const PROGRAM = join(import.meta.dirname, "../../../../packages/cli/bin/shardserve.js");
/** Nobody listens at port 1: a process that waits for etcd there does so until it is stopped. */
const NO_ETCD = "--etcd=127.0.0.1:1";

/** Runs the program to its end. */
function ended(...args: readonly string[]): Promise<{ readonly code: unknown; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { timeout: 280_000, killSignal: "SIGKILL" }, (error, _, stderr) =>
      resolve({ code: error?.code ?? error?.signal, stderr }),
    );
  });
}

describe("addresses that are taken", function () {
  this.timeout(300_000);
  let dir: string;
  let tcp: Server;
  let unix: Server;
  let taken: number;
  let path: string;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "shardserve-taken-"));
    path = join(dir, "taken.sock");
    tcp = createServer();
    unix = createServer();
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    await new Promise<void>((resolve) => unix.listen(path, resolve));
    taken = (tcp.address() as AddressInfo).port;
  });
  after(async () => {
    tcp.close();
    unix.close();
    await rm(dir, { recursive: true });
  });

  // Each of these would wait for ever otherwise: for a version to appear, or for etcd.
  it("end serve, shard and apply at once, before anything is loaded, and the flag is named", async () => {
    const cases: [string, readonly string[]][] = [
      [
        "--rest-api-port",
        ["serve", `--model-base-path=${dir}`, "--host=127.0.0.1", "--port=0", `--rest-api-port=${taken}`],
      ],
      [
        "--grpc-listen",
        [
          "shard",
          NO_ETCD,
          "--id=a",
          `--model-repository=${dir}`,
          "--listen=127.0.0.1:0",
          `--grpc-listen=127.0.0.1:${taken}`,
        ],
      ],
      ["--listen", ["apply", NO_ETCD, `--model-repository=${dir}`, `--listen=127.0.0.1:${taken}`]],
    ];
    await Promise.all(
      cases.map(async ([flag, args]) => {
        const { code, stderr } = await ended(...args);
        assert.equal(code, 1, `${args.join(" ")}: ${stderr}`);
        assert.match(stderr, new RegExp(`UNAVAILABLE: ${flag}: cannot listen on 127.0.0.1:${taken}: .*EADDRINUSE`));
      }),
    );
  });

  it("may be Unix sockets", async () => {
    await assert.rejects(
      checkFree([{ flag: "--unix-socket", address: { path } }]),
      /ServingError: --unix-socket: cannot listen on unix:\S*: another process listens there/,
    );
    await checkFree([{ flag: "--unix-socket", address: { path: join(dir, "free.sock") } }]);
  });

  it("are found also where two flags name one port, and nothing is left open", async () => {
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    const address = { host: "127.0.0.1", port };
    const both = [
      { flag: "--port", address },
      { flag: "--rest-api-port", address },
    ];
    await assert.rejects(checkFree(both), /ServingError: --rest-api-port: port \d+ is that of --port$/);
    await checkFree([both[0]!]);
    await new Promise<void>((resolve) => probe.listen(port, "127.0.0.1", resolve));
    probe.close();
    await checkFree([{ flag: "--port", address: { host: "127.0.0.1", port: 0 } }]);
  });
});
