// ask.mjs SERVER FILE QUESTIONS: asks a YAML language server over LSP on standard input and output, as an editor does.
// QUESTIONS is JSON: [{ "kind": "completion" | "hover", "line": n, "character": n }], counted from 0. Prints one JSON
// document: { "diagnostics": [{ line, message }], "answers": [[label…] | text] }.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";

const [server, file, questions] = process.argv.slice(2);
const uri = pathToFileURL(file).href;
const child = spawn(process.execPath, [server, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const waiting = new Map();
let id = 0;
let diagnosed;
const diagnostics = new Promise((resolve) => { diagnosed = resolve; });

const send = (message) => {
  const body = JSON.stringify({ jsonrpc: "2.0", ...message });
  child.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
};
const request = (method, params) => new Promise((resolve, reject) => {
  waiting.set(++id, { resolve, reject });
  send({ id, method, params });
});

// What the server asks of its editor: no settings of its own, every registration is fine.
const settings = { yaml: { validate: true, hover: true, completion: true, schemaStore: { enable: false } } };
const take = (message) => {
  if (message.method === "textDocument/publishDiagnostics" && message.params.uri === uri) {
    diagnosed(message.params.diagnostics);
  } else if (message.method && message.id !== undefined) {
    const one = (item) => item.section?.split(".").reduce((at, name) => at?.[name], settings) ?? null;
    const result = message.method === "workspace/configuration" ? message.params.items.map(one) : null;
    send({ id: message.id, result });
  } else if (waiting.has(message.id)) {
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    message.error ? reject(new Error(message.error.message)) : resolve(message.result);
  }
};

let bytes = Buffer.alloc(0);
child.stdout.on("data", (chunk) => {
  bytes = Buffer.concat([bytes, chunk]);
  for (;;) {
    const head = bytes.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(bytes.subarray(0, head).toString())[1]);
    if (bytes.length < head + 4 + length) return;
    const body = bytes.subarray(head + 4, head + 4 + length).toString();
    bytes = bytes.subarray(head + 4 + length);
    take(JSON.parse(body));
  }
});

const late = setTimeout(() => { console.error("the language server did not answer in time"); child.kill(); process.exit(1); }, 60_000);
await request("initialize", {
  processId: process.pid,
  rootUri: pathToFileURL(dirname(file)).href,
  capabilities: { textDocument: { hover: {}, completion: { completionItem: {} }, publishDiagnostics: {} }, workspace: { configuration: true } },
});
send({ method: "initialized", params: {} });
send({ method: "workspace/didChangeConfiguration", params: { settings } });
send({ method: "textDocument/didOpen", params: { textDocument: { uri, languageId: "yaml", version: 1, text: readFileSync(file, "utf8") } } });

const answers = [];
for (const { kind, line, character } of JSON.parse(questions)) {
  const answer = await request(`textDocument/${kind}`, { textDocument: { uri }, position: { line, character } });
  if (kind === "completion") {
    answers.push((answer?.items ?? answer ?? []).map((item) => item.label));
  } else {
    const contents = answer?.contents;
    answers.push(typeof contents === "string" ? contents : contents?.value ?? "");
  }
}
const found = (await diagnostics).map(({ range, message }) => ({ line: range.start.line, message }));
console.log(JSON.stringify({ diagnostics: found, answers }));
clearTimeout(late);
child.kill();
process.exit(0);
