/** Sound: WAV files, spectrograms and their cepstral coefficients, as in tensorflow/core/kernels/{spectrogram,mfcc*}.cc. */
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { check, checkScalar, invalid, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { realTransformOf } from "./fourier.js";

function audioSpectrogram(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  check(input.shape.length === 2, () => `input must be 2-dimensional${printShape(input.shape)}`);
  const [size, stride] = [op.attrs.int("window_size"), op.attrs.int("stride")];
  check(
    size >= 2 && stride >= 1,
    () => `Spectrogram initialization failed for window size ${size} and stride ${stride}`,
  );
  const [samples, channels] = input.shape as [number, number];
  const length = 2 ** Math.ceil(Math.log2(size));
  const bins = length / 2 + 1;
  const slices = samples < size ? 0 : 1 + Math.floor((samples - size) / stride);
  const shape = [channels, slices, bins];
  const out = allocate("float32", checkedCount("float32", shape));
  const isSquared = op.attrs.bool("magnitude_squared");
  const hann = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
  const data = input.data as Float32Array;
  const windowed = new Float64Array(length);
  const spectrum = new Float64Array(2 * bins);
  const transform = realTransformOf(length);
  let at = 0;
  for (let c = 0; c < channels; c++) {
    for (let s = 0; s < slices; s++) {
      for (let i = 0; i < size; i++) windowed[i] = data[(s * stride + i) * channels + c]! * hann[i]!;
      transform(windowed, 0, spectrum, 0);
      for (let k = 0; k < bins; k++) {
        const power = spectrum[2 * k]! ** 2 + spectrum[2 * k + 1]! ** 2;
        out[at++] = isSquared ? power : Math.sqrt(power);
      }
    }
  }
  return [tensor("float32", shape, out)];
}

/** Triangles on the mel scale, each bin split between the two bands around it. */
interface MelBands {
  /** Bins in [first, last] count. */
  readonly first: number;
  readonly last: number;
  /** Of each bin, the band below it; -1 below the first centre. */
  readonly bandOf: Int32Array;
  /** The part of each bin that goes to the band below it. */
  readonly weights: Float64Array;
}

const mel = (hertz: number): number => 1127 * Math.log1p(hertz / 700);

function melBands(bins: number, sampleRate: number, bandCount: number, lower: number, upper: number): MelBands {
  const low = mel(lower);
  const spacing = (mel(upper) - low) / (bandCount + 1);
  const centre = (band: number): number => low + spacing * (band + 1);
  const hertzPerBin = (0.5 * sampleRate) / (bins - 1);
  const first = Math.trunc(1.5 + lower / hertzPerBin);
  const last = Math.trunc(upper / hertzPerBin);
  const bandOf = new Int32Array(bins);
  const weights = new Float64Array(bins);
  let band = 0;
  for (let i = first; i <= Math.min(last, bins - 1); i++) {
    const at = mel(i * hertzPerBin);
    while (band < bandCount && centre(band) < at) band++;
    bandOf[i] = band - 1;
    weights[i] = (centre(band) - at) / spacing;
  }
  return { first, last, bandOf, weights };
}

/** Energies below this count as this. */
const ENERGY_MIN = 1e-12;

function mfcc(op: OpCall): Tensor[] {
  const [spectrogram, rate] = [op.tensor(0), op.tensor(1)];
  check(spectrogram.shape.length === 3, () => `spectrogram must be 3-dimensional${printShape(spectrogram.shape)}`);
  checkScalar(rate, "sample_rate");
  const [channels, slices, bins] = spectrogram.shape as [number, number, number];
  const sampleRate = integerOf(rate);
  const [lower, upper] = [op.attrs.float("lower_frequency_limit"), op.attrs.float("upper_frequency_limit")];
  const [bandCount, count] = [op.attrs.int("filterbank_channel_count"), op.attrs.int("dct_coefficient_count")];
  check(
    bandCount >= 1 && count >= 1 && count <= bandCount && sampleRate > 0 && bins >= 2 && lower >= 0 && upper > lower,
    () =>
      `Mfcc initialization failed for channel count ${bins}, sample rate ${sampleRate}, lower_frequency_limit ${lower}, upper_frequency_limit ${upper}, filterbank_channel_count ${bandCount} and dct_coefficient_count ${count}`,
  );
  const { first, last, bandOf, weights } = melBands(bins, sampleRate, bandCount, lower, upper);
  const shape = [channels, slices, count];
  const out = allocate("float32", checkedCount("float32", shape));
  // TensorFlow logs that the limit is too high for the spectrogram, and answers zeros.
  if (last >= bins) return [tensor("float32", shape, out)];
  const cosines = new Float64Array(count * bandCount);
  const norm = Math.sqrt(2 / bandCount);
  for (let i = 0; i < cosines.length; i++) {
    const [k, j] = [Math.floor(i / bandCount), i % bandCount];
    cosines[i] = norm * Math.cos(((k * Math.PI) / bandCount) * (j + 0.5));
  }
  const data = spectrogram.data as Float32Array;
  const energies = new Float64Array(bandCount);
  for (let s = 0; s < channels * slices; s++) {
    energies.fill(0);
    for (let i = first; i <= last; i++) {
      const magnitude = Math.sqrt(data[s * bins + i]!);
      const below = magnitude * weights[i]!;
      const band = bandOf[i]!;
      if (band >= 0) energies[band]! += below;
      if (band + 1 < bandCount) energies[band + 1]! += magnitude - below;
    }
    for (let j = 0; j < bandCount; j++) energies[j] = Math.log(energies[j]! < ENERGY_MIN ? ENERGY_MIN : energies[j]!);
    for (let k = 0; k < count; k++) {
      let sum = 0;
      for (let j = 0; j < bandCount; j++) sum += cosines[k * bandCount + j]! * energies[j]!;
      out[s * count + k] = sum;
    }
  }
  return [tensor("float32", shape, out)];
}

/** Samples of 16 bits, interleaved by channel. */
interface Wav {
  readonly sampleRate: number;
  readonly channels: number;
  readonly samples: Buffer;
}

/** Reads forward; what is not there is INVALID_ARGUMENT. */
class WavReader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at >= this.#bytes.length;
  }

  take(count: number): Buffer {
    check(
      this.at + count <= this.#bytes.length,
      () => `Data too short when trying to read ${count} bytes of a WAV file`,
    );
    return this.#bytes.subarray(this.at, (this.at += count));
  }

  text(): string {
    return this.take(4).toString("latin1");
  }

  expect(text: string): void {
    const found = this.text();
    check(found === text, () => `Header mismatch: Expected ${text} but found ${JSON.stringify(found)}`);
  }

  uint16(): number {
    return this.take(2).readUInt16LE();
  }

  uint32(): number {
    return this.take(4).readUInt32LE();
  }
}

