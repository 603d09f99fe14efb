/**
 * A snappy block of literals and, where it can, one-byte-offset copies of the byte before: enough to exercise both kinds
 * of element in tables. Real compressors are covered by the golden block of snappy.test.ts.
 */
export function snappyLiteral(block: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let rest = block.length; ; rest = Math.floor(rest / 128)) {
    out.push(rest > 127 ? (rest % 128) | 0x80 : rest);
    if (rest <= 127) break;
  }
  for (let i = 0; i < block.length; ) {
    let run = 0;
    while (i > 0 && run < 11 && i + run < block.length && block[i + run] === block[i - 1]) run++;
    if (run >= 4) {
      out.push(((run - 4) << 2) | 1, 1);
      i += run;
    } else {
      out.push(0, block[i]!);
      i++;
    }
  }
  return Uint8Array.from(out);
}
