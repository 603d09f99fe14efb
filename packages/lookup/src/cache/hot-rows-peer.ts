import { type Logger, ServingError } from "@shardserve/core";
import {
  type Address,
  asRecord,
  FramedClient,
  FramedServer,
  type MutualTls,
  type RequestOptions,
  type TransportLimits,
} from "@shardserve/transport";
import { idLanes } from "../batch/id-lanes.js";

/** Ids of one table that are asked for often, the most frequent ones first to be kept; empty = nothing is known of it. */
export type HottestIds = (table: string) => Promise<BigInt64Array>;

const METHOD = "executor.hot-rows";
/** Ids of one answer: 4 MiB, half of what a control message may have. */
const IDS_MAX = 2 ** 19;
/** Executors that start together; each asks for one table at a time. */
const IN_FLIGHT_MAX = 16;
const LIMITS: Partial<TransportLimits> = { inFlightMax: IN_FLIGHT_MAX };

/**
 * Tells other executors which rows this one is asked for most.
 *
 * @param tls        who asks must show a certificate of its authority; undefined = in clear, and everybody may ask
 * @param hottestOf  of a version that is served here; undefined = it is not
 */
export function createHotRowsServer(options: {
  readonly peer: string;
  readonly listen: Address;
  readonly tls: MutualTls | undefined;
  readonly hottestOf: (model: string, version: number) => HottestIds | undefined;
  readonly logger: Logger;
}): FramedServer {
  const { peer, listen, tls, hottestOf, logger } = options;
  return new FramedServer({
    peer,
    listen: [listen],
    ...(tls && { tls }),
    limits: LIMITS,
    logger,
    calls: {
      [METHOD]: async (params) => {
        const { model, version, table } = asRecord(params, METHOD);
        if (typeof model !== "string" || typeof version !== "number" || typeof table !== "string") {
          throw new ServingError("INVALID_ARGUMENT", `${METHOD} needs model, version and table`);
        }
        const hottest = hottestOf(model, version);
        if (!hottest) throw new ServingError("NOT_FOUND", `${peer} does not serve ${model}/${version}`);
        const ids = (await hottest(table)).subarray(0, IDS_MAX);
        return { ids: new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength) };
      },
    },
  });
}

/** Another executor, asked for what it is asked for most. */
export class HotRowsPeer implements AsyncDisposable {
  readonly #client: FramedClient;

  /**
   * @param peer  who asks, for the other's log
   * @throws ServingError UNAVAILABLE when it cannot be reached in time; the signal's reason
   */
  static async connect(
    address: Address,
    options: RequestOptions & {
      readonly peer: string;
      readonly tls: MutualTls | undefined;
      readonly logger: Logger;
    },
  ): Promise<HotRowsPeer> {
    const { peer, tls, logger, ...limits } = options;
    const client = new FramedClient({ address, peer, tls, limits: LIMITS, logger });
    await client.start();
    try {
      await client.whenReady(limits);
      return new HotRowsPeer(client);
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  private constructor(client: FramedClient) {
    this.#client = client;
  }

  /** @throws ServingError UNAVAILABLE, DEADLINE_EXCEEDED, NOT_FOUND where the version is not served there */
  async hottest(model: string, version: number, table: string, options: RequestOptions): Promise<BigInt64Array> {
    const { ids } = asRecord(await this.#client.call(METHOD, { model, version, table }, options), METHOD);
    if (!(ids instanceof Uint8Array) || ids.byteLength % 8 !== 0) {
      throw new ServingError("FRAME_INVALID", `${this.#client.where} sent no ids`);
    }
    return new BigInt64Array(ids.slice().buffer); // msgpack's bytes need not be aligned
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}

/** Ids that are rows of a table with so many; what came from elsewhere may have others. */
export function idsWithin(ids: BigInt64Array, rows: number): BigInt64Array {
  const { lanes } = idLanes(ids);
  const kept = new Int32Array(lanes.length);
  let at = 0;
  for (let i = 0; i < lanes.length; i += 2) {
    const hi = lanes[i + 1]!;
    if (hi < 0 || hi * 2 ** 32 + (lanes[i]! >>> 0) >= rows) continue;
    kept[at++] = lanes[i]!;
    kept[at++] = hi;
  }
  return new BigInt64Array(kept.buffer, 0, at / 2);
}
