import {
  create,
  DataType,
  type TensorInfo,
  TensorInfoSchema,
  type TensorShapeProto,
  TensorShapeProtoSchema,
} from "@shardserve/api";

/** A dense tensor of a signature, by the alias under which requests name it. */
export interface DensePart {
  readonly alias: string;
  readonly info: TensorInfo;
}

/**
 * The dense tensors that a TensorInfo stands for: itself, or the parts of a sparse or composite tensor. TensorFlow
 * Serving's API has no names for parts (it fails such signatures); here they are ALIAS/indices, ALIAS/values and
 * ALIAS/dense_shape of a sparse tensor, and ALIAS/0, ALIAS/1, ... of any other composite, in the order of its components
 * (a ragged tensor: flat values, then row splits from the outermost in).
 */
export function denseParts(alias: string, info: TensorInfo): DensePart[] {
  const { encoding } = info;
  if (encoding.case === "cooSparse") {
    const rank = info.tensorShape && !info.tensorShape.unknownRank ? info.tensorShape.dim.length : -1;
    const part = (
      name: string,
      tensorName: string,
      dtype: TensorInfo["dtype"],
      sizes: readonly number[],
    ): DensePart => ({
      alias: `${alias}/${name}`,
      info: create(TensorInfoSchema, {
        encoding: { case: "name", value: tensorName },
        dtype,
        tensorShape: shapeOf(sizes),
      }),
    });
    const { indicesTensorName, valuesTensorName, denseShapeTensorName } = encoding.value;
    return [
      part("indices", indicesTensorName, DataType.DT_INT64, [-1, rank]),
      part("values", valuesTensorName, info.dtype, [-1]),
      part("dense_shape", denseShapeTensorName, DataType.DT_INT64, [rank]),
    ];
  }
  if (encoding.case !== "compositeTensor") return [{ alias, info }];
  return encoding.value.components.flatMap((component, i) => denseParts(`${alias}/${i}`, component));
}

function shapeOf(sizes: readonly number[]): TensorShapeProto {
  return create(TensorShapeProtoSchema, { dim: sizes.map((size) => ({ size: BigInt(size) })) });
}
