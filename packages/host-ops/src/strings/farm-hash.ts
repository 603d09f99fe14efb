/**
 * FarmHash's Fingerprint64 (farmhashna::Hash64 of google/farmhash, MIT licence): the hash of StringToHashBucketFast, of
 * feature crosses and of Fingerprint. Its value is fixed for ever.
 */
import { carry, mulHigh } from "../call/halves.js";
import {
  add,
  addSmall,
  copy,
  load,
  load32,
  modulo,
  mul,
  newWords,
  rotate,
  set,
  type Words,
  xor,
  xorShift,
} from "../call/words.js";

// Registers. A name per value of the original keeps the two comparable line by line.
const [K0, K1, K2, NINE, MUL, RESULT] = [0, 1, 2, 3, 4, 5] as const;
const [A, B, C, D, E, F, G, H, T, U, X, Y, Z] = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18] as const;
const [V1, V2, W1, W2] = [19, 20, 21, 22] as const;
const w = newWords(23);
set(w, K0, 0x97cb3127, 0xc3a5c85c);
set(w, K1, 0xbe98f273, 0xb492b66f);
set(w, K2, 0x2f90404f, 0x9ae16a3b);
set(w, NINE, 9, 0);

/** The words of the last fingerprint; valid until the next call. */
export const FINGERPRINT: { readonly words: Words; readonly register: number } = { words: w, register: RESULT };

/** Hashes `bytes[start .. end)`; the result lies in {@link FINGERPRINT}. */
export function fingerprint64(bytes: Uint8Array, start: number, end: number): void {
  const length = end - start;
  if (length <= 16) hash0to16(bytes, start, length);
  else if (length <= 32) hash17to32(bytes, start, length);
  else if (length <= 64) hash33to64(bytes, start, length);
  else hashLong(bytes, start, length);
}

/** Fingerprint64 modulo `divisor`, in [1, 2^53]. */
export function fingerprintModulo(bytes: Uint8Array, start: number, end: number, divisor: number): number {
  fingerprint64(bytes, start, end);
  return modulo(w, RESULT, divisor);
}

/** RESULT = HashLen16(u, v, MUL); uses T and U. */
function hash16(u: number, v: number): void {
  xor(w, T, u, v);
  mul(w, T, T, MUL);
  xorShift(w, T, T, 47);
  xor(w, T, v, T);
  mul(w, T, T, MUL);
  xorShift(w, T, T, 47);
  mul(w, RESULT, T, MUL);
}

// Words of texts are this short, and most of what is hashed are such: here in locals, which is three times as fast as registers.
const [K2_LOW, K2_HIGH, K0_LOW, K0_HIGH] = [w[2 * K2]!, w[2 * K2 + 1]!, w[2 * K0]!, w[2 * K0 + 1]!] as const;
const [K1_LOW, K1_HIGH] = [w[2 * K1]!, w[2 * K1 + 1]!] as const;

function hash0to16(s: Uint8Array, at: number, length: number): void {
  // mul = k2 + 2 * length, whose high half is k2's.
  const mulLow = (K2_LOW + 2 * length) | 0;
  if (length >= 8) {
    const first = load32(s, at);
    const aLow = (first + K2_LOW) | 0;
    const aHigh = (load32(s, at + 4) + K2_HIGH + carry(aLow, first)) | 0;
    const bLow = load32(s, at + length - 8);
    const bHigh = load32(s, at + length - 4);
    // c = rotate(b, 37) * mul + a
    const turnedLow = (bHigh >>> 5) | (bLow << 27);
    const turnedHigh = (bLow >>> 5) | (bHigh << 27);
    const product = Math.imul(turnedLow, mulLow);
    const cLow = (product + aLow) | 0;
    const cHigh = (mulHigh(turnedLow, turnedHigh, mulLow, K2_HIGH) + aHigh + carry(cLow, product)) | 0;
    // d = (rotate(a, 25) + b) * mul
    const sumLow = (((aLow >>> 25) | (aHigh << 7)) + bLow) | 0;
    const sumHigh = (((aHigh >>> 25) | (aLow << 7)) + bHigh + carry(sumLow, bLow)) | 0;
    mix16(cLow, cHigh, Math.imul(sumLow, mulLow), mulHigh(sumLow, sumHigh, mulLow, K2_HIGH), mulLow);
  } else if (length >= 4) {
    const first = load32(s, at);
    const low = (length + (first << 3)) | 0;
    mix16(low, (first >>> 29) + carry(low, length), load32(s, at + length - 4), 0, mulLow);
  } else if (length > 0) {
    const y = s[at]! + (s[at + (length >> 1)]! << 8);
    const z = length + (s[at + length - 1]! << 2);
    const high = mulHigh(y, 0, K2_LOW, K2_HIGH) ^ mulHigh(z, 0, K0_LOW, K0_HIGH);
    const low = Math.imul(y, K2_LOW) ^ Math.imul(z, K0_LOW) ^ (high >>> 15);
    w[2 * RESULT] = Math.imul(low, K2_LOW);
    w[2 * RESULT + 1] = mulHigh(low, high, K2_LOW, K2_HIGH);
  } else {
    copy(w, RESULT, K2);
  }
}

