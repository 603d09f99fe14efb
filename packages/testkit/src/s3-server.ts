import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { DeleteObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
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

  async put(key: string, body: string): Promise<void> {
    await this.#client.send(new PutObjectCommand({ Bucket: "models", Key: key, Body: Buffer.from(body) }));
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
