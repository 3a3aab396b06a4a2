// The worker that holds a log's files and checks them, by the ledger's verifier as WebAssembly (serve/page/verify).
const loaded = WebAssembly.instantiateStreaming(fetch("/page/verify.wasm"), {}).then(({ instance }) => instance.exports);

const fill = (wasm, parts) => {
  const long = parts.reduce((sum, part) => sum + part.length, 0);
  let at = wasm.inbox(long);
  // The memory may have grown: its view is taken after the call.
  const memory = new Uint8Array(wasm.memory.buffer);
  for (const part of parts) {
    memory.set(part, at);
    at += part.length;
  }
};

const text = new TextEncoder();
const act = (wasm, message) => {
  if (message.put) {
    for (const { name, offset, at, bytes } of message.frames) {
      const path = text.encode(name);
      fill(wasm, [path, new Uint8Array(message.put, at, bytes)]);
      if (!wasm.put(path.length, offset)) throw new Error(`${name}: its parts came out of order`);
    }
    return true;
  }
  if (message.drop) {
    fill(wasm, [text.encode(message.drop)]);
    wasm.drop_file();
    return true;
  }
  const began = performance.now();
  fill(wasm, [text.encode(JSON.stringify(message.check))]);
  const long = wasm.check();
  const answer = new TextDecoder().decode(new Uint8Array(wasm.memory.buffer, wasm.outbox(), long));
  return { report: JSON.parse(answer), ms: performance.now() - began };
};

let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      postMessage(act(await loaded, data));
    } catch (fault) {
      setTimeout(() => { throw fault; });
    }
  });
};