/** RESULT = HashLen16(u, v, mul), mul's high half being k2's. */
function mix16(uLow: number, uHigh: number, vLow: number, vHigh: number, mulLow: number): void {
  const mixedLow = uLow ^ vLow;
  const aHigh = mulHigh(mixedLow, uHigh ^ vHigh, mulLow, K2_HIGH);
  const nextLow = vLow ^ Math.imul(mixedLow, mulLow) ^ (aHigh >>> 15);
  const bHigh = mulHigh(nextLow, vHigh ^ aHigh, mulLow, K2_HIGH);
  const low = Math.imul(nextLow, mulLow) ^ (bHigh >>> 15);
  w[2 * RESULT] = Math.imul(low, mulLow);
  w[2 * RESULT + 1] = mulHigh(low, bHigh, mulLow, K2_HIGH);
}

function hash17to32(s: Uint8Array, at: number, length: number): void {
  const mulLow = (K2_LOW + 2 * length) | 0;
  const end = at + length;
  // a = first * k1, c = last * mul, d = last but one * k2
  const [firstLow, firstHigh] = [load32(s, at), load32(s, at + 4)];
  const [bLow, bHigh] = [load32(s, at + 8), load32(s, at + 12)];
  const [lastLow, lastHigh] = [load32(s, end - 8), load32(s, end - 4)];
  const [beforeLow, beforeHigh] = [load32(s, end - 16), load32(s, end - 12)];
  const aLow = Math.imul(firstLow, K1_LOW);
  const aHigh = mulHigh(firstLow, firstHigh, K1_LOW, K1_HIGH);
  const cLow = Math.imul(lastLow, mulLow);
  const cHigh = mulHigh(lastLow, lastHigh, mulLow, K2_HIGH);
  const dLow = Math.imul(beforeLow, K2_LOW);
  const dHigh = mulHigh(beforeLow, beforeHigh, K2_LOW, K2_HIGH);
  // x = rotate(a + b, 43) + rotate(c, 30) + d
  const sumLow = (aLow + bLow) | 0;
  const sumHigh = (aHigh + bHigh + carry(sumLow, aLow)) | 0;
  const leftLow = (sumHigh >>> 11) | (sumLow << 21);
  const rightLow = (cLow >>> 30) | (cHigh << 2);
  const bothLow = (leftLow + rightLow) | 0;
  const xLow = (bothLow + dLow) | 0;
  const bothHigh = ((sumLow >>> 11) | (sumHigh << 21)) + ((cHigh >>> 30) | (cLow << 2)) + carry(bothLow, leftLow);
  const xHigh = (bothHigh + dHigh + carry(xLow, dLow)) | 0;
  // y = a + rotate(b + k2, 18) + c
  const seededLow = (bLow + K2_LOW) | 0;
  const seededHigh = (bHigh + K2_HIGH + carry(seededLow, bLow)) | 0;
  const turnedLow = (seededLow >>> 18) | (seededHigh << 14);
  const partLow = (aLow + turnedLow) | 0;
  const partHigh = aHigh + ((seededHigh >>> 18) | (seededLow << 14)) + carry(partLow, aLow);
  const yLow = (partLow + cLow) | 0;
  const yHigh = (partHigh + cHigh + carry(yLow, cLow)) | 0;
  mix16(xLow, xHigh, yLow, yHigh, mulLow);
}

/** X = rotate(a + b, 43) + rotate(c, 30) + d; Y = a + rotate(b + K2, 18) + c */
function mixPair(a: number, b: number, c: number, d: number): void {
  add(w, X, a, b);
  rotate(w, X, X, 43);
  rotate(w, T, c, 30);
  add(w, X, X, T);
  add(w, X, X, d);
  add(w, Y, b, K2);
  rotate(w, Y, Y, 18);
  add(w, Y, Y, a);
  add(w, Y, Y, c);
}

