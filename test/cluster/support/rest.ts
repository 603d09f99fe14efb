import {
  type DType,
  elementCount,
  newData,
  type NumericDType,
  StringColumn,
  strings,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/** A refused REST request. */
export class RestError extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(text);
    this.status = status;
  }
}

/**
 * Asks for a prediction in the columnar form of TensorFlow Serving's REST API.
 *
 * @param expected  tells the dtypes of the outputs, which JSON does not
 * @throws RestError with the server's status and message
 */
export async function restPredict(
  address: string,
  model: string,
  signature: string,
  inputs: ReadonlyMap<string, Tensor>,
  expected: ReadonlyMap<string, Tensor>,
): Promise<Map<string, Tensor>> {
  const json = Object.fromEntries([...inputs].map(([alias, value]) => [alias, toJson(value)]));
  const response = await fetch(`http://${address}/v1/models/${model}:predict`, {
    method: "POST",
    body: stringify({ signature_name: signature, inputs: json }),
  });
  const text = await response.text();
  if (!response.ok) throw new RestError(response.status, text);
  const reply = JSON.parse(quoteNonFinite(text)) as { outputs: unknown };
  // A single output comes without its name.
  const named = expected.size === 1 ? { [[...expected.keys()][0]!]: reply.outputs } : (reply.outputs as object);
  return new Map(
    Object.entries(named).map(([alias, value]) => {
      const dtype = expected.get(alias)?.dtype;
      if (dtype === undefined) throw new Error(`output "${alias}" is not in the golden: ${text.slice(0, 500)}`);
      return [alias, fromJson(value, dtype)];
    }),
  );
}

/** Stands for a number that JSON.stringify cannot write. */
class Literal {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function stringify(value: unknown): string {
  if (value instanceof Literal) return value.text;
  if (Array.isArray(value)) return `[${value.map(stringify).join(",")}]`;
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .map(([key, item]) => `${JSON.stringify(key)}:${stringify(item)}`)
      .join(",")}}`;
  return JSON.stringify(value);
}

/** TensorFlow Serving writes NaN and Infinity bare. No string of the goldens holds these words after a colon, comma or bracket. */
function quoteNonFinite(text: string): string {
  return text.replaceAll(/(?<=[[,:]\s*)(-?Infinity|NaN)(?=\s*[\],}])/g, '"$1"');
}

function toJson(value: Tensor): unknown {
  const leaf = (i: number): unknown => {
    const { data } = value;
    if (data instanceof StringColumn) {
      const bytes = Buffer.from(data.at(i));
      const text = bytes.toString("utf8");
      return Buffer.from(text, "utf8").equals(bytes) ? text : { b64: bytes.toString("base64") };
    }
    if (value.dtype === "bool") return data[i] !== 0;
    return new Literal(String(data[i] as number | bigint)); // shortest text that reads back as the same double; floats are doubles here
  };
  const nest = (dim: number, start: number): unknown => {
    if (dim === value.shape.length) return leaf(start);
    const stride = elementCount(value.shape.slice(dim + 1));
    return Array.from({ length: value.shape[dim]! }, (_, i) => nest(dim + 1, start + i * stride));
  };
  return nest(0, 0);
}

function fromJson(value: unknown, dtype: DType): Tensor {
  const shape: number[] = [];
  for (let level = value; Array.isArray(level); level = level[0]) shape.push(level.length);
  const leaves = (Array.isArray(value) ? value.flat(Infinity) : [value]) as unknown[];
  if (dtype === "string") return strings(shape, leaves.map(bytesOf));
  const data = newData(dtype as NumericDType, leaves.length) as unknown as (number | bigint)[];
  const isBig = dtype === "int64" || dtype === "uint64";
  for (const [i, item] of leaves.entries()) data[i] = isBig ? BigInt(item as number) : Number(item);
  return tensor(dtype, shape, data as never);
}

function bytesOf(value: unknown): Uint8Array {
  if (typeof value === "string") return Buffer.from(value);
  return Buffer.from((value as { b64: string }).b64, "base64");
}
