import { inParallel } from "@shardserve/core";
import type { ObjectStore, StoreUri } from "@shardserve/object-store";
import { PUTS_MAX } from "./put-files.js";

/** Removes everything below a place, the manifest first: what is cut off leaves nothing that looks whole. */
export async function removeStored(
  store: ObjectStore,
  place: StoreUri,
  manifest: string,
  signal?: AbortSignal,
): Promise<void> {
  await store.remove(place, manifest, signal);
  const others = (await store.objects(place, signal)).filter(({ path }) => path !== manifest);
  await inParallel(others, PUTS_MAX, ({ path }) => store.remove(place, path, signal));
}
