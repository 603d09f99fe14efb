import assert from "node:assert/strict";
import { type ArgDef, type AttrValue, opDef } from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import { constantBytes, deviceSupports, KERNELS, lowerSegment } from "@shardserve/onnx";
import { DTYPES, numberToHalf, toNumbers } from "@shardserve/tensor";
import { opGoldenTensor } from "@shardserve/testkit";
import { build, type GoldenCase, goldenCases, type GoldenTensor } from "./golden-cases.js";

/**
 * Engines that compute with 16-bit floats get them as they are, beside whatever else a lowering puts in. Where the two types do not go
 * together the session does not open, on the CPU neither.
 */
for (const [family, cases] of goldenCases()) {
  describe(`float16 for kernels that compute with it: ${family}`, () => {
    for (const op of new Set(cases.map((golden) => golden.op))) {
      it(op, async () => {
        const wrong: string[] = [];
        for (const golden of cases) {
          const half = golden.op === op && !golden.error && halved(golden);
          if (!half) continue;
          const { step, infos, node, context } = build(half, "static shapes");
          if (deviceSupports(node, context) !== true) continue;
          try {
            const model = lowerSegment(step, infos, KERNELS.cuda).encode(constantBytes);
            (await loadOrt().createSession(model)).close();
          } catch (error) {
            wrong.push(`${JSON.stringify(half.attrs)}: ${(error as Error).message}`);
          }
        }
        assert.deepEqual(wrong, []);
      });
    }
  });
}

const [FLOAT, HALF] = [DTYPES.float32.tf, DTYPES.float16.tf];

/** The case with float16 for float32 where attributes say which dtype a value has; undefined where none says float32. */
function halved(golden: GoldenCase): GoldenCase | undefined {
  const { inputs = [], outputs = [] } = opDef(golden.op) ?? {};
  const isHalved = (arg: ArgDef | undefined): boolean => {
    return arg?.typeAttr !== undefined && golden.attrs[arg.typeAttr] === FLOAT && arg.numberAttr === undefined;
  };
  if (
    !inputs.some(isHalved) ||
    [...inputs, ...outputs].some(({ numberAttr, typeListAttr }) => numberAttr ?? typeListAttr)
  ) {
    return undefined;
  }
  const changed = (value: GoldenTensor, arg: ArgDef | undefined): GoldenTensor =>
    !isHalved(arg)
      ? value
      : { d: HALF, s: value.s, v: toNumbers(opGoldenTensor(value)).map(numberToHalf), ...(value.c && { c: 1 }) };
  const names = [...inputs, ...outputs].flatMap((arg) => (isHalved(arg) ? [arg.typeAttr!] : []));
  return {
    ...golden,
    attrs: { ...golden.attrs, ...Object.fromEntries(names.map((name): [string, AttrValue] => [name, HALF])) },
    in: golden.in.map((value, i) => changed(value, inputs[i])),
    out: golden.out!.map((value, i) => changed(value, outputs[i])),
  };
}
