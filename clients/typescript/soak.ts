// soak REQUESTS_FILE sends each request of a file of JSON lines, {"partner", "method", "target", "body_base64"}, by turns
// with fetch and with axios, and ends with 1 at the first that a partner refuses. What a URL cannot carry byte for byte
// (WHATWG resolves dot segments and escapes some characters) goes out as the URL spells it, and is counted; what fetch cannot send
// goes by axios.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

import axios from "axios";

import { signedAxios } from "./src/axios.js";
import { dialFromEnvironment, partnerFromEnvironment } from "./src/environment.js";
import { signedFetch } from "./src/signerd.js";
import type { Signer } from "./src/signerd.js";

interface Line {
  partner: string;
  method: string;
  target: string;
  body_base64?: string;
}

type Send = (method: string, url: string, body: Buffer) => Promise<{ status: number; text: string }>;

const json = { "Content-Type": "application/json" };

function byFetch(signer: Signer, partner: string): Send {
  const send = signedFetch(signer, partnerFromEnvironment(partner));
  return async (method, url, body) => {
    const response = await send(url, { method, headers: json, body: body.length > 0 ? new Uint8Array(body) : null });
    return { status: response.status, text: await response.text() };
  };
}

function byAxios(signer: Signer, partner: string): Send {
  const instance = axios.create({ responseType: "text", validateStatus: null, headers: json });
  instance.interceptors.request.use(signedAxios(signer, partnerFromEnvironment(partner)));
  return async (method, url, body) => {
    const response = await instance.request<string>({ method, url, data: body });
    return { status: response.status, text: response.data };
  };
}

const fetchRefuses = (method: string, body: Buffer): boolean =>
  (/^(get|head)$/i.test(method) && body.length > 0) || /^(trace|track)$/i.test(method);

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: soak REQUESTS_FILE");
  process.exit(2);
}
const signer = dialFromEnvironment(process.env.TRANSPORT || "grpc-js");
const senders = new Map<string, [Send, Send]>();
const count = { fetch: 0, axios: 0, respelled: 0 };
let number = 0;
for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
  number++;
  if (text === "") {
    continue;
  }
  const { partner, method, target, body_base64 } = JSON.parse(text) as Line;
  const body = Buffer.from(body_base64 ?? "", "base64");
  const url = new URL(partnerFromEnvironment(partner).baseUrl).origin + target;
  const parsed = new URL(url);
  if (parsed.pathname + parsed.search !== target) {
    count.respelled++;
  }
  let pair = senders.get(partner);
  if (pair === undefined) {
    pair = [byFetch(signer, partner), byAxios(signer, partner)];
    senders.set(partner, pair);
  }
  const by = number % 2 === 0 || fetchRefuses(method, body) ? "axios" : "fetch";
  count[by]++;
  const response = await pair[by === "fetch" ? 0 : 1](method, url, body);
  if (response.status !== 200) {
    console.log(`line ${number}: ${partner} ${method} ${target} with ${body.length} bytes by ${by}: ${response.status} ${response.text.trim()}`);
    process.exitCode = 1;
    break;
  }
}
console.log(`sent ${count.fetch} with fetch and ${count.axios} with axios, ${count.respelled} of them as a URL spells them`);
signer.close();