/** Bytes of a sample of one channel. */
const SAMPLE_BYTES = 2;

function readWav(bytes: Uint8Array): Wav {
  const reader = new WavReader(bytes);
  reader.expect("RIFF");
  reader.uint32();
  reader.expect("WAVE");
  reader.expect("fmt ");
  const formatSize = reader.uint32();
  check(
    formatSize === 16 || formatSize === 18,
    () => `Bad format chunk size for WAV: Expected 16 or 18, but got${formatSize}`,
  );
  const format = reader.uint16();
  check(format === 1, () => `Bad audio format for WAV: Expected 1 (PCM), but got${format}`);
  const channels = reader.uint16();
  check(channels >= 1, () => "Bad number of channels for WAV: Expected at least 1, but got 0");
  const [sampleRate, bytesPerSecond] = [reader.uint32(), reader.uint32()];
  const [frameBytes, bits] = [reader.uint16(), reader.uint16()];
  check(bits === 8 * SAMPLE_BYTES, () => `Can only read 16-bit WAV files, but received ${bits}`);
  check(
    frameBytes === SAMPLE_BYTES * channels,
    () => `Bad bytes per sample in WAV header: Expected ${SAMPLE_BYTES * channels} but got ${frameBytes}`,
  );
  check(
    bytesPerSecond === frameBytes * sampleRate,
    () => `Bad bytes per second in WAV header: Expected ${frameBytes * sampleRate} but got ${bytesPerSecond}`,
  );
  if (formatSize === 18) reader.uint16();
  let samples: Buffer | undefined;
  while (!reader.isAtEnd) {
    const [id, size] = [reader.text(), reader.uint32()];
    if (id !== "data") {
      reader.take(size);
      continue;
    }
    check(!samples, () => "More than one data chunk found in WAV");
    samples = reader.take(Math.floor(size / frameBytes) * frameBytes);
  }
  if (!samples) throw invalid("No data chunk found in WAV");
  return { sampleRate, channels, samples };
}

