import type { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type ListObjectsV2CommandOutput,
  paginateListObjectsV2,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { isServingError, ServingError } from "@shardserve/core";
import {
  type ByteRange,
  DIGEST_METADATA,
  type FoundObject,
  type Listing,
  type ObjectStore,
  pathBelow,
  type StoredObject,
  type Upload,
} from "./object-store.js";
import { PART_BYTES, putParts, sent } from "./s3-parts.js";
import { storeError } from "./store-error.js";
import type { StoreUri } from "./store-uri.js";

/** Tries of one call, with the client's growing pauses. */
const TRIES_MAX = 5;
/** A store that is away is noticed within about 20 s, all tries together. */
const CONNECT_MS = 3_000;
/** Longest pause of a connection in use. */
const SILENCE_MS = 10_000;

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

  async children(place: StoreUri, signal?: AbortSignal): Promise<Listing> {
    const folders: string[] = [];
    const objects: StoredObject[] = [];
    for await (const page of this.#pages(place, "/", signal)) {
      for (const { Prefix = "" } of page.CommonPrefixes ?? []) folders.push(Prefix.slice(place.prefix.length, -1));
      objects.push(...objectsOf(page, place));
    }
    return { folders, objects };
  }

  async objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]> {
    const objects: StoredObject[] = [];
    for await (const page of this.#pages(place, undefined, signal)) {
      objects.push(...objectsOf(page, place));
    }
    return objects;
  }

  async find({ bucket, prefix }: StoreUri, path: string, signal?: AbortSignal): Promise<FoundObject | undefined> {
    const key = `${prefix}${path}`;
    try {
      const found = await this.#client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), sent(signal));
      const { ContentLength: bytes = 0, ETag: revision = "", Metadata: metadata = {} } = found;
      return { path, key, bytes, revision, digest: metadata[DIGEST_METADATA] };
    } catch (error) {
      const refused = s3Error(`look for s3://${bucket}/${key}`, error, signal);
      if (isServingError(refused, "NOT_FOUND")) return undefined;
      throw refused;
    }
  }

  async read({ bucket }: StoreUri, { key, revision }: StoredObject, signal?: AbortSignal, range?: ByteRange) {
    const doing = `read s3://${bucket}/${key}`;
    try {
      const request = new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        IfMatch: revision,
        ...(range
          ? { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }
          : { ChecksumMode: "ENABLED" }),
      });
      const { Body: body, ETag: now } = await this.#client.send(request, sent(signal));
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

  async put({ bucket, prefix }: StoreUri, path: string, upload: Upload, signal?: AbortSignal): Promise<void> {
    const target = {
      Bucket: bucket,
      Key: `${prefix}${path}`,
      ...(upload.isNew && { IfNoneMatch: "*" }),
      Metadata: { [DIGEST_METADATA]: upload.digest },
    };
    try {
      if (upload.bytes > PART_BYTES) return await putParts(this.#client, target, upload, signal);
      const Body = upload.bytes === 0 ? Buffer.alloc(0) : await upload.read({ offset: 0, length: upload.bytes });
      await this.#client.send(new PutObjectCommand({ ...target, Body }), sent(signal));
      upload.onSent?.(upload.bytes);
    } catch (error) {
      throw isServingError(error) ? error : s3Error(`write s3://${bucket}/${target.Key}`, error, signal);
    }
  }

  async remove({ bucket, prefix }: StoreUri, path: string, signal?: AbortSignal): Promise<void> {
    const key = `${prefix}${path}`;
    try {
      await this.#client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), sent(signal));
    } catch (error) {
      throw s3Error(`remove s3://${bucket}/${key}`, error, signal);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  async *#pages({ bucket, prefix }: StoreUri, delimiter: string | undefined, signal: AbortSignal | undefined) {
    const request = { Bucket: bucket, Prefix: prefix, ...(delimiter !== undefined && { Delimiter: delimiter }) };
    try {
      // Not the paginator's own signal: it is passed to each call.
      yield* paginateListObjectsV2({ client: this.#client }, request, sent(signal));
    } catch (error) {
      throw s3Error(`list s3://${bucket}/${prefix}`, error, signal);
    }
  }
}

function objectsOf(page: ListObjectsV2CommandOutput, place: StoreUri): StoredObject[] {
  return (page.Contents ?? []).flatMap(({ Key: key = "", Size: bytes = 0, ETag: revision = "" }) => {
    const path = pathBelow(place, key);
    return path === undefined ? [] : [{ path, key, bytes, revision }];
  });
}

/** What the client does not find out by itself. */
function s3Settings(environment: Environment): S3ClientConfig {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, S3_ENDPOINT, S3_USE_HTTPS, S3_REGION } = environment;
  const isSet = Boolean(AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL);
  const endpoint = isSet || !S3_ENDPOINT ? undefined : withScheme(S3_ENDPOINT, S3_USE_HTTPS !== "0");
  const isOwn = isSet || endpoint !== undefined;
  const region = S3_REGION ?? (isOwn ? (environment["AWS_REGION"] ?? "us-east-1") : undefined);
  return {
    maxAttempts: TRIES_MAX,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
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
