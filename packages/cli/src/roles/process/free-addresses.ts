import { type AddressInfo, createServer, type Server } from "node:net";
import { ServingError } from "@shardserve/core";
import { type Address, claimSocketPath, formatAddress } from "@shardserve/transport";

/** Where a process is going to listen. */
export interface Listening {
  /** The flag that says so: "--port". */
  readonly flag: string;
  /** Host undefined = all addresses. */
  readonly address: Address | { readonly host: undefined; readonly port: number };
}

/**
 * Tries every address before anything takes time: a process that loads for minutes, or waits for etcd, and only then finds
 * that it cannot listen has wasted them. Nothing is left open, for who can connect gets answers.
 *
 * @throws ServingError UNAVAILABLE, or CONFIG_INVALID where no socket can be, naming the flag
 */
export async function checkFree(listening: readonly Listening[]): Promise<void> {
  const opened = new Map<string, Server>(); // until all are tried: two flags may name one port
  try {
    for (const { flag, address } of listening) {
      try {
        if ("path" in address) await claimSocketPath(address.path);
        else if (address.port !== 0) opened.set(flag, await open(address));
      } catch (cause) {
        const twin = "port" in address && [...opened].find(([, server]) => portOf(server) === address.port);
        if (twin)
          throw new ServingError("CONFIG_INVALID", `${flag}: port ${address.port} is that of ${twin[0]}`, { cause });
        const { code, message } = ServingError.from(cause);
        throw new ServingError(code, `${flag}: ${message}`, { cause });
      }
    }
  } finally {
    await Promise.all([...opened.values()].map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function open({ host, port }: Exclude<Listening["address"], { readonly path: string }>): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const where = host === undefined ? `port ${port}` : formatAddress({ host, port });
      const why = cause.code === "EADDRINUSE" ? "something listens there already (EADDRINUSE)" : cause.message;
      reject(new ServingError("UNAVAILABLE", `cannot listen on ${where}: ${why}`, { cause }));
    });
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}
