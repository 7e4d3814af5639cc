// Signs what axios sends; see signerd.ts, whose rules are the same.
import axios, { AxiosError, getAdapter } from "axios";
import type { AxiosAdapter, AxiosResponse, InternalAxiosRequestConfig } from "axios";

import { SigningError, isStream, sendSigned, wireURL } from "./signerd.js";
import type { Signer, SigningOptions } from "./signerd.js";

/**
 * A request interceptor that signs each request for one partner:
 *
 *     instance.interceptors.request.use(signedAxios(signer, { noah: "payments", baseUrl }));
 *
 * axios serialises data after all interceptors, and so the interceptor puts itself around the adapter, which is handed
 * the bytes; it does not matter when it is added. Redirects are not followed. Neither answers nor errors hold the
 * signed headers, as programs log them.
 */
export function signedAxios(signer: Signer, options: SigningOptions): (config: InternalAxiosRequestConfig) => InternalAxiosRequestConfig {
  return (config) => {
    const inner = getAdapter(config.adapter, config);
    // axios would send the whole buffer that a view is a part of.
    const data = ArrayBuffer.isView(config.data) ? bytes(config.data) : config.data;
    return { ...config, data, adapter: signing(inner, signer, options) };
  };
}

function signing(inner: AxiosAdapter, signer: Signer, options: SigningOptions): AxiosAdapter {
  return async (given) => {
    const config = { ...given, adapter: inner }; // what callers get back: who sends it again has it signed anew, not twice
    const url = wireURL(axios.getUri(config), options.baseUrl);
    const method = (config.method ?? "get").toUpperCase();
    const body = Buffer.from(bytes(config.data)); // a copy: the caller may write into its own while signerd is asked
    const request = { method, url, body, signal: config.signal as AbortSignal | undefined };
    const response = await sendSigned(signer, options, request, async (signed) => {
      const headers = config.headers.concat(signed);
      headers.delete(["Host", "Content-Length", "Transfer-Encoding"]); // axios would keep the caller's: another host, or another end of the body
      const outgoing: InternalAxiosRequestConfig = {
        ...config, method, headers, url: url.href, baseURL: undefined, params: undefined,
        data: body.length > 0 ? body : undefined, maxRedirects: 0, validateStatus: null,
      };
      try {
        return await inner(outgoing);
      } catch (error) {
        throw withoutHeaders(error, config);
      }
    }, discard);
    Object.assign(response, { config, request: undefined });
    if (config.validateStatus && !config.validateStatus(response.status)) {
      const code = response.status < 500 ? AxiosError.ERR_BAD_REQUEST : AxiosError.ERR_BAD_RESPONSE;
      throw new AxiosError(`Request failed with status code ${response.status}`, code, config, undefined, response);
    }
    return response;
  };
}

function withoutHeaders(error: unknown, config: InternalAxiosRequestConfig): unknown {
  if (error instanceof AxiosError) {
    error.config = config;
    error.request = undefined;
  }
  return error;
}

function discard(response: AxiosResponse): void {
  if (isStream(response.data)) {
    response.data.destroy?.();
  }
}

/** The bytes that axios would send for data that it has transformed. */
function bytes(data: unknown): Buffer {
  if (data === undefined || data === null) {
    return Buffer.alloc(0);
  }
  if (typeof data === "string") {
    return Buffer.from(data, "utf8");
  }
  if (data instanceof ArrayBuffer) {
    return Buffer.from(data);
  }
  if (ArrayBuffer.isView(data)) {
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }
  throw new SigningError("this body is not signed: make it a string or bytes first (FormData, Blob and streams come without known bytes)");
}
