import {
  create,
  ExampleSchema,
  fromBinary,
  SignatureDefMapSchema,
  type SignatureDef,
  SignatureDefSchema,
  toBinary,
} from "@shardserve/api";
import type { Model, RowsReport, RunOptions, RunResult, SignatureInfo, TensorSpec } from "@shardserve/servable";
import { type DType, DTYPES, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";

export type Run = (
  inputs: ReadonlyMap<string, Tensor>,
  options: RunOptions,
) => Promise<Record<string, Tensor>> | Record<string, Tensor>;

interface SignatureOfTest {
  readonly inputs: Record<string, { dtype: DType; feedDType?: DType; shape?: readonly number[]; tensorName?: string }>;
  readonly outputs: Record<string, { dtype: DType; shape?: readonly number[] }>;
  readonly method?: string;
  readonly defaults?: Record<string, Tensor>;
  readonly run: Run;
}

/** A model made of functions. */
export class FunctionModel implements Model {
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #runs = new Map<string, Run>();
  readonly report: RowsReport | undefined;
  isClosed = false;
  runCount = 0;

  constructor(signatures: Record<string, SignatureOfTest>, report?: RowsReport) {
    const infos = new Map<string, SignatureInfo>();
    const signatureDef: Record<string, SignatureDef> = {};
    for (const [name, signature] of Object.entries(signatures)) {
      const method = signature.method ?? "tensorflow/serving/predict";
      const info: SignatureInfo = {
        name,
        method,
        inputs: specs(signature.inputs),
        outputs: specs(signature.outputs),
        defaults: new Map(Object.entries(signature.defaults ?? {})),
      };
      infos.set(name, info);
      this.#runs.set(name, signature.run);
      signatureDef[name] = create(SignatureDefSchema, {
        inputs: infosOf(info.inputs),
        outputs: infosOf(info.outputs),
        methodName: method,
      });
    }
    this.signatures = infos;
    this.report = report;
    this.metadata = toBinary(SignatureDefMapSchema, create(SignatureDefMapSchema, { signatureDef }));
  }

  async run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    options.signal?.throwIfAborted();
    if (this.isClosed) throw new Error("the model was closed under a run");
    this.runCount++;
    const all = await this.#runs.get(signature)!(inputs, options);
    if (this.isClosed) throw new Error("the model was closed under a run");
    const asked = options.outputs ?? [...this.signatures.get(signature)!.outputs.keys()];
    return {
      outputs: new Map(asked.map((alias) => [alias, all[alias]!])),
      timings: { hostMs: 0.1, lookupMs: 0.2, deviceMs: 0.3 },
      ...(this.report ? { report: this.report } : {}),
    };
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

function specs(of: SignatureOfTest["inputs"]): ReadonlyMap<string, TensorSpec> {
  return new Map(
    Object.entries(of).map(([name, { dtype, feedDType, shape, tensorName }]) => [
      name,
      { name, dtype, ...(feedDType && { feedDType }), shape, tensorName: tensorName ?? `${name}:0` },
    ]),
  );
}

function infosOf(of: ReadonlyMap<string, TensorSpec>) {
  return Object.fromEntries(
    [...of].map(([alias, spec]) => [
      alias,
      {
        encoding: { case: "name" as const, value: spec.tensorName },
        dtype: DTYPES[spec.dtype].tf,
        tensorShape: spec.shape
          ? { dim: spec.shape.map((size) => ({ size: BigInt(size), name: "" })), unknownRank: false }
          : { unknownRank: true },
      },
    ]),
  );
}

const half = (value: Tensor, plus: number) =>
  tensor(
    "float32",
    value.shape,
    Float32Array.from(value.data as Float32Array, (x) => x * 0.5 + plus),
  );

/** tf.Example features "x" as a column, as the graph's ParseExample makes it. */
function parsed(examples: Tensor): Tensor {
  const column = examples.data as StringColumn;
  const values = Array.from({ length: column.length }, (_, i) => {
    const kind = fromBinary(ExampleSchema, column.at(i)).features!.feature["x"]!.kind;
    return kind.case === "floatList" ? kind.value.value[0]! : Number.NaN;
  });
  return tensor("float32", [values.length, 1], Float32Array.from(values));
}

const float = { dtype: "float32", shape: [-1, 1] } as const;
const text = { dtype: "string", tensorName: "tf_example:0" } as const;

/** saved_model_half_plus_two by hand: the signatures of the original, x * 0.5 + plus. */
export function halfPlus(plus: number, report?: RowsReport): FunctionModel {
  const regression = (add: number): SignatureOfTest => ({
    inputs: { inputs: text },
    outputs: { outputs: float },
    method: "tensorflow/serving/regress",
    run: (inputs) => ({ outputs: half(parsed(inputs.get("inputs")!), add) }),
  });
  return new FunctionModel(
    {
      serving_default: {
        inputs: { x: float },
        outputs: { y: float },
        run: (inputs) => ({ y: half(inputs.get("x")!, plus) }),
      },
      regress_x_to_y: regression(plus),
      regress_x_to_y2: regression(plus + 1),
      // As saved_model_half_plus_three declares it: float, although its placeholder takes strings.
      "tensorflow/serving/regress": {
        ...regression(plus),
        inputs: { inputs: { dtype: "float32", feedDType: "string", tensorName: "tf_example:0" } },
      },
      classify_x_to_y: {
        inputs: { inputs: text },
        outputs: { scores: float },
        method: "tensorflow/serving/classify",
        run: (inputs) => ({ scores: half(parsed(inputs.get("inputs")!), plus) }),
      },
    },
    report,
  );
}
