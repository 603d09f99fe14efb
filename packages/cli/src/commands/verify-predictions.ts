import { type Random, ServingError, systemClock } from "@shardserve/core";
import type { Model, SignatureInfo } from "@shardserve/servable";
import {
  bytesOf,
  elementCount,
  isNumeric,
  newData,
  type NumericData,
  StringColumn,
  strings,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { parseAddress } from "@shardserve/transport";
import { PredictionClient } from "../clients.js";

/** Rows of the made-up prediction. */
const BATCH = 3;

/** How one signature's answers compare. */
export interface PredictionReport {
  readonly signature: string;
  /** "files" or the server's address. */
  readonly answeredBy: string;
  readonly isEqual: boolean;
  readonly outputs: readonly string[];
}

/** Runs every signature of both models, and of a server where the flags name one, with the same made-up inputs. */
export async function comparePredictions(
  original: Model,
  exported: Model,
  flags: { readonly address: string; readonly model: string },
  random: Random,
  tolerance: number,
): Promise<PredictionReport[]> {
  const reports: PredictionReport[] = [];
  using client =
    flags.address === ""
      ? undefined
      : new PredictionClient(parseAddress(flags.address), 60_000, () => systemClock.wallMs());
  for (const [name, signature] of original.signatures) {
    const inputs = madeUpInputs(signature, random);
    const expected = await answer(() => original.run(name, inputs, {}).then(({ outputs }) => outputs));
    const compare = async (answeredBy: string, run: () => Promise<ReadonlyMap<string, Tensor>>) => {
      const actual = await answer(run);
      reports.push({
        signature: name,
        answeredBy,
        isEqual: isSameAnswer(expected, actual, tolerance),
        outputs: describeAnswer(actual),
      });
    };
    await compare("files", () => exported.run(name, inputs, {}).then(({ outputs }) => outputs));
    if (client)
      await compare(flags.address, () => client.predict(flags.model, name, inputs).then(({ outputs }) => outputs));
  }
  return reports;
}

/** An answer, or the error that stands for it: a model may refuse made-up inputs, and then both must. */
export type Answer = ReadonlyMap<string, Tensor> | ServingError;

async function answer(run: () => Promise<ReadonlyMap<string, Tensor>>): Promise<Answer> {
  return run().catch((error: unknown) => ServingError.from(error));
}

/** @param tolerance  as a fraction of the largest magnitude of an output; 0 = to the byte */
export function isSameAnswer(expected: Answer, actual: Answer, tolerance: number): boolean {
  if (expected instanceof ServingError || actual instanceof ServingError) {
    return expected instanceof ServingError && actual instanceof ServingError && expected.status === actual.status;
  }
  return [...expected].every(([alias, value]) => {
    const other = actual.get(alias);
    if (!other || other.dtype !== value.dtype || other.shape.join() !== value.shape.join()) return false;
    if (value.data instanceof StringColumn) {
      return other.data instanceof StringColumn && value.data.toTexts().join("\0") === other.data.toTexts().join("\0");
    }
    const a = value.data as NumericData;
    const b = other.data as NumericData;
    if (tolerance === 0) return Buffer.from(bytesOf(a)).equals(bytesOf(b));
    return isClose(a, b, tolerance);
  });
}

/** @param tolerance  as a fraction of the largest magnitude, which is at least 1 */
function isClose(a: NumericData, b: NumericData, tolerance: number): boolean {
  let magnitude = 1;
  for (const element of a)
    if (Math.abs(Number(element)) < Infinity) magnitude = Math.max(magnitude, Math.abs(Number(element)));
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [Number(a[i]), Number(b[i])];
    if (!Object.is(x, y) && !(Math.abs(x - y) <= tolerance * magnitude)) return false;
  }
  return true;
}

function describeAnswer(found: Answer): string[] {
  if (found instanceof ServingError) return [`${found.code}: ${found.message}`];
  return [...found].map(([alias, { dtype, shape }]) => `${alias}: ${dtype}[${shape.join(",")}]`);
}

/** Small non-negative numbers, which most features and ids take, and short texts; three examples. */
function madeUpInputs(signature: SignatureInfo, random: Random): Map<string, Tensor> {
  return new Map(
    [...signature.inputs].map(([alias, { dtype, shape }]): [string, Tensor] => {
      const filled = (shape ?? [-1]).map((dim) => (dim < 0 ? BATCH : dim));
      const count = elementCount(filled);
      if (!isNumeric(dtype))
        return [
          alias,
          strings(
            filled,
            Array.from({ length: count }, () => String(random.uint32() % 10)),
          ),
        ];
      const data = newData(dtype, count);
      const isFraction = dtype === "float32" || dtype === "float64";
      for (let i = 0; i < count; i++) {
        const value = isFraction ? random.next() : random.uint32() % 2;
        data[i] = typeof data[i] === "bigint" ? BigInt(value) : value;
      }
      return [alias, tensor(dtype, filled, data)];
    }),
  );
}
