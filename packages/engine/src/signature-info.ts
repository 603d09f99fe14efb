import { create, type MetaGraphDef, SignatureDefMapSchema, type TensorInfo, toBinary } from "@shardserve/api";
import { denseParts, type ModelGraph } from "@shardserve/graph";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { decodeTensorProto, dtypeFromTf, type Tensor } from "@shardserve/tensor";

/**
 * The meta graph with its signatures' inputs declared as the placeholders that take them. TensorFlow Serving holds
 * requests to the graph's dtypes; a signature may declare others (saved_model_half_plus_three does).
 */
export function withGraphDTypes(metaGraph: MetaGraphDef): MetaGraphDef {
  const placeholders = new Map<string, TensorInfo["dtype"]>();
  for (const { name, op, attr } of metaGraph.graphDef?.node ?? []) {
    const value = op.startsWith("Placeholder") ? attr["dtype"]?.value : undefined;
    if (value?.case === "type") placeholders.set(name, value.value);
  }
  const corrected = (info: TensorInfo): TensorInfo => {
    const node = info.encoding.case === "name" ? info.encoding.value.replace(/:0$/, "") : "";
    const dtype = placeholders.get(node);
    return dtype === undefined || dtype === info.dtype ? info : { ...info, dtype };
  };
  const signatureDef = Object.fromEntries(
    Object.entries(metaGraph.signatureDef).map(([name, def]) => {
      const inputs = Object.entries(def.inputs).map(([alias, info]) => [alias, corrected(info)] as const);
      return [name, { ...def, inputs: Object.fromEntries(inputs) }];
    }),
  );
  return { ...metaGraph, signatureDef };
}

/**
 * What callers may know of the signatures that can be read.
 *
 * @param metaGraph  as it stands in the SavedModel: its declared dtypes are what callers see
 * @param signatures  of the graph imported {@link withGraphDTypes}
 */
export function signatureInfos(
  metaGraph: MetaGraphDef,
  signatures: ModelGraph["signatures"],
): Map<string, SignatureInfo> {
  const infos = new Map<string, SignatureInfo>();
  for (const [name, { method, inputs, outputs }] of signatures) {
    const def = metaGraph.signatureDef[name]!;
    const specs = (tensors: typeof inputs, defs: typeof def.inputs): Map<string, TensorSpec> => {
      const parts = Object.entries(defs).flatMap(([alias, info]) => denseParts(alias, info));
      const infoOf = new Map(parts.map(({ alias, info }) => [alias, info]));
      return new Map(
        tensors.map(({ alias, dtype: feedDType, shape }) => {
          const info = infoOf.get(alias)!;
          const tensorName = info.encoding.case === "name" ? info.encoding.value : "";
          const dtype = dtypeFromTf(info.dtype);
          return [alias, { name: alias, dtype, ...(feedDType !== dtype && { feedDType }), shape, tensorName }];
        }),
      );
    };
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
