import { amount, table } from "../terminal.js";

/** A table of a SavedModel or of an ONNX model, as `inspect` shows it. */
interface ShownTable {
  readonly name: string;
  /** What metrics, headers and errors call it. */
  readonly checkpointKey: string;
  readonly dtype: string;
  readonly rows: number;
  readonly rowShape: readonly number[];
  readonly bytes: number;
  readonly lookups: readonly unknown[];
  /** true, or why its rows cannot leave the graph. */
  readonly shardable: true | string;
}

/** What is looked up, a line each, under a heading; with checkpoint keys where they are other than the names. */
export function tablesText(tables: readonly ShownTable[]): string {
  const hasKeys = tables.some(({ name, checkpointKey }) => name !== checkpointKey);
  const lines = tables.map(({ name, checkpointKey, rows, rowShape, dtype, bytes, lookups, shardable }) => [
    `  ${name}`,
    rows,
    `${dtype}[${rowShape.join(",")}]`,
    amount(bytes, "bytes"),
    `${lookups.length} lookups`,
    ...(hasKeys ? [checkpointKey] : []),
    shardable === true ? "" : `stays whole: ${shardable}`,
  ]);
  return table([["  table", "rows", "row", "bytes", "", ...(hasKeys ? ["key"] : []), ""], ...lines]);
}
