// What the tests send to: servers on loopback that answer as they are told, and a signer that needs no signerd.
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";

import { create } from "@bufbuild/protobuf";

import {
  ComputeNobaSignatureResponseSchema,
  GetNoonSessionResponseSchema,
  SignNoahRequestResponseSchema,
} from "../gen/signerd/v1/signer_pb.js";
import type { Signer } from "../src/signerd.js";

/** A request as it arrived. */
export interface Arrived {
  method: string;
  target: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

/** Starts a server and gives its base URL and what arrives there; it ends with the tests. */
export async function serve(answer: (request: Arrived, response: ServerResponse) => unknown): Promise<{ url: string; arrived: Arrived[] }> {
  const arrived: Arrived[] = [];
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) {
      pieces.push(piece as Buffer);
    }
    const all = { method: request.method!, target: request.url!, headers: request.headers, body: Buffer.concat(pieces) };
    arrived.push(all);
    await answer(all, response);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  after(() => server.close().closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, arrived };
}

export interface Asked {
  method?: string;
  path?: string;
  body?: Buffer;
  rejectedSessionId?: string;
}

/** A signer that writes down what it is asked, and whose sessions are the given ones, one after another. */
export function fakeSigner(baseUrl: string, sessions: string[] = []): Signer & { asked: Asked[] } {
  const asked: Asked[] = [];
  return {
    asked,
    async signNoahRequest({ method, path, content }) {
      asked.push({ method, path, body: Buffer.from(content?.case === "body" ? content.value : []) });
      return create(SignNoahRequestResponseSchema, { headers: { "X-Api-Key": "key", "Api-Signature": `token-${asked.length}` } });
    },
    async computeNobaSignature({ method, path, body }) {
      asked.push({ method, path, body: Buffer.from(body ?? []) });
      return create(ComputeNobaSignatureResponseSchema, { headers: { "X-Noba-Signature": "mac" }, warnings: ["white space"] });
    },
    async getNoonSession({ rejectedSessionId }) {
      asked.push({ rejectedSessionId });
      const sessionId = sessions.shift();
      if (sessionId === undefined) {
        throw new Error("signerd has no session");
      }
      return create(GetNoonSessionResponseSchema, { headers: { Cookie: `s=${sessionId}`, "User-Agent": "Example/1.0" }, sessionId, baseUrl });
    },
  };
}
