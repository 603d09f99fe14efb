import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import S3rver from "s3rver";
import { freePort } from "./ports.js";
import { tempDir, type TempDir } from "./temp-dir.js";

/** An S3-compatible server on a free port, with one bucket, `models`. */
export class S3Server implements AsyncDisposable {
  readonly port: number;
  readonly #server: S3rver;
  readonly #dir: TempDir;
  readonly #client: S3Client;

  static async start(): Promise<S3Server> {
    const [port, dir] = [await freePort(), await tempDir("shardserve-s3-")];
    const server = new S3rver({
      port,
      address: "127.0.0.1",
      silent: true,
      directory: dir.path,
      configureBuckets: [{ name: "models", configs: [] }],
    });
    listAllFolders((server as unknown as { readonly store: Listed }).store);
    await server.run();
    return new S3Server(port, server, dir);
  }

  private constructor(port: number, server: S3rver, dir: TempDir) {
    this.port = port;
    this.#server = server;
    this.#dir = dir;
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = this.environment;
    this.#client = new S3Client({
      endpoint: this.environment.AWS_ENDPOINT_URL_S3,
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
      requestChecksumCalculation: "WHEN_REQUIRED", // the server knows no checksums behind a body
    });
  }

  /** What tells Amazon's client of this server. */
  get environment() {
    return {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${this.port}`,
      AWS_ACCESS_KEY_ID: "S3RVER",
      AWS_SECRET_ACCESS_KEY: "S3RVER",
    } as const;
  }

  async put(key: string, body: string | Uint8Array): Promise<void> {
    await this.#client.send(new PutObjectCommand({ Bucket: "models", Key: key, Body: Buffer.from(body) }));
  }

  async get(key: string): Promise<Buffer> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: "models", Key: key }));
    return Buffer.from(await Body!.transformToByteArray());
  }

  /** Keys that begin so, in order; at most a thousand. */
  async keys(prefix: string): Promise<string[]> {
    const { Contents = [] } = await this.#client.send(new ListObjectsV2Command({ Bucket: "models", Prefix: prefix }));
    return Contents.map(({ Key = "" }) => Key);
  }

  /** Uploads a directory with all that is below it. */
  async putDirectory(dir: string, prefix: string): Promise<void> {
    for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
      if (entry.isDirectory()) continue;
      const path = join(entry.parentPath, entry.name);
      const request = {
        Bucket: "models",
        Key: `${prefix}/${relative(dir, path)}`,
        ContentLength: (await stat(path)).size,
      };
      await this.#client.send(new PutObjectCommand({ ...request, Body: createReadStream(path) }));
    }
  }

  async remove(key: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand({ Bucket: "models", Key: key }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
    await this.#server.close();
    await this.#dir.remove();
  }
}

interface Listing {
  readonly objects: readonly { readonly key: string }[];
  readonly commonPrefixes: readonly string[];
  readonly isTruncated: boolean;
}

interface ListOptions {
  readonly prefix?: string;
  readonly delimiter?: string;
  readonly maxKeys?: number;
}

interface Listed {
  listObjects(bucket: string, options: ListOptions): Promise<Listing>;
}

/** By itself the server leaves out folders that hold nothing but folders; S3 lists them. */
function listAllFolders(store: Listed): void {
  const list = store.listObjects.bind(store);
  store.listObjects = async (bucket, { delimiter, maxKeys = Number.POSITIVE_INFINITY, ...options }) => {
    if (delimiter === undefined) return list(bucket, { ...options, maxKeys });
    const { objects } = await list(bucket, options);
    const prefixLength = options.prefix?.length ?? 0;
    const folders = new Set<string>();
    const own = objects.filter(({ key }) => {
      const end = key.indexOf(delimiter, prefixLength);
      if (end >= 0) folders.add(key.slice(0, end + delimiter.length));
      return end < 0;
    });
    return { objects: own.slice(0, maxKeys), commonPrefixes: [...folders].sort(), isTruncated: own.length > maxKeys };
  };
}
