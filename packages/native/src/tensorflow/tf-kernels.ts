import { dtypeFromTf, type DType, WIRE_BYTES, WireReader } from "@shardserve/tensor";

/** One registered kernel of an op: where it runs and which dtypes it takes. */
export interface TfKernel {
  /** "CPU", "GPU", "XLA_CPU_JIT", ... */
  readonly device: string;
  /** Allowed dtypes by type attribute; an attribute that is absent here is free. */
  readonly dtypes: ReadonlyMap<string, ReadonlySet<DType>>;
}

/** Names of the ops in a serialised OpList: `repeated OpDef op = 1`, `OpDef { string name = 1 }`. */
export function opNames(bytes: Uint8Array): Set<string> {
  const names = new Set<string>();
  for (const op of messages(bytes, 1)) for (const name of messages(op, 1)) names.add(text(name));
  return names;
}

/**
 * A serialised KernelList: `repeated KernelDef kernel = 1`, `KernelDef { string device_type = 2; repeated AttrConstraint
 * constraint = 3 }`, `AttrConstraint { string name = 1; AttrValue allowed_values = 2 }`, types in `list.type` (1, 6).
 */
export function kernels(bytes: Uint8Array): TfKernel[] {
  return [...messages(bytes, 1)].map((kernel): TfKernel => {
    const dtypes = new Map<string, ReadonlySet<DType>>();
    for (const constraint of messages(kernel, 3)) {
      const [name] = messages(constraint, 1);
      const allowed = new Set<DType>();
      for (const value of messages(constraint, 2)) {
        for (const list of messages(value, 1)) for (const type of listTypes(list)) allowed.add(type);
      }
      if (name) dtypes.set(text(name), allowed);
    }
    const [device] = messages(kernel, 2);
    return { device: device ? text(device) : "", dtypes };
  });
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** The length-delimited values of one field. */
function* messages(bytes: Uint8Array, wanted: number): Generator<Uint8Array, void> {
  const reader = new WireReader(bytes);
  while (reader.position < reader.end) {
    const tag = reader.varint();
    const wireType = tag & 7;
    if (tag >>> 3 !== wanted || wireType !== WIRE_BYTES) {
      reader.skip(wireType);
      continue;
    }
    const length = reader.length();
    yield bytes.subarray(reader.position, reader.position + length);
    reader.position += length;
  }
}

function listTypes(list: Uint8Array): DType[] {
  const types: DType[] = [];
  for (const packed of messages(list, 6)) {
    const reader = new WireReader(packed);
    while (reader.position < reader.end) {
      const number = reader.varint();
      try {
        types.push(dtypeFromTf(number));
      } catch {
        continue; // 8-bit floats and such: no graph that we serve has them
      }
    }
  }
  return types;
}
