// signerd through @connectrpc/connect-node's gRPC transport.
import { connect } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { Client, Interceptor } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";

import { SignerService } from "../gen/signerd/v1/signer_pb.js";
import { policy, socketPath } from "./address.js";
import type { TLS } from "./address.js";

/**
 * A connection to signerd at `unix:///path` or, with tls, at `host:port`; it is made by the first call and made anew
 * when lost. Safe for any number of calls at once. close ends it, and lets the program end.
 */
export function dial(address: string, tls?: TLS): Client<typeof SignerService> & { close(): void } {
  const path = socketPath(address);
  if (path === undefined && tls === undefined) {
    throw new Error(`${address} needs certificates: only Unix sockets go without`);
  }
  // The URL of a socket names the authority alone: createConnection says where it really goes.
  const baseUrl = path !== undefined ? "http://localhost" : `https://${address}`;
  const sessionManager = new Http2SessionManager(
    baseUrl,
    { pingIntervalMs: policy.pingIntervalMs, pingTimeoutMs: policy.pingTimeoutMs },
    path !== undefined ? { createConnection: () => connect(path) } : { ...tls, minVersion: "TLSv1.3" },
  );
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: [retryUnavailable], defaultTimeoutMs: policy.timeoutMs });
  return { ...createClient(SignerService, transport), close: () => sessionManager.abort() };
}

/** Connect has no service config: this is the retry policy that grpc-js.ts declares. */
const retryUnavailable: Interceptor = (next) => async (request) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await next(request);
    } catch (failure) {
      const error = asUnavailable(ConnectError.from(failure));
      if (error.code !== Code.Unavailable || request.stream || attempt === policy.attempts) {
        throw error;
      }
      const backoff = Math.min(policy.firstBackoffMs * 2 ** (attempt - 1), policy.maxBackoffMs);
      await wait(backoff * (0.8 + 0.4 * Math.random()), undefined, { signal: request.signal }).catch(() => {
        throw error; // the deadline passed, or the caller gave up
      });
    }
  }
};

/** connect-node calls a socket that is not there INTERNAL; as with a port at which nobody listens, signerd may be starting. */
function asUnavailable(error: ConnectError): ConnectError {
  const { code, syscall } = (error.cause ?? {}) as NodeJS.ErrnoException;
  return code === "ENOENT" && syscall === "connect" ? new ConnectError(error.rawMessage, Code.Unavailable, undefined, undefined, error.cause) : error;
}
