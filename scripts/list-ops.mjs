// Prints the ops that the host and the device implement, as JSON: what make_op_conformance.py makes cases for.
import { hostOps } from "../packages/host-ops/dist/src/index.js";
import { lowerings } from "../packages/onnx/dist/src/index.js";

console.log(JSON.stringify({ host: [...hostOps()].sort(), device: [...lowerings.keys()].sort() }));
