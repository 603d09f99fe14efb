export type { ObjectStore, StoredObject } from "./object-store.js";
export { childUri, isUri, parseStoreUri, type StoreUri } from "./store-uri.js";
export { Stores } from "./stores.js";
export { type HeldVersion, VersionCache, type VersionCacheOptions } from "./version-cache.js";
