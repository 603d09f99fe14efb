import { ServingError } from "@shardserve/core";
import type { ServerDescription } from "@shardserve/model-server";
import { amount, table } from "./terminal.js";

/** More than any table of versions takes. */
const TIMEOUT_MS = 30_000;

/**
 * Asks a server for its `/v1/config`.
 *
 * @param server  "HOST:PORT", or a URL where it has TLS
 * @throws ServingError UNAVAILABLE when it cannot be asked; UNAUTHENTICATED, PERMISSION_DENIED with its words
 */
export async function askServer(
  server: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<ServerDescription> {
  const url = new URL("/v1/config", /^https?:\/\//.test(server) ? server : `http://${server}`);
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  let answer: Response;
  let body: unknown;
  try {
    answer = await fetch(url, { signal: timeout, headers: token ? { authorization: `Bearer ${token}` } : {} });
    body = await answer.json();
  } catch (cause) {
    signal.throwIfAborted();
    const { message, cause: beneath } = cause as Error;
    const text = beneath instanceof Error ? `${message}: ${beneath.message}` : message;
    throw new ServingError("UNAVAILABLE", `cannot ask ${url.href}: ${text}`, { cause });
  }
  if (answer.ok) return body as ServerDescription;
  const { error = answer.statusText } = body as { readonly error?: string };
  const code = answer.status === 401 ? "UNAUTHENTICATED" : answer.status === 403 ? "PERMISSION_DENIED" : "UNAVAILABLE";
  throw new ServingError(code, `${url.href} answers ${answer.status}: ${error}`);
}

/** For people: versions and memory; the configuration is in the JSON. */
export function describeServed(server: string, description: ServerDescription): string {
  const { version, models, absentModels = {}, traffic, memory } = description;
  const rows = models.map(({ name, version: number, state, memory: plan, reason = "" }) => [
    `  ${name}/${number}`,
    state,
    plan
      ? amount(
          Object.values(plan).reduce((total, bytes) => total + bytes, 0),
          "bytes",
        )
      : "",
    reason,
  ]);
  const lines = [`${server}: shardserve ${version}`, table([["  version", "state", "memory", ""], ...rows])];
  for (const { name, version: number, brokenSignatures = {} } of models)
    for (const [signature, why] of Object.entries(brokenSignatures))
      lines.push(`  ${name}/${number} refuses every request for its signature ${signature}: ${why}`);
  for (const [name, why] of Object.entries(absentModels)) lines.push(`  ${name} is configured and not served: ${why}`);
  for (const { model, split, shadow } of traffic) {
    const shares = split.map((share) => `${share.version}=${share.weight}`).join(" ") || "all to the highest version";
    const copies = shadow ? `, ${shadow.fraction} of it copied to ${shadow.version}` : "";
    lines.push(`  traffic of ${model}: ${shares}${copies}`);
  }
  if (memory) {
    const limit = memory.limitBytes === null ? "no limit" : `a limit of ${amount(memory.limitBytes, "bytes")}`;
    lines.push(`  memory of versions by their files: ${amount(memory.heldBytes, "bytes")}, ${limit}`);
  }
  return lines.join("\n");
}
