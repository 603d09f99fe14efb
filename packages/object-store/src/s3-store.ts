import type { Readable } from "node:stream";
import { GetObjectCommand, paginateListObjectsV2, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { isServingError, ServingError } from "@shardserve/core";
import { type ObjectStore, pathBelow, type StoredObject } from "./object-store.js";
import { storeError } from "./store-error.js";
import type { StoreUri } from "./store-uri.js";

/** Tries of one call, with the client's growing pauses. */
const TRIES_MAX = 5;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * S3, and stores that speak its protocol. Credentials, profiles and region come from where Amazon's clients look for them. An endpoint of
 * one's own is `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, or TensorFlow's `S3_ENDPOINT` (HOST:PORT) with `S3_USE_HTTPS`.
 */
export class S3Store implements ObjectStore {
  readonly #client: S3Client;

  constructor(environment: Environment) {
    this.#client = new S3Client(s3Settings(environment));
  }

  async folders(place: StoreUri, signal?: AbortSignal): Promise<readonly string[]> {
    const names: string[] = [];
    for await (const page of this.#pages(place, "/", signal)) {
      for (const { Prefix = "" } of page.CommonPrefixes ?? []) names.push(Prefix.slice(place.prefix.length, -1));
    }
    return names;
  }

  async objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]> {
    const objects: StoredObject[] = [];
    for await (const page of this.#pages(place, undefined, signal)) {
      for (const { Key: key = "", Size: bytes = 0, ETag: revision = "" } of page.Contents ?? []) {
        const path = pathBelow(place, key);
        if (path !== undefined) objects.push({ path, key, bytes, revision });
      }
    }
    return objects;
  }

  async read({ bucket }: StoreUri, { key, revision }: StoredObject, signal?: AbortSignal) {
    const doing = `read s3://${bucket}/${key}`;
    try {
      const request = new GetObjectCommand({ Bucket: bucket, Key: key, IfMatch: revision, ChecksumMode: "ENABLED" });
      const { Body: body, ETag: now } = await this.#client.send(request, { ...(signal && { abortSignal: signal }) });
      if (now !== revision) {
        // Some stores that speak S3 do not know IfMatch.
        (body as Readable).destroy();
        throw new ServingError("FAILED_PRECONDITION", `cannot ${doing}: it was replaced while its version was read`);
      }
      return named(body as AsyncIterable<Uint8Array>, doing, signal);
    } catch (error) {
      throw isServingError(error) ? error : s3Error(doing, error, signal);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  async *#pages({ bucket, prefix }: StoreUri, delimiter: string | undefined, signal: AbortSignal | undefined) {
    const request = { Bucket: bucket, Prefix: prefix, ...(delimiter !== undefined && { Delimiter: delimiter }) };
    try {
      // Not the paginator's own signal: it is passed to each call.
      yield* paginateListObjectsV2({ client: this.#client }, request, { ...(signal && { abortSignal: signal }) });
    } catch (error) {
      throw s3Error(`list s3://${bucket}/${prefix}`, error, signal);
    }
  }
}

/** What the client does not find out by itself. */
export function s3Settings(environment: Environment): S3ClientConfig {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, S3_ENDPOINT, S3_USE_HTTPS, S3_REGION } = environment;
  const isSet = Boolean(AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL);
  const endpoint = isSet || !S3_ENDPOINT ? undefined : withScheme(S3_ENDPOINT, S3_USE_HTTPS !== "0");
  const isOwn = isSet || endpoint !== undefined;
  const region = S3_REGION ?? (isOwn ? (environment["AWS_REGION"] ?? "us-east-1") : undefined);
  return {
    maxAttempts: TRIES_MAX,
    // A store of one's own seldom has a host name for each bucket.
    forcePathStyle: isOwn,
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
  };
}

function withScheme(endpoint: string, isHttps: boolean): string {
  return /^https?:\/\//.test(endpoint) ? endpoint : `${isHttps ? "https" : "http"}://${endpoint}`;
}

async function* named(body: AsyncIterable<Uint8Array>, doing: string, signal: AbortSignal | undefined) {
  try {
    yield* body;
  } catch (error) {
    throw s3Error(doing, error, signal);
  }
}

function s3Error(doing: string, error: unknown, signal: AbortSignal | undefined): unknown {
  const { $metadata } = error as { readonly $metadata?: { readonly httpStatusCode?: number } };
  return storeError(doing, $metadata?.httpStatusCode, error, signal);
}
