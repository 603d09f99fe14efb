import type { AttrValue, NodeDef } from "@shardserve/api";

/** What a node may call: names of functions of the library, and some, such as its op's, that are none. */
export function calledFunctions(node: NodeDef): string[] {
  return [node.op, ...Object.values(node.attr).flatMap(functionNames)];
}

function functionNames({ value }: AttrValue): string[] {
  if (value.case === "func") return [value.value.name, ...Object.values(value.value.attr).flatMap(functionNames)];
  if (value.case === "list") return value.value.func.map(({ name }) => name);
  return [];
}
