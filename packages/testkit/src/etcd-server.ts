import { rm } from "node:fs/promises";
import { join } from "node:path";
import { flags, launch, type LaunchedProcess } from "./child-process.js";
import { freePort } from "./ports.js";
import { findProgram } from "./programs.js";
import { tempDir, type TempDir } from "./temp-dir.js";

export interface EtcdOptions {
  /** Further command-line arguments. */
  readonly args?: readonly string[];
  /** Serves clients by TLS and asks them for a certificate of the same authority; paths of PEM files. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

/** What members of one cluster know of each other. */
interface Membership {
  readonly name: string;
  /** NAME=PEER_URL of all members. */
  readonly initialCluster: string;
}

/** A real single-member etcd on free ports; its data lives in a temporary folder until `stop`. */
export class EtcdServer implements AsyncDisposable {
  readonly port: number;
  readonly #peerPort: number;
  readonly #dir: TempDir;
  readonly #options: EtcdOptions;
  readonly #healthPort: number;
  readonly #membership: Membership;
  #process: LaunchedProcess | undefined;

  /** Members of one cluster on free ports, all running; stop each of them. */
  static async startCluster(size: number, options: EtcdOptions = {}): Promise<EtcdServer[]> {
    const peers = await Promise.all(Array.from({ length: size }, () => freePort()));
    const initialCluster = peers.map((port, i) => `m${i}=http://127.0.0.1:${port}`).join(",");
    const members = await Promise.all(
      peers.map(async (peerPort, i) => {
        const dir = await tempDir("shardserve-etcd-");
        return new EtcdServer(await freePort(), peerPort, dir, options, await freePort(), {
          name: `m${i}`,
          initialCluster,
        });
      }),
    );
    try {
      await Promise.all(members.map((member) => member.resume()));
    } catch (error) {
      await Promise.all(members.map((member) => member.stop()));
      throw error;
    }
    return members;
  }

  static async start(options: EtcdOptions = {}): Promise<EtcdServer> {
    const server = new EtcdServer(
      await freePort(),
      await freePort(),
      await tempDir("shardserve-etcd-"),
      options,
      await freePort(),
    );
    try {
      await server.resume();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  private constructor(
    port: number,
    peerPort: number,
    dir: TempDir,
    options: EtcdOptions,
    healthPort: number,
    membership: Membership = { name: "test", initialCluster: `test=http://127.0.0.1:${peerPort}` },
  ) {
    this.port = port;
    this.#peerPort = peerPort;
    this.#dir = dir;
    this.#options = options;
    this.#healthPort = healthPort;
    this.#membership = membership;
  }

  /** `127.0.0.1:PORT`; with TLS by name: gRPC cannot connect to bare addresses with it from Node 26 on. */
  get host(): string {
    return `${this.#options.tls ? "localhost" : "127.0.0.1"}:${this.port}`;
  }

  get output(): string {
    return this.#process?.output ?? "";
  }

  /** Ends the process and keeps the data; SIGKILL is a crash. */
  async pause(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#process?.stop(signal);
    this.#process = undefined;
  }

  /** Stops the process (SIGSTOP) without ending it; {@link thaw} lets it go on. */
  freeze(): void {
    this.#process?.signal("SIGSTOP");
  }

  thaw(): void {
    this.#process?.signal("SIGCONT");
  }

  /** Ends the process and forgets all data, as the loss of its disk; `resume` begins a new history. */
  async wipe(): Promise<void> {
    await this.pause();
    await rm(join(this.#dir.path, "data"), { recursive: true, force: true });
  }

  /** Forgets the history up to now: who watches from an older revision on is refused. */
  async compact(): Promise<void> {
    const ask = async (path: string, body: object): Promise<{ header: { revision: string } }> => {
      const url = `http://127.0.0.1:${this.port}/v3/kv/${path}`; // etcd's own JSON gateway
      const reply = await fetch(url, { method: "POST", body: JSON.stringify(body) });
      if (!reply.ok) throw new Error(`etcd, ${path}: ${await reply.text()}`);
      return (await reply.json()) as { header: { revision: string } };
    };
    const { header } = await ask("range", { key: Buffer.from("/").toString("base64") });
    await ask("compaction", { revision: header.revision, physical: true });
  }

  /** Starts the process again on the same ports and data, and waits until it answers. */
  async resume(): Promise<void> {
    const { path, env } = findProgram("etcd");
    const { tls } = this.#options;
    const client = `${tls ? "https" : "http"}://127.0.0.1:${this.port}`;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const child = launch(path, {
      args: [
        ...flags({
          name: this.#membership.name,
          "data-dir": join(this.#dir.path, "data"),
          logger: "zap",
          "log-level": "warn",
          "listen-client-urls": client,
          "advertise-client-urls": client,
          "listen-peer-urls": peer,
          "initial-advertise-peer-urls": peer,
          "initial-cluster": this.#membership.initialCluster,
          "heartbeat-interval": "50",
          "election-timeout": "500", // one member elects itself soon
        }),
        ...flags({ "listen-metrics-urls": `http://127.0.0.1:${this.#healthPort}` }),
        ...(tls
          ? ["--client-cert-auth", ...flags({ "trusted-ca-file": tls.ca, "cert-file": tls.cert, "key-file": tls.key })]
          : []),
        ...(this.#options.args ?? []),
      ],
      env,
    });
    this.#process = child;
    await child.waitUntil(() => isHealthy(this.#healthPort));
  }

  async stop(): Promise<void> {
    await this.pause();
    await this.#dir.remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** etcd's own health endpoint: true only with a leader. */
async function isHealthy(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined); // not listening yet
  return response?.ok === true && ((await response.json()) as { health?: string }).health === "true";
}