function hash33to64(s: Uint8Array, at: number, length: number): void {
  addSmall(w, MUL, K2, length * 2);
  load(w, A, s, at);
  mul(w, A, A, K2);
  load(w, B, s, at + 8);
  load(w, C, s, at + length - 8);
  mul(w, C, C, MUL);
  load(w, D, s, at + length - 16);
  mul(w, D, D, K2);
  mixPair(A, B, C, D);
  hash16(X, Y);
  copy(w, Y, X);
  copy(w, Z, RESULT);
  load(w, E, s, at + 16);
  mul(w, E, E, MUL);
  load(w, F, s, at + 24);
  load(w, G, s, at + length - 32);
  add(w, G, G, Y);
  mul(w, G, G, MUL);
  load(w, H, s, at + length - 24);
  add(w, H, H, Z);
  mul(w, H, H, MUL);
  // As mixPair, but with A where the original has it.
  add(w, X, E, F);
  rotate(w, X, X, 43);
  rotate(w, T, G, 30);
  add(w, X, X, T);
  add(w, X, X, H);
  add(w, Y, F, A);
  rotate(w, Y, Y, 18);
  add(w, Y, Y, E);
  add(w, Y, Y, G);
  hash16(X, Y);
}

/** (to1, to2) = WeakHashLen32WithSeeds(s + at, a, b), where a and b are registers that may be overwritten; uses C, T, U. */
function weakHash32(to1: number, to2: number, s: Uint8Array, at: number, a: number, b: number): void {
  load(w, T, s, at);
  add(w, a, a, T);
  load(w, U, s, at + 24);
  add(w, b, b, a);
  add(w, b, b, U);
  rotate(w, b, b, 21);
  copy(w, C, a);
  load(w, T, s, at + 8);
  add(w, a, a, T);
  load(w, T, s, at + 16);
  add(w, a, a, T);
  rotate(w, T, a, 44);
  add(w, b, b, T);
  add(w, to1, a, U);
  add(w, to2, b, C);
}

function hashLong(s: Uint8Array, start: number, length: number): void {
  const seed = 81;
  set(w, X, seed, 0);
  mul(w, Y, X, K1);
  addSmall(w, Y, Y, 113);
  mul(w, Z, Y, K2);
  addSmall(w, Z, Z, 113);
  xorShift(w, Z, Z, 47);
  mul(w, Z, Z, K2);
  for (const register of [V1, V2, W1, W2]) set(w, register, 0, 0);
  mul(w, X, X, K2);
  load(w, T, s, start);
  add(w, X, X, T);
  let at = start;
  const end = start + (((length - 1) >>> 6) << 6);
  const tail = (length - 1) & 63;
  copy(w, MUL, K1);
  for (; at < end; at += 64) round(s, at, false);
  set(w, MUL, (w[2 * Z]! & 0xff) << 1, 0);
  add(w, MUL, MUL, K1);
  addSmall(w, W1, W1, tail);
  add(w, V1, V1, W1);
  add(w, W1, W1, V1);
  round(s, end + tail - 63, true);
  hash16(V1, W1);
  copy(w, A, RESULT);
  xorShift(w, T, Y, 47);
  mul(w, T, T, K0);
  add(w, A, A, T);
  add(w, A, A, Z);
  hash16(V2, W2);
  add(w, B, RESULT, X);
  hash16(A, B);
}

/** One round over 64 bytes; the last one weighs w.second and v.first by nine. MUL is k1 in all but the last. */
function round(s: Uint8Array, at: number, isLast: boolean): void {
  add(w, X, X, Y);
  add(w, X, X, V1);
  load(w, T, s, at + 8);
  add(w, X, X, T);
  rotate(w, X, X, 37);
  mul(w, X, X, MUL);
  add(w, Y, Y, V2);
  load(w, T, s, at + 48);
  add(w, Y, Y, T);
  rotate(w, Y, Y, 42);
  mul(w, Y, Y, MUL);
  copy(w, A, W2);
  copy(w, B, V1);
  if (isLast) {
    mul(w, A, A, NINE);
    mul(w, B, B, NINE);
  }
  xor(w, X, X, A);
  add(w, Y, Y, B);
  load(w, T, s, at + 40);
  add(w, Y, Y, T);
  add(w, Z, Z, W1);
  rotate(w, Z, Z, 33);
  mul(w, Z, Z, MUL);
  mul(w, A, V2, MUL);
  add(w, B, X, W1);
  weakHash32(V1, V2, s, at, A, B);
  add(w, A, Z, W2);
  load(w, B, s, at + 16);
  add(w, B, B, Y);
  weakHash32(W1, W2, s, at + 32, A, B);
  copy(w, T, Z);
  copy(w, Z, X);
  copy(w, X, T);
}
