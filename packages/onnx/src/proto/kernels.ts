/** What differs between the kernels that ONNX Runtime has on the devices where a segment may run. */
export interface Kernels {
  /** Kernels compute with float16, instead of casting around chains of them. */
  readonly computesHalves: boolean;
  /** Resize takes images with channels last. */
  readonly resizesChannelsLast: boolean;
  /** Large images are best worked on one after the other: a cache keeps what lies between the steps. */
  readonly worksInTurn: boolean;
  /** Convolutions of images are much faster than those of volumes. */
  readonly prefersPlanes: boolean;
  /** An operand that is repeated along all but the last, short dimension costs a call for each repetition. */
  readonly repeatsFewSlowly: boolean;
}

/** The kernels of ONNX Runtime's execution providers, as far as a lowering depends on them. */
export const KERNELS = {
  cpu: {
    computesHalves: false,
    resizesChannelsLast: true,
    worksInTurn: true,
    prefersPlanes: true,
    repeatsFewSlowly: true,
  },
  cuda: {
    computesHalves: true,
    resizesChannelsLast: false,
    worksInTurn: false,
    prefersPlanes: false,
    repeatsFewSlowly: false,
  },
  webgpu: {
    computesHalves: false,
    resizesChannelsLast: false,
    worksInTurn: false,
    prefersPlanes: false,
    repeatsFewSlowly: false,
  },
} as const satisfies Readonly<Record<string, Kernels>>;
