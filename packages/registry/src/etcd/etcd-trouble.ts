import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Clock } from "@shardserve/core";
import type { EtcdConnection } from "./etcd-client.js";

/** How long one endpoint may take to answer before it counts as silent, in milliseconds. */
const WAIT_MS = 3_000;
/** How long what was found is told again without looking: calls fail by the dozen while etcd is away. */
const KNOWN_MS = 15_000;
/** What an HTTP/2 client says first, with an empty SETTINGS frame; a server answers with one of its own. */
const GREETING = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
const SETTINGS_TYPE = 4;

type Endpoints = Pick<EtcdConnection, "hosts" | "tls">;

/**
 * Why etcd cannot be reached, in words. gRPC only says that it failed to connect; so, after a call failed, each endpoint is
 * connected to once more, by hand, and what comes of it is told. Nothing of etcd's data is asked.
 */
export class EtcdTrouble {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  #found: Promise<string | undefined> | undefined;
  #foundMs = -Infinity;

  constructor(endpoints: Endpoints, clock: Clock) {
    this.#endpoints = endpoints;
    this.#clock = clock;
  }

  /** What is wrong with each endpoint where something is, "; " between; undefined = all of them answer. Never rejects. */
  text(): Promise<string | undefined> {
    if (!this.#found || this.#clock.nowMs() - this.#foundMs >= KNOWN_MS) {
      this.#foundMs = this.#clock.nowMs();
      this.#found = troubleOf(this.#endpoints);
    }
    return this.#found;
  }

  /** A call went through: the next failure is another one. */
  forget(): void {
    this.#found = undefined;
  }
}

async function troubleOf({ hosts, tls }: Endpoints): Promise<string | undefined> {
  const all = await Promise.all(
    hosts.map(async (host) => {
      const found = await (tls ? secureTrouble(host, tls) : plainTrouble(host));
      return found === undefined ? [] : [`${host} ${found}`];
    }),
  );
  const troubles = all.flat();
  return troubles.length === 0 ? undefined : troubles.join("; ");
}

async function plainTrouble(address: string): Promise<string | undefined> {
  const first = await greet(connect(endpointOf(address)), "connect");
  if (isHttp2(first)) return undefined;
  if (first instanceof Error) {
    const known = connectTrouble(first);
    if (known !== undefined) return known;
  }
  const secure = await greet(connectTls({ ...endpointOf(address), rejectUnauthorized: false }), "secureConnect");
  const isTls = secure instanceof Buffer || /_ALERT_/.test(codeOf(secure));
  if (isTls) return "asks for TLS: give --etcd-ca, the authority that signed its certificate";
  return first instanceof Error
    ? `ends the connection (${codeOf(first)}): is that etcd?`
    : "is not etcd: it speaks no HTTP/2";
}

async function secureTrouble(address: string, tls: NonNullable<Endpoints["tls"]>): Promise<string | undefined> {
  const { host, port } = endpointOf(address);
  const { ca, cert, key } = tls;
  const socket = connectTls({
    host,
    port,
    ca: Buffer.from(ca),
    ...(cert && { cert: Buffer.from(cert) }),
    ...(key && { key: Buffer.from(key) }),
    ...(isIP(host) === 0 && { servername: host }),
    ALPNProtocols: ["h2"],
  });
  const first = await greet(socket, "secureConnect");
  if (!(first instanceof Error)) return undefined;
  const known = connectTrouble(first) ?? tlsTrouble(first, cert !== undefined);
  if (known !== undefined) return known;
  return isHttp2(await greet(connect({ host, port }), "connect"))
    ? "speaks no TLS: leave out --etcd-ca, or have etcd serve TLS there"
    : `ends the TLS handshake (${codeOf(first)}): is that etcd, with TLS?`;
}

function isHttp2(first: Buffer | Error): boolean {
  return first instanceof Buffer && first[3] === SETTINGS_TYPE;
}

/**
 * Says hello and waits for the first bytes of the answer. The greeting comes even where nothing else is to be said: with TLS
 * 1.3 a server refuses a client's certificate only after the client holds the handshake for done.
 */
function greet(socket: Socket | TLSSocket, ready: "connect" | "secureConnect"): Promise<Buffer | Error> {
  return new Promise((resolve) => {
    const settle = (outcome: Buffer | Error) => {
      resolve(outcome);
      socket.destroy();
    };
    const failed = (code: string) => settle(Object.assign(new Error(code), { code }));
    // After a busy turn timers come first: what has arrived meanwhile is read before it counts as missing.
    socket.setTimeout(WAIT_MS, () => setImmediate(() => failed(socket.connecting ? "ETIMEDOUT" : "SILENT")));
    socket.once(ready, () => socket.write(GREETING));
    socket.once("data", (bytes: Buffer) => settle(bytes));
    socket.on("error", settle); // also after it settled: a reset on the way out
    socket.once("close", () => failed("CLOSED"));
  });
}

/** Trouble before any protocol. */
function connectTrouble(error: Error): string | undefined {
  const code = codeOf(error);
  switch (code) {
    case "ECONNREFUSED":
      return "refuses connections: is etcd running there, and is the port right?";
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `does not answer (${code}): is the address right, and is a firewall between?`;
    case "SILENT":
      return `takes connections and says nothing for ${WAIT_MS / 1000} s: is it overloaded, or not etcd?`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `is a name that cannot be resolved (${code})`;
    default:
      return undefined;
  }
}

const UNKNOWN_AUTHORITY = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_SIGNATURE_FAILURE",
]);

function tlsTrouble(error: Error, hasCertificate: boolean): string | undefined {
  const code = codeOf(error);
  if (UNKNOWN_AUTHORITY.has(code))
    return `has a certificate of another authority than --etcd-ca (${code}): give the one that signed it`;
  if (code === "CERT_HAS_EXPIRED") return "has a certificate that has expired: renew it, or that of its authority";
  if (code === "CERT_NOT_YET_VALID") return "has a certificate that is not valid yet: are the clocks right?";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return `has a certificate for other names: write it in --etcd as its certificate does (${error.message})`;
  if (/_ALERT_/.test(code))
    return hasCertificate
      ? `refuses our certificate (${code}): give --etcd-cert and --etcd-key of an authority that it trusts`
      : `refuses us without a certificate (${code}): give --etcd-cert and --etcd-key`;
  return undefined;
}

function codeOf(outcome: Buffer | Error): string {
  return outcome instanceof Error ? ((outcome as NodeJS.ErrnoException).code ?? outcome.message) : "";
}

/** "host:port", or "[::1]:port". */
function endpointOf(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(":"); // who opens a registry without flags may write a scheme
  return {
    host: address
      .slice(0, at)
      .replace(/^https?:\/\//, "")
      .replace(/^\[|\]$/g, ""),
    port: Number(address.slice(at + 1)),
  };
}
