/** TEMPORARY stand-in until the graph package exports the kernel contract. */
import type { Tensor } from "@shardserve/tensor";

export interface AttrList {
  readonly s: readonly Uint8Array[];
  readonly i: readonly bigint[];
  readonly f: readonly number[];
  readonly b: readonly boolean[];
  readonly type: readonly number[];
  readonly shape: readonly AttrShape[];
}
export interface AttrShape {
  readonly unknownRank: boolean;
  readonly dim: readonly { size: bigint }[];
}
export interface AttrValue {
  readonly value:
    | { case: "s"; value: Uint8Array }
    | { case: "i"; value: bigint }
    | { case: "f"; value: number }
    | { case: "b"; value: boolean }
    | { case: "type"; value: number }
    | { case: "shape"; value: AttrShape }
    | { case: "list"; value: AttrList }
    | { case: undefined; value?: undefined };
}
export interface ResourceHandle {
  readonly kind: string;
  readonly key: string;
}
export type HostValue = Tensor | ResourceHandle;
export interface HostState {
  readonly resources: Map<string, unknown>;
}
export interface KernelCall {
  readonly node: {
    readonly name: string;
    readonly op: string;
    readonly inputs: readonly { node: string; index: number }[];
    attr(name: string): AttrValue | undefined;
  };
  readonly inputs: readonly HostValue[];
  readonly state: HostState;
  readonly signal?: AbortSignal;
}
