/** Files as strings: tf.io.read_file of a model's assets. */
import { StringColumn, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel } from "../call/op-call.js";

const readFile: Kernel = async (op) => {
  const { shape } = op.tensor(0);
  check(shape.length === 0, () => `Input filename tensor must be scalar, but had shape: ${printShape(shape)}`);
  const bytes = await op.state.readFile(op.strings(0).textAt(0), { signal: op.signal, isFromRequest: true });
  checkOutput("string", 1, bytes.length);
  return [tensor("string", [], StringColumn.from([bytes]))];
};

export const READ_FILE_KERNELS: Readonly<Record<string, Kernel>> = { ReadFile: readFile };
