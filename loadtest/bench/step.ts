import type { Child } from "./child.js";

/**
 * Waits for one step of a benchmark and says on standard error how long it took, so that a slow one has a name.
 *
 * @throws Error with the last log lines of the processes, when one of them ends first or the step takes longer than `limitMs`
 */
export async function step<T>(
  what: string,
  limitMs: number,
  children: readonly Child[],
  run: () => Promise<T>,
): Promise<T> {
  const startMs = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limitMs / 1000} s`)), limitMs);
  });
  try {
    const done = await Promise.race([run(), late, ...children.map((child) => child.ended)]);
    process.stderr.write(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s\n`);
    return done;
  } catch (error) {
    const logs = children.map(({ errors }, i) => `--- process ${i}\n${errors}`).join("\n");
    throw new Error(`${what}: ${(error as Error).message}\n${logs}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
