import {
  type GraphNode,
  type HostKernel,
  type HostState,
  type HostStep,
  type HostValue,
  type KernelCall,
} from "@shardserve/graph";
import { invariant, ServingError } from "@shardserve/core";
import type { Checkpoint } from "../load/checkpoint.js";
import { nodeError } from "./node-error.js";
import type { FrameValue, Run, SlotMap } from "./frame.js";

interface BoundNode {
  readonly node: GraphNode;
  readonly kernel: HostKernel;
  readonly inputs: Int32Array;
  /** A copy of it takes a call's inputs, in an array of the right length: one that grows takes room for 17. */
  readonly blank: readonly HostValue[];
  /** Slot of output 0, 1, ...; grows with what the kernel returns. */
  readonly outputs: Int32Array;
}

/** A host step with everything resolved before the first request: kernels, and slots instead of names. */
export class BoundHostStep {
  readonly #nodes: readonly BoundNode[];
  readonly #state: HostState;

  private constructor(nodes: readonly BoundNode[], state: HostState) {
    this.#nodes = nodes;
    this.#state = state;
  }

  /**
   * Constants and variables go into `template`, the others become calls.
   *
   * @param outputCounts  number of outputs that the plan knows of a node
   */
  static async bind(
    step: HostStep,
    slots: SlotMap,
    template: FrameValue[],
    context: {
      readonly kernelOf: (node: GraphNode) => HostKernel | undefined;
      readonly state: HostState;
      readonly checkpoint: Checkpoint;
      readonly outputCount: (node: GraphNode) => number;
    },
  ): Promise<BoundHostStep> {
    const nodes: BoundNode[] = [];
    for (const node of step.nodes) {
      if (node.op === "NoOp") continue;
      if (node.op === "Const" || node.op === "Variable") {
        template[slots.of({ node: node.name, index: 0 })] = await leafValue(node, context.checkpoint);
        continue;
      }
      const kernel = context.kernelOf(node);
      if (!kernel) throw new ServingError("OP_UNSUPPORTED", `${node.op} node "${node.name}" has no host kernel`);
      const inputs = Int32Array.from(node.inputs, (ref) => slots.of(ref));
      const count = context.outputCount(node);
      const outputs = Int32Array.from({ length: count }, (_, index) => slots.of({ node: node.name, index }));
      const blank = Array.from(inputs, () => undefined as never);
      nodes.push({ node, kernel, inputs, blank, outputs });
    }
    return new BoundHostStep(nodes, context.state);
  }

  /** Runs all nodes; a promise only if some kernel waits for I/O. */
  run(run: Run): void | Promise<void> {
    return this.#runFrom(0, run);
  }

  #runFrom(start: number, run: Run): void | Promise<void> {
    const { values, request } = run;
    for (let i = start; i < this.#nodes.length; i++) {
      const bound = this.#nodes[i]!;
      const inputs = bound.blank.slice();
      for (let k = 0; k < inputs.length; k++) inputs[k] = run.forHost(bound.inputs[k]!);
      const result = call(bound, { node: bound.node, inputs, state: this.#state, signal: request.signal, run });
      if (result instanceof Promise) {
        return result.then(
          (outputs) => {
            store(bound, outputs, values);
            return this.#runFrom(i + 1, run);
          },
          (error: unknown) => {
            throw nodeError(error, bound.node.name);
          },
        );
      }
      store(bound, result, values);
    }
  }
}

function call(bound: BoundNode, kernelCall: KernelCall): ReturnType<HostKernel> {
  try {
    return bound.kernel(kernelCall);
  } catch (error) {
    throw nodeError(error, bound.node.name);
  }
}

function store(bound: BoundNode, outputs: readonly HostValue[], values: FrameValue[]): void {
  const { node } = bound;
  invariant(
    outputs.length >= bound.outputs.length,
    () => `${node.op} "${node.name}" returned ${outputs.length} values`,
  );
  for (let k = 0; k < bound.outputs.length; k++) values[bound.outputs[k]!] = outputs[k];
}

async function leafValue(node: GraphNode, checkpoint: Checkpoint): Promise<HostValue> {
  if (node.op === "Const") return node.attrs.tensor("value");
  const slice = node.attrs.has("sliceStart")
    ? { start: node.attrs.ints("sliceStart"), length: node.attrs.ints("sliceLength") }
    : undefined;
  return checkpoint.read(node.attrs.text("checkpointKey"), slice);
}
