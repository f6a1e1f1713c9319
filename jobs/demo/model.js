// Unpacks the model and onnxruntime-web, which are in the page as text, and asks the model.

const find = (id) => document.getElementById(id);
const facts = JSON.parse(find("facts").textContent);
const count = facts.channels * facts.size * facts.size;

async function unpack(id) {
  const text = atob(find(id).textContent), packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) packed[at] = text.charCodeAt(at);
  find(id).remove();
  const content = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(content).arrayBuffer());
}

// Returns a function that returns the chances of all classes for each image of a batch.
async function load() {
  const script = new Blob([await unpack("runtime")], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(script));
  ort.env.wasm.numThreads = 1; // more need headers that a file cannot have
  ort.env.wasm.wasmBinary = await unpack("wasm");
  const session = await ort.InferenceSession.create(await unpack("model"), { executionProviders: ["wasm"] });
  return async (pixels) => {
    const shape = [pixels.length / count, facts.channels, facts.size, facts.size];
    const { logits } = await session.run({ images: new ort.Tensor("uint8", pixels, shape) });
    const [images, classes] = logits.dims;
    return Array.from({ length: images }, (_, at) => softmax(logits.data.subarray(at * classes, (at + 1) * classes)));
  };
}

function softmax(logits) {
  const top = Math.max(...logits), shares = Array.from(logits, (logit) => Math.exp(logit - top));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}
