/** What benchmarks measure apart from the server. */
export { Batcher } from "./batching/batcher.js";
export { indexJson } from "./json/document.js";
export { readPredictBody, rootObject } from "./json/predict-body.js";
export { columnsToJson, rowsToJson } from "./json/predict-response.js";
