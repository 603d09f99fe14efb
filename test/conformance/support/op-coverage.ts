import { opDef } from "@shardserve/graph";
import type { DType } from "@shardserve/tensor";
import type { OpCase } from "./op-cases.js";
import { isForDevice, type Verdict } from "./op-replay.js";

const COLUMNS: readonly (readonly [DType, string])[] = [
  ["float32", "f32"],
  ["float64", "f64"],
  ["float16", "f16"],
  ["bfloat16", "bf16"],
  ["int8", "i8"],
  ["int16", "i16"],
  ["int32", "i32"],
  ["int64", "i64"],
  ["uint8", "u8"],
  ["uint16", "u16"],
  ["uint32", "u32"],
  ["uint64", "u64"],
  ["bool", "bool"],
  ["complex64", "c64"],
  ["complex128", "c128"],
  ["string", "str"],
];

type Place = "H" | "D" | "B" | "-";

/** Where each op ran in each dtype. */
export class OpCoverage {
  readonly #places = new Map<string, Map<DType, Place>>();

  /** @param device  undefined where it did not run: the onnx package's own suite holds its cases to TensorFlow's answers */
  add(item: OpCase, host: Verdict, device: Verdict | undefined): void {
    const dtype = mainDType(item);
    if (!dtype || item.error !== undefined) return;
    const onHost = host.kind === "equal";
    const onDevice = device ? device.kind === "equal" : item.source === "onnx" && isForDevice(item);
    const row = this.#places.get(item.op) ?? new Map<DType, Place>();
    this.#places.set(item.op, row);
    const before = row.get(dtype) ?? "-";
    const isHost = onHost || before === "H" || before === "B";
    const isDevice = onDevice || before === "D" || before === "B";
    row.set(dtype, isHost && isDevice ? "B" : isHost ? "H" : isDevice ? "D" : "-");
  }

  table(byOp: ReadonlyMap<string, readonly OpCase[]>): string {
    const rows = [...byOp]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([op, items]) => {
        const places = this.#places.get(op);
        return `| ${op} | ${items.length} | ${COLUMNS.map(([dtype]) => places?.get(dtype) ?? "").join(" | ")} |`;
      });
    return [
      `| op | cases | ${COLUMNS.map(([, name]) => name).join(" | ")} |`,
      `|---|---|${COLUMNS.map(() => "---|").join("")}`,
      ...rows,
    ].join("\n");
  }
}

/** The dtype that an op computes in: that of its first input that the graph may choose, else of its first output. */
function mainDType({ op, inputs, outputs }: OpCase): DType | undefined {
  const def = opDef(op);
  let at = 0;
  for (const arg of def?.inputs ?? []) {
    if (
      arg.typeAttr &&
      !/^(Tidx|Tindices|Tshape|Index|index_type|Tpaddings|Tdim|Tlen|Tsegmentids|Tnumsegments|Tperm|Tmultiples|Taxis)$/i.test(
        arg.typeAttr,
      )
    ) {
      return inputs[at]?.dtype;
    }
    if (arg.numberAttr || arg.typeListAttr) break;
    at++;
  }
  return inputs[0]?.dtype ?? outputs?.[0]?.dtype;
}
