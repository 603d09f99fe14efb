/** Scripts of code points, as TensorFlow's ICU numbers them (UScriptCode), and as TensorFlow Text's newer one tells them apart. */
import type { Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { SCRIPT_RUNS, TEXT_SCRIPT_RUNS } from "./unicode-scripts.js";

const LAST_CODE_POINT = 0x10ffff;
const NO_SCRIPT = -1;
/** In the table of TensorFlow Text: the script is TensorFlow's. */
const SAME = -2;

/** Runs of code points of one script, decoded when they are first asked. */
class Runs {
  readonly #text: string;
  #starts = new Int32Array(0);
  #scripts = new Int32Array(0);

  constructor(text: string) {
    this.#text = text;
  }

  at(code: number): number {
    if (this.#starts.length === 0) this.#decode();
    const starts = this.#starts;
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= code) low = middle;
      else high = middle;
    }
    return this.#scripts[low]!;
  }

  #decode(): void {
    const runs = this.#text.split(" ").map((run) => run.split(":"));
    let start = 0;
    this.#starts = Int32Array.from(runs, ([gap]) => (start += parseInt(gap!, 36)));
    this.#scripts = Int32Array.from(runs, ([, script]) => (script === "-" ? SAME : parseInt(script!, 36)));
  }
}

const scripts = new Runs(SCRIPT_RUNS);
const textScripts = new Runs(TEXT_SCRIPT_RUNS);

/** TensorFlow's UScriptCode of a code point; -1 of what is none. */
function scriptOf(code: number): number {
  return code < 0 || code > LAST_CODE_POINT ? NO_SCRIPT : scripts.at(code);
}

/** A number that TensorFlow Text's code points of one script share. */
export function textScriptOf(code: number): number {
  if (code < 0 || code > LAST_CODE_POINT) return NO_SCRIPT;
  const script = textScripts.at(code);
  return script === SAME ? scripts.at(code) : script;
}

function unicodeScript(op: OpCall): Tensor[] {
  const { shape, data } = op.tensor(0);
  return [withData("int32", shape, (data as Int32Array).map(scriptOf))];
}

export const SCRIPT_KERNELS: Readonly<Record<string, Kernel>> = { UnicodeScript: unicodeScript };
