import { create, type ModelServerConfig, ModelServerConfigSchema } from "@shardserve/api";
import { type CancelSignal, type Clock, isServingError, type Logger, Service, ServingError } from "@shardserve/core";
import { FileSystemSource, type Manager, type RemotePlaces } from "@shardserve/servable";
import type { RequestLog } from "../request-log/request-log.js";
import { type ConfiguredModel, configuredModels } from "./model-config.js";

/** For {@link ModelCatalog}: the manager that it steers, and how it looks for versions. */
export interface ModelCatalogOptions {
  /** Started and closed by its owner: started before the catalog's first `apply`. */
  readonly manager: Manager;
  /** Pause between looks for new versions, default 1000; 0 = look once after each `apply`. */
  readonly pollIntervalMs?: number;
  /** --allow_version_labels_for_unavailable_models, default false. */
  readonly isUnavailableLabelAllowed?: boolean;
  /** Absolute directory that relative base paths start from, and that none may leave; default none. */
  readonly rootDir?: string;
  /** Is told each model's logging_config; without it such configurations are refused. */
  readonly requestLog?: RequestLog;
  /** Base paths that are no directories; absent = such are refused. */
  readonly remote?: RemotePlaces;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * The models of one ModelServerConfig after another: tells the manager which versions and labels are wanted (TensorFlow
 * Serving's ServerCore::ReloadConfig).
 *
 * Differs from it in three points, all complaints of its users. Labels of a model that is new in a configuration are
 * assigned once its versions are loaded, not refused because they are not; those of a version that fails are reported and
 * good once it is there. A model whose path is missing or whose load
 * fails is reported and keeps no other from being served. While one `apply` waits for models, another may start.
 */
export class ModelCatalog extends Service {
  readonly #manager: Manager;
  readonly #isUnavailableLabelAllowed: boolean;
  readonly #rootDir: string | undefined;
  readonly #requestLog: RequestLog | undefined;
  readonly #remote: RemotePlaces | undefined;
  readonly #source: FileSystemSource;
  #models: readonly ConfiguredModel[] = [];
  #config = create(ModelServerConfigSchema);
  #hasList = false;
  /** The part of an `apply` that changes things; one at a time, in order. */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(options: ModelCatalogOptions) {
    super();
    this.#manager = options.manager;
    this.#isUnavailableLabelAllowed = options.isUnavailableLabelAllowed ?? false;
    this.#rootDir = options.rootDir;
    this.#requestLog = options.requestLog;
    this.#remote = options.remote;
    this.#source = new FileSystemSource({
      servables: [],
      onAspired: (name, versions) => this.#manager.setAspired(name, versions),
      ...(options.pollIntervalMs === undefined ? {} : { pollIntervalMs: options.pollIntervalMs }),
      remote: options.remote,
      ...(options.clock && { clock: options.clock }),
      ...(options.logger && { logger: options.logger }),
    });
  }

  /** The configuration in force. */
  get config(): ModelServerConfig {
    return this.#config;
  }

  /** What is configured now. */
  get models(): readonly ConfiguredModel[] {
    return this.#models;
  }

  /** Why no version of a configured model is wanted: its path is missing or holds none; else undefined. */
  problemOf(name: string): string | undefined {
    return this.#source.problemOf(name);
  }

