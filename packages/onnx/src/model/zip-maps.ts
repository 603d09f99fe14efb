import { create, onnx } from "@shardserve/api";

const FLOAT = 1;

/**
 * Classifiers of scikit-learn, LightGBM and CatBoost end in a ZipMap, which turns a matrix of scores into a list of maps from
 * class to score, one a row. No tensor can hold those: the matrix `[rows, classes]` becomes the output of that name, its
 * columns in the order of the ZipMap's classes.
 *
 * @returns whether there was one
 */
export function openZipMaps(model: onnx.ModelProto & { graph: onnx.GraphProto }): boolean {
  const { node: nodes, output: outputs } = model.graph;
  let isChanged = false;
  for (const node of nodes) {
    const output = outputs.find(({ name }) => name === node.output[0]);
    if (node.opType !== "ZipMap" || node.domain !== "ai.onnx.ml" || !output) continue;
    const classes = node.attribute.reduce((count, { strings, ints }) => count + strings.length + ints.length, 0);
    node.opType = "Identity";
    node.domain = "";
    node.attribute = [];
    const dim = [create(onnx.TensorShapeProto_DimensionSchema), dimension(classes)];
    const tensorType = create(onnx.TypeProto_TensorSchema, { elemType: FLOAT, shape: { dim } });
    output.type = create(onnx.TypeProtoSchema, { value: { case: "tensorType", value: tensorType } });
    isChanged = true;
  }
  return isChanged;
}

function dimension(size: number) {
  return create(onnx.TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(size) } });
}
