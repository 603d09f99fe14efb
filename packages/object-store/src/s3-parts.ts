import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { inParallel } from "@shardserve/core";
import type { Upload } from "./object-store.js";

/** Larger objects are put in parts; two parts of each are in memory. */
export const PART_BYTES = 16 * 2 ** 20;
/** Of one object, by S3's limit. */
const PARTS_MAX = 10_000;
const SENT_AT_ONCE = 2;

interface Target {
  readonly Bucket: string;
  readonly Key: string;
  readonly IfNoneMatch?: string;
  readonly Metadata: Record<string, string>;
}

/** Options of a call. */
export function sent(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal ? { abortSignal: signal } : {};
}

/**
 * Puts an object in parts, which become it in one call at the end. Where that fails they are given up; those of a process that was
 * killed stay, unseen, until the bucket's rule for incomplete uploads removes them.
 *
 * @throws what the client throws
 */
export async function putParts(client: S3Client, target: Target, upload: Upload, signal: AbortSignal | undefined) {
  const { IfNoneMatch, Metadata, ...object } = target;
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ ...object, Metadata }), sent(signal));
  const partBytes = Math.max(PART_BYTES, Math.ceil(upload.bytes / PARTS_MAX));
  const count = Math.ceil(upload.bytes / partBytes);
  const Parts: CompletedPart[] = [];
  const send = async (i: number) => {
    const offset = i * partBytes;
    const length = Math.min(partBytes, upload.bytes - offset);
    const Body = await upload.read({ offset, length });
    const part = { ...object, UploadId, PartNumber: i + 1 };
    const { ETag, ChecksumCRC32 } = await client.send(new UploadPartCommand({ ...part, Body }), sent(signal));
    Parts[i] = { ETag, PartNumber: i + 1, ...(ChecksumCRC32 !== undefined && { ChecksumCRC32 }) };
    upload.onSent?.(length);
  };
  try {
    await inParallel(Array(count).keys(), SENT_AT_ONCE, send);
    const MultipartUpload = { Parts };
    await client.send(
      new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload, ...(IfNoneMatch && { IfNoneMatch }) }),
      sent(signal),
    );
  } catch (error) {
    await client.send(new AbortMultipartUploadCommand({ ...object, UploadId })).catch(() => undefined); // the rule removes them
    throw error;
  }
}