  /** Configured models of which no version is wanted, and why. */
  get problems(): ReadonlyMap<string, string> {
    const found = this.#models.map(({ name }) => [name, this.#source.problemOf(name)] as const);
    return new Map(found.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
  }

  /**
   * Replaces what is served: models left out are unloaded, labels are replaced as a whole. Resolves once every model
   * that is new has an available version.
   *
   * @throws ServingError INVALID_ARGUMENT, FAILED_PRECONDITION: nothing was changed. LOAD_FAILED: the configuration is in
   *   force, some models could not be loaded (yet), or labels of new models name versions that did not come (yet).
   *   The signal's reason when it aborts the wait
   */
  async apply(config: ModelServerConfig, options: { readonly signal?: CancelSignal } = {}): Promise<void> {
    const change = this.#changing.then(() => this.#change(config));
    this.#changing = change.catch(() => undefined); // the caller gets the error
    const { models, fresh } = await change;
    let failures: readonly string[];
    try {
      failures = await this.#whenFreshSettled(models, fresh, options);
    } catch (error) {
      // nobody waits any more: the labels are good once their versions are there
      if (this.#models === models) for (const { name, labels } of fresh) this.#manager.setLabels(name, labels, true);
      throw error;
    }
    if (failures.length > 0) throw new ServingError("LOAD_FAILED", failures.join("; "));
  }

  protected override onStart(signal: AbortSignal): Promise<void> {
    return this.#source.start({ signal });
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    await this.#source.close();
    await this.#changing;
  }

  /** @returns what is wrong with models that are new, and with their labels */
  async #whenFreshSettled(
    models: readonly ConfiguredModel[],
    fresh: readonly ConfiguredModel[],
    options: { readonly signal?: CancelSignal },
  ): Promise<readonly string[]> {
    const failures: string[] = [];
    const found = fresh.filter(({ name }) => {
      const problem = this.#source.problemOf(name);
      if (problem !== undefined) failures.push(problem);
      return problem === undefined;
    });
    try {
      await this.#manager.whenAvailable(
        found.map(({ name }) => name),
        { noun: "model", ...options },
      );
    } catch (error) {
      if (!isServingError(error, "LOAD_FAILED")) throw error;
      failures.unshift(error.message);
    }
    if (!this.#isUnavailableLabelAllowed) failures.push(...(await this.#labelFresh(models, fresh, options)));
    return failures;
  }

  /** @returns what is wrong with the labels: they are in force all the same, and good once their version is there */
  async #labelFresh(
    models: readonly ConfiguredModel[],
    fresh: readonly ConfiguredModel[],
    options: { readonly signal?: CancelSignal },
  ): Promise<string[]> {
    const problems: string[] = [];
    for (const { name, labels } of fresh) {
      const isReported = !this.#manager.isAvailable(name); // as failed
      if (!isReported) await this.#manager.whenSettled(name, [...labels.values()], options);
      if (this.#models !== models) break; // a later configuration has its own labels
      try {
        this.#manager.setLabels(name, labels, isReported);
      } catch (error) {
        if (!isServingError(error, "FAILED_PRECONDITION")) throw error;
        problems.push(error.message);
        this.#manager.setLabels(name, labels, true);
      }
    }
    return problems;
  }

  async #change(
    whole: ModelServerConfig,
  ): Promise<{ models: readonly ConfiguredModel[]; fresh: readonly ConfiguredModel[] }> {
    this.assertReady();
    const { config } = whole;
    if (config.case === "customModelConfig") {
      throw this.#hasList
        ? new ServingError(
            "FAILED_PRECONDITION",
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another.",
          )
        : new ServingError("INVALID_ARGUMENT", "custom_model_config is not supported; give a model_config_list");
    }
    if (config.case === undefined) return { models: this.#models, fresh: [] }; // TensorFlow Serving takes no action, too
    const models = configuredModels(config.value, {
      rootDir: this.#rootDir,
      isLoggingPossible: this.#requestLog !== undefined,
      isRemote: this.#remote && ((path) => this.#remote!.isRemote(path)),
    });
    const known = new Set(this.#models.map(({ name }) => name));
    const isLabelledNow = ({ name }: ConfiguredModel) => this.#isUnavailableLabelAllowed || known.has(name);
    this.#manager.replaceLabels(
      new Map(models.filter(isLabelledNow).map(({ name, labels }) => [name, labels])),
      this.#isUnavailableLabelAllowed,
    );
    this.#hasList = true;
    this.#config = whole;
    this.#models = models;
    const logged = models.flatMap(({ name, logging }) => (logging ? [[name, logging] as const] : []));
    this.#requestLog?.configure(new Map(logged));
    await this.#source.setServables(models);
    return { models, fresh: models.filter(({ name }) => !known.has(name)) };
  }
}
