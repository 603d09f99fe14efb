import { ServingError } from "@shardserve/core";
import type { Etcd3, IWatchCreateRequest, IWatchResponse } from "etcd3";

/** Responses that wait for a slow reader; above it the stream is ended and the watch starts again with a listing. */
const QUEUE_RESPONSES_MAX = 1024;

/**
 * Responses of one etcd watch; the first is the one that says "created".
 *
 * Uses etcd3's raw stream: its own watcher leaves a reader without events for good when etcd answers with a compaction,
 * and reports it only as an untyped "error" event (see docs/decisions/021-etcd3.md).
 *
 * @param client  whose only stream or call this is. Whatever fails or is cancelled on an etcd3 client, a call at its deadline or another
 *   watch, closes all channels of that client; a stream goes on there until the channel's next keepalive, which a closed session cannot
 *   send, and dies of that.
 * @throws what ended the stream, unless `ended` did
 */
export async function* watchStream(
  client: Etcd3,
  request: IWatchCreateRequest,
  ended: AbortSignal,
): AsyncGenerator<IWatchResponse, void, void> {
  const stream = await client.watchClient.watch();
  const queue: IWatchResponse[] = [];
  let failure: Error | undefined;
  let wake: () => void = () => undefined;
  const fail = (error: Error) => {
    failure ??= error;
    wake();
  };
  const stop = () => wake();
  ended.addEventListener("abort", stop, { once: true });
  stream.on("data", (response) => {
    if (response.canceled) {
      const why =
        response.compact_revision === "0" ? response.cancel_reason : `compacted at ${response.compact_revision}`;
      return fail(new ServingError("REGISTRY_UNAVAILABLE", `etcd cancelled the watch: ${why}`));
    }
    if (queue.length >= QUEUE_RESPONSES_MAX) {
      return fail(new ServingError("REGISTRY_UNAVAILABLE", `${queue.length} watch responses wait for their reader`));
    }
    queue.push(response);
    wake();
  });
  stream.on("error", fail);
  stream.on("end", () => fail(new ServingError("REGISTRY_UNAVAILABLE", "etcd ended the watch stream")));
  try {
    stream.write({ create_request: { ...request, progress_notify: true } });
    while (!ended.aborted) {
      const next = queue.shift();
      if (next) yield next;
      else if (failure) throw failure;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    ended.removeEventListener("abort", stop);
    cancelSafely(stream);
  }
}

/**
 * Cancels a stream in a turn of its own. Sending RST_STREAM while nghttp2 reads (where promises continue after another
 * stream was reset, as when etcd goes away) corrupts its state: Node then sends empty DATA frames for ever, 100 MB/s of
 * memory, or crashes (nodejs/node#64113; not fixed in Node 20; see docs/decisions/021-etcd3.md).
 */
export function cancelSafely(stream: { cancel(): void }): void {
  setImmediate(() => stream.cancel());
}
