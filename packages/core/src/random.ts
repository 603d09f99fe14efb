import { randomBytes } from "node:crypto";

/** Randomness, injected so that a test can replay a run from its seed. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, 2^32). */
  uint32(): number;
}

/** Deterministic generator (sfc32, Chris Doty-Humphrey's PractRand; public domain) from a 32-bit seed. */
export function seededRandom(seed: number): Random {
  let a = seed >>> 0;
  let b = 0x9e3779b9;
  let c = 0x243f6a88;
  let counter = 1;
  const uint32 = () => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) uint32();
  return { uint32, next: () => uint32() / 0x1_0000_0000 };
}

/** A generator seeded by the operating system. */
export function systemRandom(): Random {
  return seededRandom(randomBytes(4).readUInt32LE());
}
