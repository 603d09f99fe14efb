import { networkInterfaces } from "node:os";
import type { Address } from "./address.js";

/**
 * What others are told to connect to.
 *
 * @param host  where the operator names one; default the host that is listened on, or for all addresses one of this machine's
 */
export function advertisedAddress(listening: Address, host?: string): Address {
  if (!("port" in listening)) return listening;
  const isAny = listening.host === "0.0.0.0" || listening.host === "::";
  return { host: host ?? (isAny ? ownAddress() : listening.host), port: listening.port };
}

/** The first address of this machine that others may reach; the loopback where there is no other. */
function ownAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { address, family, internal } of addresses ?? []) if (!internal && family === "IPv4") return address;
  }
  return "127.0.0.1";
}
