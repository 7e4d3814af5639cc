// What goes on the wire, and what does not; no signerd takes part.
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { inspect } from "node:util";

import axios, { AxiosError } from "axios";
import type { AxiosInstance } from "axios";

import { signedAxios } from "../src/axios.js";
import { SigningError, signedFetch, wireURL } from "../src/signerd.js";
import type { Signer, SigningOptions } from "../src/signerd.js";
import { fakeSigner, serve } from "./partner.js";

const ok = (): Promise<{ url: string; arrived: import("./partner.js").Arrived[] }> => serve((_, response) => response.end("ok"));

function instanceFor(signer: Signer, options: SigningOptions): AxiosInstance {
  const instance = axios.create({ baseURL: String(options.baseUrl), responseType: "text" });
  instance.interceptors.request.use(signedAxios(signer, options));
  return instance;
}

test("fetch sends the bytes and the target that it had signed", async () => {
  const { url, arrived } = await ok();
  const form = new FormData();
  form.set("name", "Zoë");
  const bytes = new TextEncoder().encode("xxZoëxx");
  const bodies: RequestInit["body"][] = [
    "Zoë", "lone \ud800 surrogate", bytes, bytes.subarray(2, 6), bytes.buffer as ArrayBuffer, new Blob(["a", "b"], { type: "text/x" }),
    new URLSearchParams({ a: "b c" }), form, "", new Uint8Array(),
  ];
  for (const body of bodies) {
    const signer = fakeSigner(url);
    await signedFetch(signer, { noba: "k", baseUrl: url })("/a/../b//c|d?x=a b&y='#f", { method: "post", body });
    const last = arrived.at(-1)!;
    assert.deepEqual(signer.asked, [{ method: last.method, path: last.target, body: last.body }]);
    assert.equal(last.headers["x-noba-signature"], "mac");
  }
  assert.match(arrived[7]!.headers["content-type"]!, /^multipart\/form-data; boundary=/);
  assert.equal(arrived[3]!.body.toString(), "Zoë");
});

test("fetch signs a Request as it is, with what is changed in it", async () => {
  const { url, arrived } = await ok();
  const signer = fakeSigner(url);
  const send = signedFetch(signer, { noah: "k", baseUrl: url });
  await send(new Request(`${url}/a?`, { method: "PUT", body: "one", headers: { "X-Mine": "1" } }));
  await send(new Request(`${url}/a`, { method: "PUT", body: "one" }), { method: "PATCH", body: "two" });
  assert.deepEqual(arrived.map((a) => [a.method, a.target, a.body.toString()]), [["PUT", "/a", "one"], ["PATCH", "/a", "two"]]);
  assert.deepEqual(signer.asked, arrived.map((a) => ({ method: a.method, path: a.target, body: a.body })));
  assert.equal(arrived[0]!.headers["x-mine"], "1");
});

test("axios sends the bytes and the target that it had signed", async () => {
  const { url, arrived } = await ok();
  const view = new TextEncoder().encode("xxZoëxx").subarray(2, 6);
  const bodies = ["Zoë", { a: 1, name: "Zoë" }, ["a"], view, Buffer.from(view), view.slice().buffer, new URLSearchParams({ a: "b c" }), "", undefined];
  for (const data of bodies) {
    const signer = fakeSigner(url);
    const instance = instanceFor(signer, { noba: "k", baseUrl: url });
    await instance.post("/a//b?x=a b", data, { params: { q: "it's é", list: ["1", "2"] } });
    const last = arrived.at(-1)!;
    assert.deepEqual(signer.asked, [{ method: last.method, path: last.target, body: last.body }]);
    assert.equal(last.headers["x-noba-signature"], "mac");
  }
  assert.equal(arrived[0]!.target, "/a//b?x=a%20b&q=it%27s+%C3%A9&list%5B%5D=1&list%5B%5D=2");
  assert.deepEqual(arrived.slice(1, 5).map((a) => a.body.toString()), ['{"a":1,"name":"Zoë"}', '["a"]', "Zoë", "Zoë"]);
  assert.match(arrived[1]!.headers["content-type"]!, /^application\/json/);
});

