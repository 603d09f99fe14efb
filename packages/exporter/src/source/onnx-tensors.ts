import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { isAbsolute, join, normalize, relative, sep } from "node:path";
import { onnx, toBinary } from "@shardserve/api";
import { InvariantError, readAt, ServingError } from "@shardserve/core";
import { isExternal, ONNX_MODEL_FILE } from "@shardserve/onnx";
import type { SourceTensors, StoredPart } from "./export-source.js";

/** Initialisers are compared in pieces of this many bytes. */
const COMPARED_BYTES = 4 * 2 ** 20;

/** Where the raw bytes of a graph's initialisers are; those that have none are absent. */
export async function storedParts(
  dir: string,
  graph: onnx.GraphProto,
  file: Uint8Array,
): Promise<Map<string, StoredPart>> {
  const parts = new Map<string, StoredPart>();
  for (const tensor of graph.initializer) {
    const part = await storedPart(dir, tensor, file);
    if (part) parts.set(tensor.name, part);
  }
  return parts;
}

/** Where an initialiser's raw bytes are; undefined when it has none. */
export async function storedPart(
  dir: string,
  tensor: onnx.TensorProto,
  file: Uint8Array,
): Promise<StoredPart | undefined> {
  const { rawData } = tensor;
  const common = { byteStart: 0, crc32c: undefined };
  if (!isExternal(tensor)) {
    if (rawData.length === 0) return undefined;
    const offset = rawData.byteOffset - file.byteOffset; // a view of the file as it was read
    return { ...common, path: join(dir, ONNX_MODEL_FILE), offset, size: rawData.length };
  }
  const { path, offset, size } = await externalRange(dir, tensor);
  return { ...common, path, offset, size };
}

/** What an external tensor says of its place. @throws ServingError CHECKPOINT_INVALID */
export function externalData(dir: string, tensor: onnx.TensorProto) {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const refuse = (why: string) =>
    new ServingError("CHECKPOINT_INVALID", `${join(dir, ONNX_MODEL_FILE)}: external data of "${tensor.name}": ${why}`);
  const location = normalize(entries.get("location") ?? "");
  if (location === "." || isAbsolute(location) || location.split(sep).includes(".."))
    throw refuse(`${JSON.stringify(entries.get("location") ?? "")} is no file of the directory`);
  const numberOf = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text === "" || !Number.isSafeInteger(value) || value < 0) throw refuse(`${key} is ${JSON.stringify(text)}`);
    return value;
  };
  return { location, offset: numberOf("offset") ?? 0, length: numberOf("length"), refuse };
}

/**
 * The range of a file that holds an external tensor, known to be there. Links may lead to it, but not out of the directory: what ONNX
 * Runtime refuses when it loads the model must not be read into partitions.
 */
export async function externalRange(dir: string, tensor: onnx.TensorProto) {
  const { location, offset, length, refuse } = externalData(dir, tensor);
  const path = join(dir, location);
  const unreadable = (cause: unknown) => {
    throw new ServingError("CHECKPOINT_INVALID", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  };
  const [resolved, allowed] = [await realpath(path).catch(unreadable), await realpath(dir).catch(unreadable)];
  if (relative(allowed, resolved).split(sep)[0] === "..")
    throw refuse(
      `External data path escapes model directory: ${JSON.stringify(location)} leads to ${resolved}; put the file into the directory`,
    );
  const { size: fileBytes } = await stat(path).catch(unreadable);
  const size = length ?? fileBytes - offset;
  if (size < 0 || offset + size > fileBytes)
    throw refuse(`it ends at byte ${offset + Math.max(size, 0)}, ${location} has ${fileBytes}; copy the file again`);
  return { path, offset, size };
}

/** The raw bytes of initialisers. */
export class OnnxTensors implements SourceTensors {
  readonly #parts: ReadonlyMap<string, StoredPart>;
  readonly #files = new Map<string, FileHandle>();

  constructor(parts: ReadonlyMap<string, StoredPart>) {
    this.#parts = parts;
  }

  parts(checkpointKey: string): readonly StoredPart[] {
    return [this.#part(checkpointKey)];
  }

  stream(checkpointKey: string): never {
    throw new InvariantError(`initialiser "${checkpointKey}" is one part`);
  }

  async readRange(checkpointKey: string, start: number, length: number): Promise<Uint8Array> {
    const { path, offset, size } = this.#part(checkpointKey);
    if (start + length > size)
      throw new ServingError("INVALID_ARGUMENT", `bytes ${start} to ${start + length} of "${checkpointKey}" exceed it`);
    let file = this.#files.get(path);
    if (!file) this.#files.set(path, (file = await open(path)));
    const out = new Uint8Array(length);
    if ((await readAt(file, out, offset + start)) < length)
      throw new ServingError("CHECKPOINT_INVALID", `${path} ends while it is read`);
    return out;
  }

  /** Whether an initialiser has the values of another's. */
  async isSame(own: onnx.TensorProto, others: OnnxTensors, other: onnx.TensorProto): Promise<boolean> {
    const [part, otherPart] = [this.#parts.get(own.name), others.#parts.get(other.name)];
    if (!part || !otherPart) {
      const numbers = [own, other].map((tensor) => Buffer.from(toBinary(onnx.TensorProtoSchema, tensor)));
      return !part && !otherPart && numbers[0]!.equals(numbers[1]!);
    }
    if (part.size !== otherPart.size) return false;
    for (let start = 0; start < part.size; start += COMPARED_BYTES) {
      const length = Math.min(COMPARED_BYTES, part.size - start);
      const bytes = await this.readRange(own.name, start, length);
      if (!Buffer.from(bytes.buffer).equals(await others.readRange(other.name, start, length))) return false;
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.close()));
    this.#files.clear();
  }

  #part(checkpointKey: string): StoredPart {
    const part = this.#parts.get(checkpointKey);
    if (part) return part;
    throw new ServingError("CHECKPOINT_INVALID", `the model has no raw initialiser "${checkpointKey}"`);
  }
}
