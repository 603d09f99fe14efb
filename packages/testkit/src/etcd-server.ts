import { rm } from "node:fs/promises";
import { join } from "node:path";
import { flags, launch, type LaunchedProcess } from "./child-process.js";
import { freePort } from "./ports.js";
import { findProgram } from "./programs.js";
import { tempDir, type TempDir } from "./temp-dir.js";
import type { NetworkHost } from "./test-network.js";

/** How etcd is started. */
export interface EtcdOptions {
  /** Further command-line arguments. */
  readonly args?: readonly string[];
  /** Serves clients by TLS and asks them for a certificate of the same authority; paths of PEM files. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

/** Who a member is, and what members of one cluster know of each other. */
interface Membership {
  readonly name: string;
  /** NAME=PEER_URL of all members. */
  readonly initialCluster: string;
  readonly ports: Ports;
  /** Where it runs; undefined = on the loopback network of the test. */
  readonly host: NetworkHost | undefined;
}

interface Ports {
  readonly client: number;
  readonly peer: number;
  readonly health: number;
}

const LOOPBACK = "127.0.0.1";

/** A real etcd member on free ports; its data lives in a temporary folder until `stop`. */
export class EtcdServer implements AsyncDisposable {
  readonly port: number;
  readonly #dir: TempDir;
  readonly #options: EtcdOptions;
  readonly #membership: Membership;
  #process: LaunchedProcess | undefined;

  /**
   * Members of one cluster on free ports, all running; stop each of them.
   *
   * @param hosts  of a test network, one for each; default all on the loopback network
   */
  static async startCluster(
    size: number,
    options: EtcdOptions = {},
    hosts: readonly NetworkHost[] = [],
  ): Promise<EtcdServer[]> {
    const ports = await Promise.all(Array.from({ length: size }, freePorts));
    const initialCluster = ports
      .map(({ peer }, i) => `m${i}=http://${hosts[i]?.address ?? LOOPBACK}:${peer}`)
      .join(",");
    const members = await Promise.all(
      ports.map(async (own, i) => {
        const membership = { name: `m${i}`, initialCluster, ports: own, host: hosts[i] };
        return new EtcdServer(membership, await tempDir("shardserve-etcd-"), options);
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
    const ports = await freePorts();
    const membership = {
      name: "test",
      initialCluster: `test=http://${LOOPBACK}:${ports.peer}`,
      ports,
      host: undefined,
    };
    const server = new EtcdServer(membership, await tempDir("shardserve-etcd-"), options);
    try {
      await server.resume();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  private constructor(membership: Membership, dir: TempDir, options: EtcdOptions) {
    this.port = membership.ports.client;
    this.#membership = membership;
    this.#dir = dir;
    this.#options = options;
  }

  /** Of the host in the test network that it runs on. */
  get hostName(): string | undefined {
    return this.#membership.host?.name;
  }

  /** ADDRESS:PORT; with TLS by name: gRPC cannot connect to bare addresses with it from Node 26 on. */
  get host(): string {
    return `${this.#options.tls ? "localhost" : this.#address}:${this.port}`;
  }

  get #address(): string {
    return this.#membership.host?.address ?? LOOPBACK;
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
    const { header } = (await this.#ask("kv/range", { key: Buffer.from("/").toString("base64") })) as {
      header: { revision: string };
    };
    await this.#ask("kv/compaction", { revision: header.revision, physical: true });
  }

  /** True when it leads the members that it knows of. */
  async isLeader(): Promise<boolean> {
    const { header, leader } = (await this.#ask("maintenance/status", {})) as {
      header: { member_id: string };
      leader?: string;
    };
    return header.member_id === leader;
  }

  /** Starts the process again on the same ports and data, and waits until it answers. */
  async resume(): Promise<void> {
    const { path, env } = findProgram("etcd");
    const { tls } = this.#options;
    const { name, initialCluster, ports, host } = this.#membership;
    const client = `${tls ? "https" : "http"}://${this.#address}:${ports.client}`;
    const peer = `http://${this.#address}:${ports.peer}`;
    const health = `http://${this.#address}:${ports.health}`;
    const child = (host?.launch ?? launch)(path, {
      args: [
        ...flags({
          name,
          "data-dir": join(this.#dir.path, "data"),
          logger: "zap",
          "log-level": "warn",
          "listen-client-urls": client,
          "advertise-client-urls": client,
          "listen-peer-urls": peer,
          "initial-advertise-peer-urls": peer,
          "initial-cluster": initialCluster,
          "heartbeat-interval": "50",
          "election-timeout": "500", // one member elects itself soon
        }),
        ...flags({ "listen-metrics-urls": health }),
        ...(tls
          ? ["--client-cert-auth", ...flags({ "trusted-ca-file": tls.ca, "cert-file": tls.cert, "key-file": tls.key })]
          : []),
        ...(this.#options.args ?? []),
      ],
      env,
    });
    this.#process = child;
    await child.waitUntil(() => isHealthy(health));
  }

  async stop(): Promise<void> {
    await this.pause();
    await this.#dir.remove();
  }

  /** By etcd's own JSON gateway. */
  async #ask(path: string, body: object): Promise<unknown> {
    const url = `http://${this.#address}:${this.port}/v3/${path}`;
    const reply = await fetch(url, { method: "POST", body: JSON.stringify(body) });
    if (!reply.ok) throw new Error(`etcd, ${path}: ${await reply.text()}`);
    return reply.json();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function freePorts(): Promise<Ports> {
  return { client: await freePort(), peer: await freePort(), health: await freePort() };
}

/** etcd's own health endpoint: true only with a leader. */
async function isHealthy(url: string): Promise<boolean> {
  const response = await fetch(`${url}/health`).catch(() => undefined); // not listening yet
  return response?.ok === true && ((await response.json()) as { health?: string }).health === "true";
}
