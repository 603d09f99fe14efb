import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/** Random per process start: tells a restarted process from its predecessor. */
export function newInstance(): string {
  return randomBytes(8).toString("hex");
}

/** Identity of this machine: processes that share it can use each other's Unix sockets. */
export function machineIdentity(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return hostname(); // not Linux; a name is the best there is
  }
}
