import { type Logger, ServingError, systemClock } from "@shardserve/core";
import { type HottestIds, HotRowsPeer } from "@shardserve/lookup";
import { EXECUTORS_PREFIX, executorRecord, type Registry } from "@shardserve/registry";
import { parseTlsConfig } from "@shardserve/model-server";
import type { ServableId } from "@shardserve/servable";
import { type MutualTls, parseAddress } from "@shardserve/transport";

/** How long the registry and a peer may take to answer: a cold cache is no reason to wait longer. */
const ANSWER_MS = 2_000;

/** Whom an executor that starts can learn from. */
export interface HotRowsSource extends AsyncDisposable {
  /** "executor-1, version 3", for logs. */
  readonly from: string;
  readonly hottest: HottestIds;
}

/**
 * Reads an SSLConfig that both ends of a connection between executors use.
 *
 * @throws ServingError CONFIG_INVALID also without an authority: a certificate that everybody may have would prove nothing
 */
export function parsePeerTls(text: string, path: string): MutualTls {
  const { key, cert, clientCa } = parseTlsConfig(text, path);
  if (clientCa === undefined)
    throw new ServingError(
      "CONFIG_INVALID",
      `${path}: custom_ca is needed, the authority of all executors' certificates`,
    );
  return { key, cert, ca: clientCa };
}

/**
 * Another executor that answers from a version, or else from another version of the model; undefined = there is none, or
 * none that listens for peers.
 *
 * @param self  the own id
 * @throws ServingError when the registry does not answer; the signal's reason
 */
export async function findHotRows(
  registry: Registry,
  self: string,
  id: ServableId,
  options: { readonly tls: MutualTls | undefined; readonly signal: AbortSignal; readonly logger: Logger },
): Promise<HotRowsSource | undefined> {
  const { tls, signal, logger } = options;
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  const { entries } = await registry.list(EXECUTORS_PREFIX, { signal: inTime });
  const candidates = entries
    .map(({ key, value }) => executorRecord.decode(value, key))
    .filter((record) => record.id !== self)
    .flatMap(({ id: peer, addresses, serving }) =>
      serving
        .filter(({ model, state }) => model === id.name && state === "available")
        .map(({ version }) => ({ peer, address: addresses.tcp, version })),
    )
    .sort((a, b) => distance(a.version) - distance(b.version));
  function distance(version: number): number {
    return Math.abs(version - id.version);
  }
  const limits = () => ({ signal, deadlineMs: systemClock.nowMs() + ANSWER_MS });
  for (const { peer, address, version } of candidates) {
    if (address === undefined) continue;
    const options = { ...limits(), peer: `executor ${self}`, tls, logger };
    const client = await HotRowsPeer.connect(parseAddress(address), options).catch((error: unknown) => {
      signal.throwIfAborted();
      logger.info({ peer, address, error: ServingError.from(error).message }, "a peer cannot be asked for hot rows");
      return undefined;
    });
    if (!client) continue;
    const hottest: HottestIds = (table) => client.hottest(id.name, version, table, limits());
    return { from: `${peer}, version ${version}`, hottest, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
  }
  return undefined;
}
