import { spawnSync } from "node:child_process";
import { type LaunchedProcess, launch, type LaunchOptions } from "./child-process.js";
import { lookFor } from "./programs.js";

/** Kept free for tests of networks (RFC 2544). */
const SUBNET = "198.18";
/** Nobody's: the switch offers such frames to every port and nobody takes them. */
const NOBODY = "02:53:00:00:ff:ff";

/** Something with an address in a test network. */
export interface NetworkHost {
  readonly name: string;
  readonly address: string;
  /** Starts a program that has this host's network and no other. */
  launch(this: void, command: string, options?: LaunchOptions): LaunchedProcess;
}

interface Joined extends NetworkHost {
  readonly mac: string;
  /** Its namespace; undefined = that of the test. */
  readonly namespace: string | undefined;
  /** Its interface, as it names it itself. */
  readonly device: string;
}

/**
 * A switch with hosts on it, each (and the switch, which is so out of reach of the machine's firewall) a network namespace of
 * its own, so that packets between two of them can get lost without a
 * word: neither a reset nor an unreachable, connections stand, and kernels send again. Who is cut off from whom is told by
 * the hardware addresses that a host sends to, which needs no filter of the kernel; each direction on its own.
 *
 * Needs the right to make namespaces (root; in a container CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2.
 */
export class TestNetwork implements AsyncDisposable {
  /** The test itself, which is on the switch too. */
  readonly self: NetworkHost;
  readonly #switch = `ss${process.pid}-switch`;
  readonly #subnet: string;
  readonly #hosts = new Map<string, Joined>();

  /** Why there can be none on this machine; undefined = there can. */
  static obstacle(): string | undefined {
    if (!lookFor("ip")) return "needs iproute2 (the program ip)";
    const probe = `probe-${process.pid}`;
    try {
      ip(`netns add ${probe}`, `-n ${probe} link add switch type bridge`, cable(deviceName("p", 0), probe, "eth0"));
      return undefined;
    } catch (error) {
      return `needs the right to make network namespaces (${(error as Error).message})`;
    } finally {
      remove(`netns del ${probe}`); // and the pair of interfaces with it
    }
  }

  /** @throws Error where {@link obstacle} names one */
  constructor() {
    this.#subnet = `${SUBNET}.${process.pid % 256}`;
    ip(
      `netns add ${this.#switch}`,
      `-n ${this.#switch} link add switch type bridge`,
      `-n ${this.#switch} link set switch up`,
    );
    this.self = this.#join("test", undefined, deviceName("v", 1));
  }

  /** A new host. */
  join(name: string): NetworkHost {
    const namespace = `ss${process.pid}-${this.#hosts.size + 1}`;
    ip(`netns add ${namespace}`, `-n ${namespace} link set lo up`);
    return this.#join(name, namespace, "eth0");
  }

  /** What the first host sends to the second gets lost from now on. */
  lose(from: string, to: string): void {
    direct(this.#host(from), this.#host(to), NOBODY);
  }

  /** Cuts two groups of hosts off from one another, both ways. */
  part(some: readonly string[], others: readonly string[]): void {
    for (const a of some) {
      for (const b of others) {
        if (a === b) continue;
        this.lose(a, b);
        this.lose(b, a);
      }
    }
  }

  /** Everybody reaches everybody again. */
  heal(): void {
    const hosts = [...this.#hosts.values()];
    for (const from of hosts) for (const to of hosts) if (from !== to) direct(from, to, to.mac);
  }

  /** Takes it down; what still runs in it has no network any more. */
  [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of this.#hosts.values()) if (namespace !== undefined) remove(`netns del ${namespace}`);
    remove(`netns del ${this.#switch}`);
    return Promise.resolve();
  }

  #join(name: string, namespace: string | undefined, device: string): NetworkHost {
    const number = this.#hosts.size + 1;
    const host: Joined = {
      name,
      address: `${this.#subnet}.${number}`,
      mac: `02:53:00:00:00:${number.toString(16).padStart(2, "0")}`,
      namespace,
      device,
      launch: (command, { args = [], ...more } = {}) =>
        namespace === undefined
          ? launch(command, { args, ...more })
          : launch("ip", { args: ["netns", "exec", namespace, command, ...args], ...more }), // which becomes the program
    };
    const port = `port${number}`;
    ip(
      cable(device, this.#switch, port, namespace),
      `-n ${this.#switch} link set ${port} master switch`,
      `-n ${this.#switch} link set ${port} up`,
      `${within(host)}link set ${device} address ${host.mac}`,
      `${within(host)}addr add ${host.address}/24 dev ${device}`,
      `${within(host)}link set ${device} up`,
    );
    for (const other of this.#hosts.values()) {
      direct(host, other, other.mac);
      direct(other, host, host.mac);
    }
    this.#hosts.set(name, host);
    return host;
  }

  #host(name: string): Joined {
    const host = this.#hosts.get(name);
    if (!host) throw new Error(`no host ${name} in the test network`);
    return host;
  }
}

/** Where a host's packets for another one go. */
function direct(from: Joined, to: Joined, mac: string): void {
  ip(`${within(from)}neigh replace ${to.address} lladdr ${mac} nud permanent dev ${from.device}`);
}

function within({ namespace }: Joined): string {
  return namespace === undefined ? "" : `-n ${namespace} `;
}

/** Two interfaces that are one another's other end. */
function cable(device: string, otherNamespace: string, other: string, namespace?: string): string {
  const there = namespace === undefined ? "" : ` netns ${namespace}`;
  return `link add ${device}${there} type veth peer name ${other} netns ${otherNamespace}`;
}

/** Interfaces' names have 15 characters at most. */
function deviceName(kind: string, number: number): string {
  return `ss${kind}${process.pid % 1_000_000}-${number}`;
}

/** @throws Error with what `ip` said */
function ip(...commands: readonly string[]): void {
  for (const command of commands) {
    const { status, stderr, error } = spawnSync("ip", command.split(" "), { encoding: "utf8" });
    if (error ?? status !== 0) throw new Error(`ip ${command}: ${error?.message ?? stderr.trim()}`);
  }
}

/** The same for what may be gone already. */
function remove(command: string): void {
  spawnSync("ip", command.split(" "), { stdio: "ignore" });
}
