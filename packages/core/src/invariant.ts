/** A broken promise between two pieces of our own code. Never caught: the process ends, its lease expires, replicas take over. */
export class InvariantError extends Error {
  override name = "InvariantError";
}

/**
 * Asserts what must hold unless the program itself is wrong. Never use it for input: that is a ServingError.
 *
 * @param message  as a function on hot paths: a text with values in it costs more than what it guards
 * @throws InvariantError when `condition` is falsy
 */
export function invariant(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === "string" ? message : message());
}
