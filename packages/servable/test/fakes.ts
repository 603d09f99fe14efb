import type { Loader, Model, ServableId } from "@shardserve/servable";

/** A model that counts its closes and runs nothing. */
export class FakeModel implements Model {
  readonly signatures = new Map();
  readonly metadata = new Uint8Array();
  closes = 0;

  run(): Promise<never> {
    return Promise.reject(new Error("not used"));
  }

  async close(): Promise<void> {
    this.closes++;
  }
}

interface PendingLoad {
  readonly id: ServableId;
  readonly path: string;
  readonly signal: AbortSignal;
  resolve(model: Model): void;
  reject(error: Error): void;
}

/** Loads end when the test says so. */
export class FakeLoader implements Loader {
  readonly pending: PendingLoad[] = [];
  readonly models = new Map<number, FakeModel>();

  load(id: ServableId, path: string, { signal }: { readonly signal: AbortSignal }): Promise<Model> {
    return new Promise((resolve, reject) => {
      this.pending.push({ id, path, signal, resolve, reject });
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  }

  /** Finishes the oldest load under way. */
  async succeed(): Promise<FakeModel> {
    const load = this.pending.shift()!;
    const model = new FakeModel();
    this.models.set(load.id.version, model);
    load.resolve(model);
    await settle();
    return model;
  }

  async fail(error: Error): Promise<void> {
    this.pending.shift()!.reject(error);
    await settle();
  }
}

/** Lets promises that are ready run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}
