import { ServingError } from "@shardserve/core";

/** Where a server listens: a TCP host and port (0 = any free port), or the path of a Unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/**
 * Reads "host:port", "[::1]:port" or "unix:/path".
 *
 * @throws ServingError CONFIG_INVALID
 */
export function parseAddress(text: string): Address {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") throw new ServingError("CONFIG_INVALID", `address "${text}" names no socket path`);
    return { path };
  }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw new ServingError("CONFIG_INVALID", `address "${text}" must be host:port, [ipv6]:port or unix:/path`);
  }
  return { host, port };
}

/** A host without the brackets of an IPv6 address, as sockets and {@link Address} take it: "[::1]" is "::1". */
export function bareHost(text: string): string {
  return text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
}

/** "host:port", "[::1]:port" or "unix:PATH": what {@link parseAddress} reads. */
export function formatAddress(address: Address): string {
  if ("path" in address) return `unix:${address.path}`;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
