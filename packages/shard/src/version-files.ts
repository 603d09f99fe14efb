/** The files of one version, as a shard reads them; paths are relative to the version directory. */
export interface VersionFiles {
  /** Where provided files lie. */
  readonly directory: string;
  /**
   * Makes a file readable; whether it is whole is its reader's business.
   *
   * @throws ServingError UNAVAILABLE saying whom it was asked of in vain; the signal's reason
   */
  provide(path: string, signal: AbortSignal): Promise<void>;
  /** A reader refused the file: the next time it comes from somebody else. */
  discard(path: string): Promise<void>;
  /** Nobody here needs the file any more. */
  forget(path: string): Promise<void>;
  /** Of what lies in a folder only these paths are needed from now on. */
  keepOnly(folder: string, paths: readonly string[]): Promise<void>;
  /** The version is no longer held. */
  remove(): Promise<void>;
}

/** Files that are read where they are: in the model repository. */
export class RepositoryFiles implements VersionFiles {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  async provide(): Promise<void> {}
  async discard(): Promise<void> {}
  async forget(): Promise<void> {}
  async keepOnly(): Promise<void> {}
  async remove(): Promise<void> {}
}
