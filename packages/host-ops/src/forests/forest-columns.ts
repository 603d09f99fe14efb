/** Which column of which matrix of the inference op each column of the data spec is. */
import { damaged, unsupported } from "./forest-errors.js";
import {
  BOOLEAN,
  CATEGORICAL,
  CATEGORICAL_SET,
  type ColumnSpec,
  DISCRETIZED_NUMERICAL,
  NUMERICAL,
} from "./forest-headers.js";

/** The matrices, in the order of the op's inputs. */
export type Bank = "numbers" | "booleans" | "categories" | "sets";

const BANKS: ReadonlyMap<number, Bank> = new Map([
  [NUMERICAL, "numbers"],
  [DISCRETIZED_NUMERICAL, "numbers"],
  [BOOLEAN, "booleans"],
  [CATEGORICAL, "categories"],
  [CATEGORICAL_SET, "sets"],
]);

export interface InputColumn {
  readonly bank: Bank;
  readonly index: number;
  readonly spec: ColumnSpec;
}

export interface InputColumns {
  /** By column of the data spec. */
  readonly byColumn: ReadonlyMap<number, InputColumn>;
  readonly counts: Readonly<Record<Bank, number>>;
  /** Number of values of each column of categories and of sets: others are out of vocabulary. */
  readonly categoryCounts: readonly number[];
  readonly setCounts: readonly number[];
}

/**
 * @param file  of the header that names the columns
 * @throws ServingError SAVED_MODEL_INVALID for columns that there are not, UNIMPLEMENTED for columns of other types
 */
export function inputColumns(file: string, columns: readonly ColumnSpec[], inputs: readonly number[]): InputColumns {
  const byColumn = new Map<number, InputColumn>();
  const counts = { numbers: 0, booleans: 0, categories: 0, sets: 0 };
  const [categoryCounts, setCounts]: [number[], number[]] = [[], []];
  for (const column of inputs) {
    const spec = columns[column];
    if (!spec) throw damaged(file, `input column ${column} is not in the data spec, which has ${columns.length}`);
    if (byColumn.has(column)) throw damaged(file, `column ${column} is an input twice`);
    const bank = BANKS.get(spec.type);
    if (!bank) throw unsupported(`column ${JSON.stringify(spec.name)} of type ${spec.type}`);
    byColumn.set(column, { bank, index: counts[bank]++, spec });
    if (bank === "categories") categoryCounts.push(spec.valueCount);
    if (bank === "sets") setCounts.push(spec.valueCount);
  }
  return { byColumn, counts, categoryCounts, setCounts };
}
