import type { ClassificationResult, RegressionResult } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { formatFloat32 } from "./format-number.js";
import { JsonWriter } from "./writer.js";

/** `{"results": [[["label", score], ...], ...]}` */
export function classificationToJson(result: ClassificationResult): Buffer {
  if (result.classifications.length === 0) {
    throw new ServingError("INVALID_ARGUMENT", "Cannot convert empty ClassificationResults to JSON");
  }
  const writer = new JsonWriter();
  writer.ascii('{\n    "results": [');
  result.classifications.forEach(({ classes }, row) => {
    writer.ascii(row > 0 ? ", [" : "[");
    classes.forEach(({ label, score }, i) => {
      writer.ascii(i > 0 ? ", [" : "[");
      writer.string(Buffer.from(label));
      writer.ascii(`, ${formatFloat32(score)}]`);
    });
    writer.ascii("]");
  });
  writer.ascii("\n    ]\n}");
  return Buffer.concat(writer.parts());
}

/** `{"results": [value, ...]}` */
export function regressionToJson(result: RegressionResult): Buffer {
  if (result.regressions.length === 0) {
    throw new ServingError("INVALID_ARGUMENT", "Cannot convert empty RegressionResults to JSON");
  }
  const values = result.regressions.map(({ value }) => formatFloat32(value)).join(", ");
  return Buffer.from(`{\n    "results": [${values}]\n}`);
}
