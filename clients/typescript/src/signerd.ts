// Signs what fetch sends: the exact bytes and the target as they go on the wire. axios.ts does the same for axios.
import type { MessageInitShape } from "@bufbuild/protobuf";

import type {
  ComputeNobaSignatureRequestSchema,
  ComputeNobaSignatureResponse,
  GetNoonSessionRequestSchema,
  GetNoonSessionResponse,
  SignNoahRequestRequestSchema,
  SignNoahRequestResponse,
} from "../gen/signerd/v1/signer_pb.js";

/** Options of one call to signerd. The transports' dial sets a deadline where timeoutMs is not given. */
export interface CallOptions {
  signal?: AbortSignal;
  timeoutMs?: number;
}

/** What calls signerd: what dial of grpc-js.ts gives, or of connect.ts, or any Connect client of SignerService. */
export interface Signer {
  signNoahRequest(request: MessageInitShape<typeof SignNoahRequestRequestSchema>, options?: CallOptions): Promise<SignNoahRequestResponse>;
  computeNobaSignature(
    request: MessageInitShape<typeof ComputeNobaSignatureRequestSchema>,
    options?: CallOptions,
  ): Promise<ComputeNobaSignatureResponse>;
  getNoonSession(request: MessageInitShape<typeof GetNoonSessionRequestSchema>, options?: CallOptions): Promise<GetNoonSessionResponse>;
}

/** The key's name, under the partner whose account it is. */
export type PartnerKey = { noah: string } | { noba: string } | { noon: string };

export type SigningOptions = PartnerKey & {
  /** The partner's scheme, host and port; requests to others are refused. Plain http is for loopback alone. Relative URLs are resolved against it. */
  baseUrl: string | URL;
  /** Told why Noba may refuse a body although its signature is right. Default: nobody is. */
  warn?: (text: string) => void;
};

/** A request as it goes out. */
export interface Outgoing {
  method: string;
  url: URL;
  body: Uint8Array;
  signal?: AbortSignal;
}

/** An input that cannot be signed as it is. Its text holds no header and no body. */
export class SigningError extends Error {
  override readonly name = "SigningError";
}

// As WHATWG writes these hosts: an address has four numbers, whatever it was given as.
const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * The URL that goes on the wire, as WHATWG serialises it: absolute, without fragment or a bare "?". Throws SigningError for another host,
 * and for a base URL that is not https, except on loopback.
 */
export function wireURL(url: string | URL, baseUrl: string | URL): URL {
  const base = new URL(baseUrl);
  if (base.protocol !== "https:" && !loopback.test(base.hostname)) {
    throw new SigningError(`the base URL has to be https, as ${base.host} is not loopback: anybody on the way could read API keys and sessions`);
  }
  const to = new URL(url, base);
  if (to.origin !== base.origin) {
    throw new SigningError(`${to.origin} is not ${base.origin}, for which requests are signed`);
  }
  if (to.username !== "" || to.password !== "") {
    throw new SigningError("the URL has a user name or password");
  }
  to.hash = "";
  if (to.search === "") {
    to.search = ""; // takes a bare "?" away, which some versions of fetch send and others do not
  }
  return to;
}

interface Signed {
  headers: Record<string, string>;
  sessionId?: string; // Noon's alone
}

async function sign(signer: Signer, options: SigningOptions, request: Outgoing, rejectedSessionId = ""): Promise<Signed> {
  const { method, body } = request;
  const path = request.url.pathname + request.url.search;
  const call: CallOptions = { signal: request.signal };
  if ("noah" in options) {
    return signer.signNoahRequest({ key: options.noah, method, path, content: { case: "body", value: body } }, call);
  }
  if ("noba" in options) {
    const signed = await signer.computeNobaSignature({ key: options.noba, method, path, body }, call);
    signed.warnings.forEach((text) => options.warn?.(text));
    return signed;
  }
  const session = await signer.getNoonSession({ key: options.noon, rejectedSessionId }, call);
  if (new URL(session.baseUrl).origin !== new URL(options.baseUrl).origin) {
    throw new SigningError(`the session is for ${session.baseUrl}, and may go nowhere else`);
  }
  return session;
}

/**
 * Signs and sends. Only what Noon answers with 401 is sent again: once, with the session that signerd gives for the
 * rejected one; if that is the same session, it was not what Noon refused, and the first answer stays.
 */
export async function sendSigned<R extends { status: number }>(
  signer: Signer,
  options: SigningOptions,
  request: Outgoing,
  send: (headers: Record<string, string>) => Promise<R>,
  discard: (response: R) => unknown,
): Promise<R> {
  const signed = await sign(signer, options, request);
  const response = await send(signed.headers);
  if (!("noon" in options) || response.status !== 401) {
    return response;
  }
  let again: Signed;
  try {
    again = await sign(signer, options, request, signed.sessionId);
  } catch (error) {
    await discard(response);
    throw error;
  }
  if (again.sessionId === signed.sessionId) {
    return response;
  }
  await discard(response);
  return send(again.headers);
}

/**
 * A fetch that signs each request for one partner. Bodies are read before they are signed; streams are refused, for
 * they cannot be sent twice. Redirects are not followed: the answer is the redirect ("error" still makes it an error).
 * Throws SigningError for what it does not sign, and the transport's error where signerd refuses.
 */
export function signedFetch(signer: Signer, options: SigningOptions): typeof fetch {
  return async (input, init) => {
    if (!(typeof input === "string" || input instanceof URL || input instanceof Request)) {
      throw new SigningError("the input is neither a string, a URL nor a Request of this Node");
    }
    if (isStream(init?.body)) {
      throw new SigningError("a stream cannot be signed, as it cannot be sent again: read it into bytes first");
    }
    const url = wireURL(input instanceof Request ? input.url : input, options.baseUrl);
    // Request does what fetch would: it serialises the body, and sets Content-Type where it follows from the body.
    const request = new Request(input instanceof Request ? input : url, init);
    const body = new Uint8Array(await request.arrayBuffer());
    const method = request.method.toUpperCase(); // it is signed so
    const { signal } = request;
    return sendSigned(signer, options, { method, url, body, signal }, async (signed) => {
      const headers = new Headers(request.headers);
      headers.delete("Host"); // the URL's goes out
      Object.entries(signed).forEach(([name, value]) => headers.set(name, value));
      const redirect = request.redirect === "error" ? "error" : "manual";
      return fetch(url, { ...init, method, headers, body: body.length > 0 ? body : null, redirect, signal });
    }, (response) => response.body?.cancel());
  };
}

/** Whether a body comes in pieces of which nobody keeps a copy. */
export function isStream(body: unknown): boolean {
  return typeof body === "object" && body !== null && (body instanceof ReadableStream || Symbol.asyncIterator in body || "pipe" in body);
}