test("axios signs what interceptors and transforms make of a request, whenever they were added", async () => {
  const { url, arrived } = await ok();
  const signer = fakeSigner(url);
  const instance = axios.create({ baseURL: url });
  const change = (config: import("axios").InternalAxiosRequestConfig) => ({ ...config, params: { late: "1" } });
  instance.interceptors.request.use(change);
  instance.interceptors.request.use(signedAxios(signer, { noah: "k", baseUrl: url }));
  await instance.post("/a", { a: 1 }, { transformRequest: [(data) => `${JSON.stringify(data)}\n`] });
  assert.deepEqual(signer.asked, [{ method: "POST", path: "/a?late=1", body: Buffer.from('{"a":1}\n') }]);
  assert.equal(arrived[0]!.body.toString(), '{"a":1}\n');
});

test("the bytes go out as they were signed, whatever their owner does to them meanwhile", async () => {
  const { url, arrived } = await ok();
  for (const way of ["fetch", "axios"]) {
    for (const kind of ["view", "buffer"]) {
      const owned = new TextEncoder().encode("ours").slice();
      const body = kind === "view" ? owned : owned.buffer;
      const signer = fakeSigner(url);
      const changing: Signer = { ...signer, async signNoahRequest(request, options) {
        const signed = await signer.signNoahRequest(request, options);
        owned.fill(0x21);
        return signed;
      } };
      const options = { noah: "k", baseUrl: url };
      await (way === "axios" ? instanceFor(changing, options).post("/a", body) : signedFetch(changing, options)("/a", { method: "POST", body }));
      assert.equal(signer.asked[0]!.body!.toString(), "ours");
      assert.equal(arrived.at(-1)!.body.toString(), "ours", `${way}, ${kind}`);
    }
  }
});

test("axios sends the whole body, whatever length its caller's headers say", async () => {
  const { url, arrived } = await ok();
  for (const headers of [{ "Content-Length": "1" }, { "content-length": "99" }, { "Transfer-Encoding": "chunked" }]) {
    const signer = fakeSigner(url);
    await instanceFor(signer, { noah: "k", baseUrl: url }).post("/a", "xyz", { headers, timeout: 5_000 });
    assert.equal(arrived.at(-1)!.body.toString(), "xyz");
    assert.equal(arrived.at(-1)!.headers["content-length"], "3");
    assert.equal(arrived.at(-1)!.headers["transfer-encoding"], undefined);
  }
});

test("axios signs a request once more, and once, when its configuration is sent again", async () => {
  const { url, arrived } = await serve((_, response) => response.writeHead(arrived.length === 1 ? 503 : 200).end());
  const signer = fakeSigner(url);
  const instance = instanceFor(signer, { noah: "k", baseUrl: url });
  const error: unknown = await instance.post("/a?x=1", { a: 1 }, { params: { y: "2" } }).catch((e: unknown) => e);
  assert(error instanceof AxiosError && error.config);
  await instance.request(error.config);
  assert.deepEqual(arrived.map((a) => [a.target, a.body.toString(), a.headers["api-signature"]]), [
    ["/a?x=1&y=2", '{"a":1}', "token-1"], ["/a?x=1&y=2", '{"a":1}', "token-2"],
  ]);
  assert.equal(signer.asked.length, 2);
});

test("streams are refused, and what axios has no bytes of", async () => {
  const { url, arrived } = await ok();
  const signer = fakeSigner(url);
  const options = { noah: "k", baseUrl: url };
  for (const body of [new Blob(["a"]).stream(), Readable.from(["a"])]) {
    await assert.rejects(signedFetch(signer, options)("/a", { method: "POST", body: body as RequestInit["body"], duplex: "half" } as RequestInit), SigningError);
  }
  for (const data of [new Blob(["a"]), Readable.from(["a"])]) {
    await assert.rejects(instanceFor(signer, options).post("/a", data), SigningError);
  }
  const form = new FormData();
  form.set("a", "b");
  await assert.rejects(instanceFor(signer, options).post("/a", form), SigningError);
  assert.equal(signer.asked.length + arrived.length, 0);
});

