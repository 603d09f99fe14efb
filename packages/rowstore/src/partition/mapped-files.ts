/**
 * Partition files that this process has mapped and verified, by identity on the disk. Versions that share a file (a hard
 * link) share its pages in memory, so what is mapped already need not be read and verified once more.
 */
class MappedFiles {
  readonly #files = new Map<string, { readonly digest: string; uses: number }>();

  /** Digest that the file was verified to have, as long as it is mapped somewhere here. */
  digestOf(identity: string): string | undefined {
    return this.#files.get(identity)?.digest;
  }

  /** A verified file was mapped; to be taken back by {@link remove}. */
  add(identity: string, digest: string): void {
    const known = this.#files.get(identity);
    if (known?.digest === digest) known.uses++;
    else this.#files.set(identity, { digest, uses: 1 });
  }

  remove(identity: string): void {
    const known = this.#files.get(identity);
    if (known && --known.uses === 0) this.#files.delete(identity);
  }
}

/** Of all partition sets of the process: a version and its successor are two sets. */
export const mappedFiles = new MappedFiles();
