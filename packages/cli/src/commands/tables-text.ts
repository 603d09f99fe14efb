import { amount, table } from "../terminal.js";

/** A table of a SavedModel or of an ONNX model, as `inspect` shows it. */
interface ShownTable {
  readonly name: string;
  readonly dtype: string;
  readonly rows: number;
  readonly rowShape: readonly number[];
  readonly bytes: number;
  readonly lookups: readonly unknown[];
  /** true, or why its rows cannot leave the graph. */
  readonly shardable: true | string;
}

/** What is looked up, a line each, under a heading. */
export function tablesText(tables: readonly ShownTable[]): string {
  const lines = tables.map(({ name, rows, rowShape, dtype, bytes, lookups, shardable }) => [
    `  ${name}`,
    rows,
    `${dtype}[${rowShape.join(",")}]`,
    amount(bytes, "bytes"),
    `${lookups.length} lookups`,
    shardable === true ? "" : `stays whole: ${shardable}`,
  ]);
  return table([["  table", "rows", "row", "bytes", "", ""], ...lines]);
}
