/** Scripts of code points, as TensorFlow's ICU numbers them (UScriptCode). */
import type { Tensor } from "@shardserve/tensor";
import { withData } from "./elements.js";
import type { Kernel, OpCall } from "./op-call.js";
import { SCRIPT_RUNS } from "./unicode-scripts.js";

const LAST_CODE_POINT = 0x10ffff;
const NO_SCRIPT = -1;

interface Runs {
  readonly starts: Int32Array;
  readonly scripts: Int32Array;
}

let decoded: Runs | undefined;

function runs(): Runs {
  if (decoded) return decoded;
  const texts = SCRIPT_RUNS.split(" ");
  decoded = { starts: new Int32Array(texts.length), scripts: new Int32Array(texts.length) };
  let start = 0;
  for (const [i, text] of texts.entries()) {
    const [gap, script] = text.split(":");
    start += parseInt(gap!, 36);
    decoded.starts[i] = start;
    decoded.scripts[i] = parseInt(script!, 36);
  }
  return decoded;
}

/** ICU's UScriptCode of a code point; -1 of what is none. */
export function scriptOf(code: number): number {
  if (code < 0 || code > LAST_CODE_POINT) return NO_SCRIPT;
  const { starts, scripts } = runs();
  let [low, high] = [0, starts.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= code) low = middle;
    else high = middle;
  }
  return scripts[low]!;
}

function unicodeScript(op: OpCall): Tensor[] {
  const { shape, data } = op.tensor(0);
  return [withData("int32", shape, (data as Int32Array).map(scriptOf))];
}

export const SCRIPT_KERNELS: Readonly<Record<string, Kernel>> = { UnicodeScript: unicodeScript };
