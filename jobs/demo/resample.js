// Scales pixels as Pillow does (src/libImaging/Resample.c), in the same whole numbers, so that the image is the same.
// An image is { width, height, data }, data in RGB, three bytes a pixel.

const PRECISION = 22;
const KERNELS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at: (signed) => {
      const x = Math.abs(signed), a = -0.5;
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
};

// For each output: the first input that it depends on, and the weights from there on. Pillow keeps the box in 32 bits.
function weigh(inputs, low, high, outputs, kernel) {
  const scale = Math.fround(high - low) / outputs;
  const stretch = Math.max(scale, 1), near = 1 / stretch, support = kernel.support * stretch;
  return Array.from({ length: outputs }, (_, output) => {
    const center = low + (output + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inputs, Math.trunc(center + support + 0.5));
    const shares = Array.from({ length: end - first }, (_, at) => kernel.at((at + first - center + 0.5) * near));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const whole = shares.map((share) => {
      const exact = total ? (share / total) * 2 ** PRECISION : 0;
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
    return { first, weights: whole };
  });
}

// One pass along a line of pixels: `step` bytes from one to the next; `lines` such lines, `leap` bytes apart.
function pass(data, table, target, { step, leap, lines, targetStep, targetLeap }) {
  for (let line = 0; line < lines; line++) {
    for (let output = 0; output < table.length; output++) {
      const { first, weights } = table[output];
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (PRECISION - 1);
        let from = line * leap + first * step + channel;
        for (let at = 0; at < weights.length; at++, from += step) sum += data[from] * weights[at];
        target[line * targetLeap + output * targetStep + channel] = Math.min(255, Math.max(0, sum >> PRECISION));
      }
    }
  }
}

function resize(image, width, height, box, name) {
  const [left, top, right, bottom] = box.map(Math.fround), kernel = KERNELS[name];
  let { data } = image;
  let across = image.width;
  if (across !== width || left !== 0 || right !== width) {
    const table = weigh(image.width, left, right, width, kernel);
    const target = new Uint8ClampedArray(3 * width * image.height);
    pass(data, table, target, { step: 3, leap: 3 * across, lines: image.height, targetStep: 3, targetLeap: 3 * width });
    [data, across] = [target, width];
  }
  if (image.height !== height || top !== 0 || bottom !== height) {
    const table = weigh(image.height, top, bottom, height, kernel);
    const target = new Uint8ClampedArray(3 * width * height);
    pass(data, table, target, { step: 3 * across, leap: 3, lines: width, targetStep: 3 * width, targetLeap: 3 });
    data = target;
  }
  return { width, height, data };
}

// The mean of each square of pixels: nearly what a JPEG decoder returns that is asked for a fraction of the size.
function shrink(image, parts) {
  const width = Math.ceil(image.width / parts), height = Math.ceil(image.height / parts);
  const data = new Uint8ClampedArray(3 * width * height);
  for (let at = 0; at < width * height; at++) {
    const top = Math.floor(at / width) * parts, left = (at % width) * parts;
    const bottom = Math.min(image.height, top + parts), right = Math.min(image.width, left + parts);
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) sum += image.data[3 * (row * image.width + column) + channel];
      }
      data[3 * at + channel] = sum / ((bottom - top) * (right - left));
    }
  }
  return { width, height, data };
}

// Python's round: a half goes to the even neighbour.
function roundEven(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

// ImageOps.fit: the centre, as large as possible.
function cropped(image, size, kernel) {
  const side = Math.min(image.width, image.height);
  const left = (image.width - side) / 2, top = (image.height - side) / 2;
  return resize(image, size, size, [left, top, left + side, top + side], kernel);
}

// ImageOps.pad: all of it, with grey borders.
function padded(image, size, kernel) {
  const wide = image.width > image.height, share = wide ? image.height / image.width : image.width / image.height;
  const shorter = Math.max(1, roundEven(share * size)), start = roundEven((size - shorter) / 2);
  const width = wide ? size : shorter, height = wide ? shorter : size;
  const inner = resize(image, width, height, [0, 0, image.width, image.height], kernel);
  const data = new Uint8ClampedArray(3 * size * size).fill(128);
  for (let row = 0; row < height; row++) {
    const place = wide ? (row + start) * size : row * size + start;
    data.set(inner.data.subarray(3 * row * width, 3 * (row + 1) * width), 3 * place);
  }
  return { width: size, height: size, data };
}

function toSquare(image, size, { resize: mode, interpolation }) {
  if (mode === "squish") return resize(image, size, size, [0, 0, image.width, image.height], interpolation);
  return (mode === "pad" ? padded : cropped)(image, size, interpolation);
}

// Planes, as networks want them; grey as Pillow's convert("L"): ITU-R 601-2 luma in whole numbers.
function toPlanes({ width, height, data }, channels) {
  const count = width * height, planes = new Uint8Array(channels * count);
  for (let at = 0; at < count; at++) {
    const red = data[3 * at], green = data[3 * at + 1], blue = data[3 * at + 2];
    if (channels === 1) {
      planes[at] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      [planes[at], planes[count + at], planes[2 * count + at]] = [red, green, blue];
    }
  }
  return planes;
}
