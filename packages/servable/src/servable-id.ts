/** One version of one served model. Versions are int64 on the wire and in directory names; here a safe integer >= 0. */
export interface ServableId {
  readonly name: string;
  readonly version: number;
}

/** "{name: N version: V}", as TensorFlow Serving prints it. */
export function servableIdText(id: ServableId): string {
  return `{name: ${id.name} version: ${id.version}}`;
}

/** A version that a source offers: what to load and from where. */
export interface AspiredVersion {
  readonly version: number;
  /** Version directory. */
  readonly path: string;
}

/** The full set of versions wanted now for one name; a version left out is to be unloaded. */
export type AspiredSet = readonly AspiredVersion[];

/** Whether both name the same versions in the same places. */
export function isSameSet(a: AspiredSet, b: AspiredSet): boolean {
  return a.length === b.length && a.every(({ version, path }, i) => version === b[i]!.version && path === b[i]!.path);
}