test("hosts other than the base URL's are refused, and nothing is signed", async () => {
  const { url, arrived } = await ok();
  const signer = fakeSigner(url);
  const options = { noah: "k", baseUrl: url };
  for (const other of ["https://example.com/a", "//example.com/a", url.replace("http:", "https:"), url.replace("127.0.0.1", "localhost"), "http://127.0.0.1:1/a", url.replace("//", "//u:p@")]) {
    await assert.rejects(signedFetch(signer, options)(other), SigningError, other);
    await assert.rejects(instanceFor(signer, { ...options }).get(other, { baseURL: "" }), SigningError, other);
  }
  await assert.rejects(signedFetch(signer, options)({ url: `${url}/a` } as Request), SigningError);
  assert.equal(signer.asked.length + arrived.length, 0);
});

test("plain http is refused for other hosts than loopback, and nothing is signed", async () => {
  for (const baseUrl of [
    "http://api.noah.com", "HTTP://api.noah.com:443", "http://10.0.0.1", "http://128.0.0.1", "http://127.0.0.1.example", "http://1270.0.1.example",
    "http://localhost.example", "http://localhost@api.noah.com", "http://[::2]", new URL("http://api.noah.com"),
  ]) {
    const signer = fakeSigner(String(baseUrl), ["one", "two"]);
    for (const options of [{ noah: "k", baseUrl }, { noba: "k", baseUrl }, { noon: "k", baseUrl }]) {
      const refusal = { name: "SigningError", message: /has to be https/ };
      await assert.rejects(signedFetch(signer, options)("/a"), refusal, String(baseUrl));
      await assert.rejects(instanceFor(signer, options).get("/a"), refusal, String(baseUrl));
    }
    assert.equal(signer.asked.length, 0);
  }
});

test("https is taken for any host, and plain http for loopback", () => {
  for (const baseUrl of ["https://api.noah.com", "http://localhost:1", "http://LOCALHOST", "http://127.0.0.1:1", "http://127.255.255.254", "http://[::1]:1", "http://[0:0::1]"]) {
    assert.equal(wireURL("/a", baseUrl).href, new URL("/a", baseUrl).href);
  }
});

test("the Host of the URL is the one that goes out", async () => {
  const { url, arrived } = await ok();
  for (const name of ["Host", "host"]) {
    for (const options of [{ noah: "k", baseUrl: url }, { noba: "k", baseUrl: url }, { noon: "k", baseUrl: url }]) {
      const signer = fakeSigner(url, ["one", "two"]);
      const headers = { [name]: "elsewhere.example" };
      await signedFetch(signer, options)("/a", { headers });
      await instanceFor(signer, options).get("/a", { headers });
    }
  }
  assert.deepEqual(arrived.map((a) => a.headers.host), Array<string>(12).fill(new URL(url).host));
});

test("redirects are not followed with the old signature", async () => {
  const elsewhere = await ok();
  const { url, arrived } = await serve((request, response) => response.writeHead(307, { Location: request.target === "/a" ? "/b" : elsewhere.url }).end());
  const signer = fakeSigner(url);
  const options = { noah: "k", baseUrl: url };
  for (const path of ["/a", "/out"]) {
    const response = await signedFetch(signer, options)(path, { redirect: "follow" });
    assert.equal(response.status, 307);
    await assert.rejects(signedFetch(signer, options)(path, { redirect: "error" }), TypeError);
    await assert.rejects(instanceFor(signer, options).get(path, { maxRedirects: 5 }), (error) => error instanceof AxiosError && error.response?.status === 307);
  }
  assert.equal(arrived.length, 6);
  assert.equal(elsewhere.arrived.length, 0);
});

