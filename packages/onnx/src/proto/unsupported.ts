/** Thrown by a lowering that cannot take a node; the message says why. The node then goes to the host. */
export class Unsupported extends Error {}
