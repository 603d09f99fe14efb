/** A broken promise between two pieces of our own code. Never caught: the process ends, its lease expires, replicas take over. */
export class InvariantError extends Error {
  override name = "InvariantError";
}

/**
 * Asserts what must hold unless the program itself is wrong. Never use it for input: that is a ServingError.
 *
 * @throws InvariantError when `condition` is falsy
 */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
