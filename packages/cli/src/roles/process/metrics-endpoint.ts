import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Service, ServingError } from "@shardserve/core";
import { metricsPage } from "@shardserve/model-server";
import type { Registry } from "prom-client";
import { flag } from "../../flags.js";
import type { Listening } from "./free-addresses.js";

/** Flags of processes without a REST port of their own. */
export const METRICS_FLAGS = {
  metricsPort: flag.int("HTTP port of /metrics, /healthz and /readyz; -1 = none, 0 = any free one", -1, 65_535, -1),
};

export interface MetricsEndpointOptions {
  /** Absent = all addresses, IPv6 ones where the machine has any. */
  readonly host?: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly registry: Registry;
  /** What /healthz answers. */
  readonly isHealthy: () => boolean;
  /** What /readyz answers. */
  readonly isReady: () => boolean;
}

/** Prometheus metrics at `/metrics`, health at `/healthz` and `/readyz`, for processes without a REST port of their own. */
export class MetricsEndpoint extends Service {
  readonly #options: MetricsEndpointOptions;
  readonly #server: Server;

  /** As the flag says, on all addresses; undefined when it wants none. */
  static from(
    { metricsPort }: { readonly metricsPort: number },
    options: Omit<MetricsEndpointOptions, "host" | "port">,
  ): MetricsEndpoint | undefined {
    return metricsPort < 0 ? undefined : new MetricsEndpoint({ port: metricsPort, ...options });
  }

  /** Where {@link from} will listen. */
  static listening({ metricsPort: port }: { readonly metricsPort: number }): readonly Listening[] {
    return port < 0 ? [] : [{ flag: "--metrics-port", address: { host: undefined, port } }];
  }

  constructor(options: MetricsEndpointOptions) {
    super();
    this.#options = options;
    this.#server = createServer((request, response) => {
      const { registry, isHealthy, isReady } = options;
      if (request.url === "/healthz") {
        response.writeHead(isHealthy() ? 200 : 503).end();
      } else if (request.url === "/readyz") {
        response.writeHead(isReady() ? 200 : 503).end();
      } else if (request.url === "/metrics") {
        metricsPage(registry).then(
          (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
          (error: unknown) => response.writeHead(500).end(ServingError.from(error).message),
        );
      } else {
        response.writeHead(404).end();
      }
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  protected override onStart(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error) =>
        reject(
          new ServingError("UNAVAILABLE", `cannot serve metrics on port ${port} (--metrics-port): ${error.message}`),
        ),
      );
      this.#server.listen(port, host, () => resolve());
    });
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
