/** Messages between RemoteRegistry and RegistryServer, as both ends read them: every field checked. */
import { ServingError } from "@shardserve/core";
import type { StoreOperation } from "../memory/memory-store.js";
import { RecordReader } from "../records/record-reader.js";
import type { Change, Compare, Entry, Listing, WatchEvent } from "../registry.js";

export function readEntry(raw: unknown): Entry {
  return entryOf(new RecordReader(raw, "registry entry"));
}

export function readListing(raw: unknown): Listing {
  const reader = new RecordReader(raw, "registry listing");
  return { revision: reader.integer("revision"), entries: reader.objects("entries").map(entryOf) };
}

/** Undefined when the lease is gone. */
export function readLeaseKeys(raw: unknown): readonly string[] | undefined {
  const reader = new RecordReader(raw, "registry keys of a lease");
  return reader.optional("keys", () => reader.texts("keys")).keys;
}

export function readWatchEvent(raw: unknown): WatchEvent {
  const reader = new RecordReader(raw, "registry watch event");
  const type = reader.oneOf("type", ["snapshot", "changes"]);
  const revision = reader.integer("revision");
  if (type === "snapshot") return { type, revision, entries: reader.objects("entries").map(entryOf) };
  return { type, revision, changes: reader.objects("changes").map(changeOf) };
}

export function readCompares(reader: RecordReader): Compare[] {
  return reader
    .objects("compares")
    .map((item) => ({ key: item.text("key"), modRevision: item.integer("modRevision") }));
}

export function readOperations(reader: RecordReader): StoreOperation[] {
  return reader.objects("operations").map((item) => {
    if (item.raw("put") === undefined) return { delete: item.text("delete") };
    return {
      put: item.text("put"),
      value: bytesOf(item),
      ...item.optional("leaseId", () => item.text("leaseId")),
    };
  });
}

export function entryOf(reader: RecordReader): Entry {
  return {
    key: reader.text("key"),
    value: bytesOf(reader),
    modRevision: reader.integer("modRevision"),
    createRevision: reader.integer("createRevision"),
  };
}

function changeOf(reader: RecordReader): Change {
  const type = reader.oneOf("type", ["put", "delete"]);
  return type === "put" ? { type, entry: entryOf(reader.object("entry")) } : { type, key: reader.text("key") };
}

function bytesOf(reader: RecordReader): Uint8Array {
  const value = reader.raw("value");
  if (!(value instanceof Uint8Array)) throw new ServingError("INVALID_ARGUMENT", `${reader.where}: value is not bytes`);
  return value;
}
