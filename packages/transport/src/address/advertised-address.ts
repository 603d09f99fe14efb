import { isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";
import { ServingError } from "@shardserve/core";
import { type Address, bareHost } from "./address.js";

/** Where a machine can be reached, as {@link networkInterfaces} tells it. */
export type Interfaces = ReturnType<typeof networkInterfaces>;

/**
 * What others are told to connect to.
 *
 * @param host  where the operator names one; default the host that is listened on, or for all addresses one of this machine's
 * @throws ServingError CONFIG_INVALID when `host` is none
 */
export function advertisedAddress(
  listening: Address,
  host?: string,
  interfaces: Interfaces = networkInterfaces(),
): Address {
  if (!("port" in listening)) return listening;
  const { port } = listening;
  if (host !== undefined) return { host: hostAlone(host), port };
  if (listening.host === "0.0.0.0") return { host: ownAddress(interfaces, ["IPv4"]) ?? "127.0.0.1", port };
  if (listening.host === "::") return { host: ownAddress(interfaces, ["IPv4", "IPv6"]) ?? "::1", port };
  return { host: listening.host, port };
}

/** The first address of this machine that others may reach, of the first family that has one. */
function ownAddress(interfaces: Interfaces, families: readonly ("IPv4" | "IPv6")[]): string | undefined {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  const reachable = all.filter((one) => !one.internal && !("scopeid" in one && one.scopeid !== 0)); // a scope: this link only
  const ofFamily = (family: string) => reachable.find((one) => one.family === family)?.address;
  return families.map(ofFamily).find((address) => address !== undefined);
}

function hostAlone(text: string): string {
  const host = bareHost(text);
  if (host.includes(":") && !isIPv6(host))
    throw new ServingError(
      "CONFIG_INVALID",
      `--advertised-host="${text}": give a host alone; the port is that of --listen`,
    );
  return host;
}