function decodeWav(op: OpCall): Tensor[] {
  const contents = op.tensor(0);
  check(contents.shape.length === 0, () => `contents must be scalar, got shape ${printShape(contents.shape)}`);
  const { sampleRate, channels, samples } = readWav(op.strings(0).at(0));
  const found = samples.length / SAMPLE_BYTES / channels;
  const [wantedChannels, wantedSamples] = [op.attrs.int("desired_channels"), op.attrs.int("desired_samples")];
  const shape = [wantedSamples === -1 ? found : wantedSamples, wantedChannels === -1 ? channels : wantedChannels];
  const out = allocate("float32", checkedCount("float32", shape));
  const [rows, columns] = shape as [number, number];
  for (let s = 0; s < Math.min(rows, found); s++) {
    for (let c = 0; c < columns; c++) {
      const from = s * channels + Math.min(c, channels - 1);
      out[s * columns + c] = samples.readInt16LE(from * SAMPLE_BYTES) / 32768;
    }
  }
  return [tensor("float32", shape, out), tensor("int32", [], Int32Array.of(sampleRate))];
}

function encodeWav(op: OpCall): Tensor[] {
  const [audio, rate] = [op.tensor(0), op.tensor(1)];
  check(audio.shape.length === 2, () => `audio must be 2-dimensional${printShape(audio.shape)}`);
  checkScalar(rate, "sample_rate");
  const [samples, channels] = audio.shape as [number, number];
  const sampleRate = integerOf(rate);
  check(
    sampleRate > 0 && channels > 0,
    () => `sample_rate and channels must be positive, got ${sampleRate} and ${channels}`,
  );
  const header = 44;
  const dataBytes = samples * channels * SAMPLE_BYTES;
  const wav = Buffer.alloc(header + dataBytes);
  wav.write("RIFF", 0, "latin1");
  wav.writeUInt32LE(wav.length - 8, 4);
  wav.write("WAVEfmt ", 8, "latin1");
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(channels, 22);
  wav.writeUInt32LE(sampleRate, 24);
  wav.writeUInt32LE(sampleRate * channels * SAMPLE_BYTES, 28);
  wav.writeUInt16LE(channels * SAMPLE_BYTES, 32);
  wav.writeUInt16LE(8 * SAMPLE_BYTES, 34);
  wav.write("data", 36, "latin1");
  wav.writeUInt32LE(dataBytes, 40);
  const data = audio.data as Float32Array;
  for (let i = 0; i < data.length; i++) {
    const level = data[i]! * 32768;
    const rounded = Math.sign(level) * Math.round(Math.abs(level)) || 0;
    wav.writeInt16LE(Math.min(32767, Math.max(-32768, rounded)), header + i * SAMPLE_BYTES);
  }
  return [tensor("string", [], StringColumn.from([wav]))];
}

export const AUDIO_KERNELS: Readonly<Record<string, Kernel>> = {
  AudioSpectrogram: audioSpectrogram,
  Mfcc: mfcc,
  DecodeWav: decodeWav,
  EncodeWav: encodeWav,
};
