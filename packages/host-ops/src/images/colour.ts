/** Colours of images: RGB and HSV, contrast, hue and saturation. Inner dimension 3 holds the channels, values mostly in [0, 1]. */
import { ServingError } from "@shardserve/core";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { check, checkScalar, printShape } from "../call/errors.js";
import { numberArray, type NumberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { scaleSaturations, turnHues } from "./colour-adjustments.js";

/** Changes the three channels at `at` in place; `round` rounds intermediate results to the precision of the dtype. */
type PixelChange = (pixels: NumberArray, at: number, round: (value: number) => number) => void;

/** tensorflow/core/kernels/image/colorspace_op.h */
const rgbToHsv: PixelChange = (pixels, at, round) => {
  const red = pixels[at]!;
  const green = pixels[at + 1]!;
  const blue = pixels[at + 2]!;
  const value = Math.max(red, green, blue);
  const range = round(value - Math.min(red, green, blue));
  let hue = 0;
  if (range > 0) {
    const norm = round(round(1 / range) * round(1 / 6));
    if (red === value) hue = round(norm * round(green - blue));
    else if (green === value) hue = round(norm * round(blue - red)) + round(2 / 6);
    else hue = round(norm * round(red - green)) + round(4 / 6);
  }
  pixels[at] = hue < 0 ? hue + 1 : hue;
  pixels[at + 1] = value > 0 ? range / value : 0;
  pixels[at + 2] = value;
};

function unit(x: number): number {
  return Math.min(1, Math.max(0, x));
}

const hsvToRgb: PixelChange = (pixels, at, round) => {
  const hue = round(pixels[at]! * 6);
  const saturation = pixels[at + 1]!;
  const value = pixels[at + 2]!;
  const grey = round(1 - saturation);
  const red = unit(round(Math.abs(round(hue - 3)) - 1));
  const green = unit(round(2 - Math.abs(round(hue - 2))));
  const blue = unit(round(2 - Math.abs(round(hue - 4))));
  pixels[at] = round(grey + round(saturation * red)) * value;
  pixels[at + 1] = round(grey + round(saturation * green)) * value;
  pixels[at + 2] = round(grey + round(saturation * blue)) * value;
};

function eachPixel(images: Tensor, change: PixelChange): Tensor[] {
  const pixels = numberArray(images.dtype, elementCount(images.shape));
  pixels.set(numbersOf(images));
  const round = roundingOf(images.dtype);
  for (let at = 0; at < pixels.length; at += 3) change(pixels, at, round);
  return [numbersTensor(images.dtype, images.shape, pixels)];
}

function conversion(change: PixelChange): Kernel {
  return (op) => {
    const images = op.tensor(0);
    check(images.shape.length >= 1, () => `input must be at least 1D${printShape(images.shape)}`);
    const channels = images.shape.at(-1)!;
    if (channels !== 3) {
      throw new ServingError("FAILED_PRECONDITION", `input must have 3 channels but instead has ${channels} channels.`);
    }
    return eachPixel(images, change);
  };
}

/** Inputs 0 and 1 of the ops that adjust images by a number. */
function adjusted(op: OpCall, parameter: string, isOfColours: boolean): [Tensor, number] {
  const [images, by] = [op.tensor(0), op.tensor(1)];
  check(images.shape.length >= 3, () => `input must be at least 3-D, got shape${printShape(images.shape)}`);
  checkScalar(by, parameter);
  const channels = images.shape.at(-1)!;
  check(!isOfColours || channels === 3, () => `input must have 3 channels but instead has ${channels} channels.`);
  return [images, numbersOf(by)[0]!];
}

/** @param change  of the pixels by the op's number */
function adjustment(parameter: string, change: (pixels: Float32Array, by: number) => Float32Array): Kernel {
  return (op) => {
    const [images, by] = adjusted(op, parameter, true);
    const pixels = change(numbersOf(images) as Float32Array, by);
    return [numbersTensor(images.dtype, images.shape, pixels)];
  };
}

/** Away from, or to, the mean of each channel of each image. */
function adjustContrast(op: OpCall): Tensor[] {
  const [images, factor] = adjusted(op, "contrast_factor", false);
  return [contrasted(images, factor, images.dtype)];
}

/** The op's first version: of any numbers, into floats between bounds. */
function clippedContrast(op: OpCall): Tensor[] {
  const [images, factor] = adjusted(op, "contrast_factor", false);
  const [least, most] = [2, 3].map((i) => {
    checkScalar(op.tensor(i), i === 2 ? "min_value" : "max_value");
    return numbersOf(op.tensor(i))[0]!;
  }) as [number, number];
  const out = contrasted(images, factor, "float32");
  const pixels = out.data as Float32Array;
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.max(Math.min(pixels[i]!, most), least);
  return [out];
}

function contrasted(images: Tensor, factor: number, dtype: Tensor["dtype"]): Tensor {
  const [height, width, channels] = images.shape.slice(-3) as [number, number, number];
  const pixels = dtype === images.dtype ? numbersOf(images) : Float32Array.from(numbersOf(images));
  const out = numberArray(dtype, pixels.length);
  const perImage = height * width * channels;
  const count = perImage === 0 ? 0 : elementCount(images.shape) / perImage;
  const means = new Float64Array(channels);
  for (let image = 0; image < count; image++) {
    const [start, end] = [image * perImage, (image + 1) * perImage];
    means.fill(0);
    for (let at = start; at < end; at += channels) {
      for (let c = 0; c < channels; c++) means[c]! += pixels[at + c]!;
    }
    for (let c = 0; c < channels; c++) means[c]! /= height * width;
    for (let at = start; at < end; at += channels) {
      for (let c = 0; c < channels; c++) out[at + c] = means[c]! + (pixels[at + c]! - means[c]!) * factor;
    }
  }
  return numbersTensor(dtype, images.shape, out);
}

export const COLOUR_KERNELS: Readonly<Record<string, Kernel>> = {
  RGBToHSV: conversion(rgbToHsv),
  HSVToRGB: conversion(hsvToRgb),
  AdjustHue: adjustment("delta", turnHues),
  AdjustSaturation: adjustment("scale", scaleSaturations),
  AdjustContrast: clippedContrast,
  AdjustContrastv2: adjustContrast,
};