test("Noon's 401 is answered once, with the session that replaces the rejected one, and the same body", async () => {
  const { url, arrived } = await serve(({ headers }, response) => response.writeHead(headers.cookie === "s=good" ? 200 : 401).end("x"));
  for (const way of ["fetch", "axios"]) {
    const signer = fakeSigner(url, ["old", "good"]);
    const options = { noon: "k", baseUrl: url };
    const { status } = way === "fetch"
      ? await signedFetch(signer, options)("/orders", { method: "POST", body: "again" })
      : await instanceFor(signer, options).post("/orders", "again");
    assert.equal(status, 200);
    assert.deepEqual(signer.asked, [{ rejectedSessionId: "" }, { rejectedSessionId: "old" }]);
    assert.deepEqual(arrived.splice(0).map((a) => [a.headers.cookie, a.headers["user-agent"], a.body.toString()]), [
      ["s=old", "Example/1.0", "again"], ["s=good", "Example/1.0", "again"],
    ]);
  }
});

test("Noon's second 401 is the answer, and so is the first where the session stays or the request is another partner's", async () => {
  const { url, arrived } = await serve((_, response) => response.writeHead(401).end("no"));
  const cases: [SigningOptions, string[], number][] = [
    [{ noon: "k", baseUrl: url }, ["one", "two", "three"], 2],
    [{ noon: "k", baseUrl: url }, ["one", "one"], 1],
    [{ noah: "k", baseUrl: url }, [], 1],
    [{ noba: "k", baseUrl: url }, [], 1],
  ];
  for (const [options, sessions, sent] of cases) {
    const response = await signedFetch(fakeSigner(url, [...sessions]), options)("/a");
    assert.equal(response.status, 401);
    assert.equal(await response.text(), "no");
    assert.equal(arrived.splice(0).length, sent);
    const rejected = instanceFor(fakeSigner(url, [...sessions]), options).get("/a");
    await assert.rejects(rejected, (error) => error instanceof AxiosError && error.response?.status === 401 && error.response.data === "no");
    assert.equal(arrived.splice(0).length, sent);
  }
});

test("signerd's error is told when it has no new session", async () => {
  const { url } = await serve((_, response) => response.writeHead(401).end("no"));
  const options = { noon: "k", baseUrl: url };
  await assert.rejects(signedFetch(fakeSigner(url, ["one"]), options)("/a"), /no session/);
  await assert.rejects(instanceFor(fakeSigner(url, ["one"]), options).get("/a"), /no session/);
});

test("Noon's cookies go to their gateway only", async () => {
  const { url, arrived } = await ok();
  await assert.rejects(signedFetch(fakeSigner("https://gateway.example", ["one"]), { noon: "k", baseUrl: url })("/a"), SigningError);
  assert.equal(arrived.length, 0);
});

test("Noba's warnings are told", async () => {
  const { url } = await ok();
  const told: string[] = [];
  await signedFetch(fakeSigner(url), { noba: "k", baseUrl: url, warn: (text) => told.push(text) })("/a", { method: "POST", body: "{ }" });
  assert.deepEqual(told, ["white space"]);
});

test("answers and errors of axios do not hold the signature", async () => {
  const { url } = await serve(({ target }, response) => {
    return target === "/cut" ? response.destroy() : response.writeHead(target === "/ok" ? 200 : 500).end();
  });
  const instance = instanceFor(fakeSigner(url), { noah: "k", baseUrl: url });
  const shown = [await instance.get("/ok")].map((answer) => inspect(answer, { depth: 12, showHidden: true }));
  for (const path of ["/bad", "/cut"]) {
    await instance.get(path).then(() => assert.fail(), (error) => shown.push(inspect(error, { depth: 12, showHidden: true }), JSON.stringify(error)));
  }
  assert.equal(shown.length, 5);
  for (const text of shown) {
    assert.doesNotMatch(text, /token-\d/);
  }
});
