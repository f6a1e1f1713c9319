// Reads the pixels of a file, and draws those that the network receives.

const MOST_PIXELS = 2 ** 24; // of a canvas on phones

// What the first bytes say. 16-bit grey in PNG: browsers show 8 of the bits, but the model was trained on a range of all.
async function isJpeg(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  if (facts.levels && head[1] === 0x50 && head[2] === 0x4e && head[24] === 16 && head[25] === 0) {
    throw new Error("it has 16 bits, of which a browser reads 8; use python -m jobs.predict");
  }
  return head[0] === 0xff && head[1] === 0xd8;
}

// Upright and on white, as the training code decodes a file: without its colour profile, and a JPEG at a fraction of its size.
async function decode(file) {
  const jpeg = await isJpeg(file);
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error("this browser cannot read it as a picture");
  });
  const wanted = Math.floor(Math.min(bitmap.width, bitmap.height) / (facts.draft * facts.size));
  const parts = (jpeg && [8, 4, 2].find((each) => each <= wanted)) || 1;
  let first = 1;
  while ((bitmap.width / first) * (bitmap.height / first) > MOST_PIXELS) first *= 2;
  const image = readPixels(bitmap, Math.ceil(bitmap.width / first), Math.ceil(bitmap.height / first));
  return parts > first ? shrink(image, parts / first) : image;
}

function readPixels(bitmap, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  const colours = new Uint8ClampedArray(3 * width * height);
  for (let at = 0, from = 0; at < colours.length; at += 3, from += 4) {
    colours[at] = data[from];
    colours[at + 1] = data[from + 1];
    colours[at + 2] = data[from + 2];
  }
  return { width, height, data: colours };
}

// Draws a square; `tint` may change the three colours of each pixel.
function draw(canvas, planes, tint = (_, colour) => colour) {
  const side = facts.size, area = side * side, shown = new ImageData(side, side);
  for (let at = 0; at < area; at++) {
    const colour = [0, 1, 2].map((channel) => planes[(channel % facts.channels) * area + at]);
    shown.data.set([...tint(at, colour), 255], 4 * at);
  }
  [canvas.width, canvas.height] = [side, side];
  canvas.getContext("2d").putImageData(shown, 0, 0);
}
