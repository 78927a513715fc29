// A picture of the user's own, as the model was shown its training pictures: short side to size, the centre cut out.

const LARGEST = 40 * 2 ** 20;

/** A file → ImageData of width×height. Errors are sentences. */
export async function read(file, width, height) {
  if (file.size > LARGEST) throw new Error(`${file.name} has more than 40 MB; choose a smaller picture.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read; choose a PNG or JPEG.`);
  }
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  let source = bitmap, [w, h] = [bitmap.width, bitmap.height];
  const [toWidth, toHeight] = [Math.max(width, Math.round(w * scale)), Math.max(height, Math.round(h * scale))];
  while (w > 2 * toWidth && h > 2 * toHeight) { // by halves, so that every pixel counts
    [w, h] = [Math.round(w / 2), Math.round(h / 2)];
    source = drawn(source, w, h);
  }
  const small = w === toWidth && h === toHeight ? drawn(source, w, h) : drawn(source, toWidth, toHeight);
  const left = (toWidth - width) >> 1, top = (toHeight - height) >> 1;
  return small.getContext("2d").getImageData(left, top, width, height);
}

function drawn(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff"; // behind what is transparent
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, width, height);
  return canvas;
}
