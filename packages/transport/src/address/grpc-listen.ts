import { ServingError } from "@shardserve/core";
import { type Address, formatAddress } from "./address.js";
import { claimSocketPath } from "./socket-path.js";

/** The part of grpc-js's `Server` that is needed here. */
export interface GrpcListener<C> {
  bindAsync(address: string, credentials: C, done: (error: Error | null, port: number) => void): void;
}

/**
 * Binds a gRPC server.
 *
 * @returns where it listens, with the port that was really bound
 * @throws ServingError UNAVAILABLE, CONFIG_INVALID naming the address
 */
export async function listenGrpc<C>(server: GrpcListener<C>, address: Address, credentials: C): Promise<Address> {
  if ("path" in address) await claimSocketPath(address.path);
  const target = formatAddress(address);
  return new Promise((resolve, reject) => {
    server.bindAsync(target, credentials, (error, port) => {
      if (!error) return resolve("path" in address ? address : { host: address.host, port });
      const [, why = error.message] = /errors: \[(.*)\]$/.exec(error.message) ?? []; // grpc-js counts the resolved addresses first
      reject(new ServingError("UNAVAILABLE", `cannot serve gRPC on ${target}: ${why}`, { cause: error }));
    });
  });
}
