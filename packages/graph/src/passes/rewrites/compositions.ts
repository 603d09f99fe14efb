import { Attrs } from "../../ir/attrs.js";
import { uniqueName } from "../../ir/unique-name.js";
import type { GraphNode, TensorRef } from "../../ir/ir.js";
import { type Program, rewrite } from "../../ir/program.js";

/** Adds nodes behind the one that is taken apart. */
class Parts {
  readonly #node: GraphNode;
  readonly #isTaken: (name: string) => boolean;
  readonly nodes: GraphNode[] = [];

  constructor(node: GraphNode, isTaken: (name: string) => boolean) {
    this.#node = node;
    this.#isTaken = isTaken;
  }

  /** The first output of a new node. */
  add(op: string, inputs: readonly TensorRef[], attrs: ConstructorParameters<typeof Attrs>[1]): TensorRef {
    const taken = (name: string): boolean => this.#isTaken(name) || this.nodes.some((made) => made.name === name);
    return this.#make(uniqueName(`${this.#node.name}/${op}`, taken), op, inputs, attrs);
  }

  /** The node that gives what the whole gave, under its name. */
  end(op: string, inputs: readonly TensorRef[], attrs: ConstructorParameters<typeof Attrs>[1]): void {
    this.#make(this.#node.name, op, inputs, attrs);
  }

  #make(
    name: string,
    op: string,
    inputs: readonly TensorRef[],
    attrs: ConstructorParameters<typeof Attrs>[1],
  ): TensorRef {
    this.nodes.push({ name, op, inputs, controls: this.#node.controls, attrs: new Attrs(op, attrs) });
    return { node: name, index: 0 };
  }
}

type Compose = (node: GraphNode, parts: Parts) => void;

/** The first form of what FusedBatchNorm does at inference, of graphs from before 2016. */
const globalNormalization: Compose = ({ inputs, attrs }, parts) => {
  const [t, mean, variance, beta, gamma] = inputs as [TensorRef, TensorRef, TensorRef, TensorRef, TensorRef];
  const T = attrs.dtype("T");
  const scale = attrs.bool("scale_after_normalization") ? gamma : parts.add("OnesLike", [gamma], { T });
  const epsilon = attrs.float("variance_epsilon");
  parts.end("FusedBatchNormV3", [t, scale, beta, mean, variance], { T, U: T, epsilon, is_training: false });
};

/** A convolution of what is padded with its own reflection, and before that, it may be, resized. */
const paddedConvolution: Compose = ({ op, inputs, attrs }, parts) => {
  const T = attrs.dtype("T");
  const [paddings, filter] = inputs.slice(-2) as [TensorRef, TensorRef];
  let image = inputs[0]!;
  if (op === "FusedResizeAndPadConv2D") {
    // Its own interpolation is in float64 there, ResizeBilinear's in float32.
    if (T === "float64") return;
    const align_corners = attrs.bool("resize_align_corners");
    image = parts.add("ResizeBilinear", [image, inputs[1]!], { T, align_corners });
    if (T !== "float32") image = parts.add("Cast", [image], { SrcT: "float32", DstT: T });
  }
  const padded = parts.add("MirrorPad", [image, paddings], { T, Tpaddings: "int32", mode: attrs.text("mode") });
  parts.end("Conv2D", [padded, filter], { T, strides: attrs.ints("strides"), padding: attrs.text("padding") });
};

/** The newest form, which stands for images and volumes alike. */
const convolution: Compose = ({ inputs, attrs }, parts) => {
  const strides = attrs.ints("strides");
  const spatial = strides.length - 2;
  // What TensorFlow's own kernel takes.
  if (attrs.int("batch_dims") !== 1 || attrs.int("groups") !== 1 || (spatial !== 2 && spatial !== 3)) return;
  const dilations = attrs.ints("dilations");
  const axes = spatial === 2 ? "HW" : "DHW";
  parts.end(`Conv${spatial}D`, inputs, {
    T: attrs.dtype("T"),
    strides,
    dilations: dilations.length === 0 ? strides.map(() => 1) : dilations,
    padding: attrs.text("padding"),
    explicit_paddings: attrs.ints("explicit_paddings"),
    data_format: attrs.text("data_format") === "CHANNELS_FIRST" ? `NC${axes}` : `N${axes}C`,
  });
};

/** The first form of Conv3DBackpropInputV2: of the input, only its shape counts. */
const volumeGradient: Compose = ({ inputs, attrs }, parts) => {
  const T = attrs.dtype("T");
  const sizes = parts.add("Shape", [inputs[0]!], { T, out_type: "int32" });
  const rest = { strides: attrs.ints("strides"), padding: attrs.text("padding"), dilations: attrs.ints("dilations") };
  parts.end("Conv3DBackpropInputV2", [sizes, ...inputs.slice(1)], { T, Tshape: "int32", ...rest });
};

/** What XLA's compiler is told about devices, of which there is one. */
const asItIs: Compose = ({ inputs, attrs }, parts) =>
  parts.end("Identity", inputs.slice(0, 1), { T: attrs.dtype("T") });

const barrier: Compose = ({ inputs }, parts) => parts.end("IdentityN", inputs, {});

const einsum: Compose = ({ inputs, attrs }, parts) =>
  parts.end("Einsum", inputs, { T: attrs.dtype("T"), N: 2, equation: attrs.text("equation") });

const COMPOSITIONS: ReadonlyMap<string, Compose> = new Map([
  ["BatchNormWithGlobalNormalization", globalNormalization],
  ["FusedPadConv2D", paddedConvolution],
  ["FusedResizeAndPadConv2D", paddedConvolution],
  ["Conv", convolution],
  ["Conv3DBackpropInput", volumeGradient],
  ["XlaSharding", asItIs],
  ["XlaOptimizationBarrier", barrier],
  ["XlaEinsum", einsum],
]);

/** Ops of TensorFlow that {@link decompose} puts others in the place of. */
export function composedOps(): Iterable<string> {
  return COMPOSITIONS.keys();
}

/** Puts the ops that have kernels in the place of those that stand for several of them, or for another one. */
export function decompose(program: Program): Program {
  const replaced = new Map<string, GraphNode>();
  for (const node of program.graph.values()) {
    const compose = COMPOSITIONS.get(node.op);
    if (!compose) continue;
    const parts = new Parts(node, (name) => program.graph.has(name) || replaced.has(name));
    compose(node, parts);
    for (const part of parts.nodes) replaced.set(part.name, part);
  }
  return rewrite(program, new Map(), replaced);
}
