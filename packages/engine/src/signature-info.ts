import { create, type MetaGraphDef, SignatureDefMapSchema, toBinary } from "@shardserve/api";
import type { ModelGraph } from "@shardserve/graph";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { decodeTensorProto, type Tensor } from "@shardserve/tensor";

/** What callers may know of the signatures that can be read. */
export function signatureInfos(metaGraph: MetaGraphDef, model: ModelGraph): Map<string, SignatureInfo> {
  const infos = new Map<string, SignatureInfo>();
  for (const [name, { method, inputs, outputs }] of model.signatures) {
    const def = metaGraph.signatureDef[name]!;
    const specs = (tensors: typeof inputs, defs: typeof def.inputs): Map<string, TensorSpec> =>
      new Map(
        tensors.map(({ alias, dtype, shape }) => {
          const encoding = defs[alias]?.encoding;
          const tensorName = encoding?.case === "name" ? encoding.value : "";
          return [alias, { name: alias, dtype, shape, tensorName }];
        }),
      );
    const defaults = new Map<string, Tensor>();
    for (const [alias, bytes] of Object.entries(def.defaults)) defaults.set(alias, decodeTensorProto(bytes));
    infos.set(name, {
      name,
      method,
      inputs: specs(inputs, def.inputs),
      outputs: specs(outputs, def.outputs),
      defaults,
    });
  }
  return infos;
}

/** The answer to GetModelMetadata: every SignatureDef as the model has it. */
export function signatureMetadata(metaGraph: MetaGraphDef): Uint8Array {
  return toBinary(SignatureDefMapSchema, create(SignatureDefMapSchema, { signatureDef: metaGraph.signatureDef }));
}
