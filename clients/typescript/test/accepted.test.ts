// Against signerd and the local partners: what is sent as signed is accepted, and what is changed on the way is not.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";

import axios from "axios";

import { signedAxios } from "../src/axios.js";
import { dialFromEnvironment, partnerFromEnvironment, transports, variable } from "../src/environment.js";
import { signedFetch } from "../src/signerd.js";
import type { Signer, SigningOptions } from "../src/signerd.js";
import { serve } from "./partner.js";

type Send = (path: string, method: string, body?: Uint8Array) => Promise<{ status: number; text: string }>;

const ways: Record<string, (signer: Signer, options: SigningOptions) => Send> = {
  fetch: (signer, options) => async (path, method, body) => {
    const response = await signedFetch(signer, options)(path, { method, body: body ?? null, headers: { "Content-Type": "application/json" } });
    return { status: response.status, text: await response.text() };
  },
  axios: (signer, options) => async (path, method, body) => {
    const instance = axios.create({ baseURL: String(options.baseUrl), responseType: "text", validateStatus: null });
    instance.interceptors.request.use(signedAxios(signer, options));
    const response = await instance.request<string>({ url: path, method, data: body, headers: { "Content-Type": "application/json" } });
    return { status: response.status, text: response.data };
  },
};

const targets = [
  "/", "/v1/transactions", "/v1//two", "/v1/trailing/", "/v1/a%2Fb%20c/caf%C3%A9", "/v1/~a;b=c,d:e@f!$&'()*+", "/v1/lower%c3%a9",
  "/v1/a?SortDirection=ASC&PageSize=20", "/v1/a?b=2&a=1&b=1", "/v1/a?plus=a+b&space=a%20b&percent=%2B", "/v1/a?flag", "/v1/a?empty=",
  "/v1/a?q=caf%C3%A9&q2=caf%c3%a9", "/v1/a?slash=/?&at=@:;,!$()*", "/v1/a?", "/v1/a?nested=a=b=c", "/v1/a#fragment",
  "/v1/a?[]=1", "/v1/café?name=Zoë", "/v1/a?quote='",
];

for (const transport of Object.keys(transports)) {
  describe(`over ${transport}`, () => {
    const signer = dialFromEnvironment(transport);
    after(() => signer.close());

    for (const [way, sender] of Object.entries(ways)) {
      for (const partner of ["noah", "noba"]) {
        const send = sender(signer, partnerFromEnvironment(partner));

        test(`${partner} accepts paths and queries of every kind by ${way}`, async () => {
          for (const target of targets) {
            for (const method of ["GET", "DELETE"]) {
              const { status, text } = await send(target, method);
              assert.equal(status, 200, `${method} ${target}: ${text}`);
            }
          }
        });

        test(`${partner} accepts bodies from 0 bytes to 1 MiB by ${way}`, async () => {
          for (const size of [0, 2, 1023, 1 << 16, 1 << 20]) {
            const body = Buffer.from(size === 0 ? "" : size === 2 ? "{}" : JSON.stringify({ note: "ë".repeat((size - 12) >> 1) }));
            for (const method of ["POST", "PUT", "PATCH", "patch"]) {
              const { status, text } = await send("/v1/things?dry=1", method, body);
              assert.equal(status, 200, `${method} of ${body.length} bytes: ${text}`);
            }
          }
        });

        test(`${partner} refuses a body of which a byte was changed after ${way} sent it`, async () => {
          const real = variable(`${partner.toUpperCase()}_URL`);
          const proxy = await serve(async ({ method, target, headers, body }, response) => {
            body[body.indexOf("1")] = "2".charCodeAt(0);
            const { host: _, "content-length": __, connection: ___, ...rest } = headers;
            const answer = await fetch(real + target, { method, headers: rest as Record<string, string>, body: new Uint8Array(body) });
            response.writeHead(answer.status).end(await answer.text());
          });
          const options = { ...partnerFromEnvironment(partner), baseUrl: proxy.url };
          const { status, text } = await sender(signer, options)("/v1/things", "POST", Buffer.from('{"amount":"100"}'));
          assert.equal(status, 401, text);
          assert.match(text, partner === "noah" ? /body/ : /signature/);
        });
      }

      test(`Noon accepts its session by ${way}`, async () => {
        const { status, text } = await sender(signer, partnerFromEnvironment("noon"))("/identity/v1/whoami", "GET");
        assert.equal(status, 200, text);
      });
    }

    test("signerd's refusal is told before anything is sent", async () => {
      const { url, arrived } = await serve((_, response) => response.end());
      await assert.rejects(signedFetch(signer, { noah: "no-such-key", baseUrl: url })("/v1/a"), /no such key/);
      await assert.rejects(signedFetch(signer, { noah: variable("NOAH_KEY"), baseUrl: url })("/v1/a|b"), /path/);
      assert.equal(arrived.length, 0);
    });
  });
}
