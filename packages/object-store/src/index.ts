export type { Listing, ObjectStore, StoredObject, Upload } from "./object-store.js";
export { childUri, isUri, parseStoreUri, type StoreUri } from "./store-uri.js";
export { StoredFiles, type StoredFilesOptions } from "./stored-files.js";
export { Stores } from "./stores.js";
export { type HeldVersion, VersionCache, type VersionCacheOptions } from "./version-cache.js";
