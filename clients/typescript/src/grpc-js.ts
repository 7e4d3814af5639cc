// signerd through @grpc/grpc-js, with the messages that protoc-gen-es generates.
import { createSecureContext } from "node:tls";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client, Metadata, credentials } from "@grpc/grpc-js";

import { SignerService } from "../gen/signerd/v1/signer_pb.js";
import { policy, socketPath } from "./address.js";
import type { TLS } from "./address.js";
import type { CallOptions, Signer } from "./signerd.js";

/**
 * A connection to signerd at `unix:///path` or, with tls, at `host:port`; it is made by the first call and made anew
 * when lost. Safe for any number of calls at once. close ends it, and lets the program end.
 */
export function dial(address: string, tls?: TLS): Signer & { close(): void } {
  const path = socketPath(address);
  if (path === undefined && tls === undefined) {
    throw new Error(`${address} needs certificates: only Unix sockets go without`);
  }
  const channel = path !== undefined
    ? credentials.createInsecure()
    : credentials.createFromSecureContext(createSecureContext({ ...tls, minVersion: "TLSv1.3" }));
  const client = new Client(path !== undefined ? `unix://${path}` : address, channel, {
    "grpc.enable_http_proxy": 0, // those of the environment are for partners
    "grpc.keepalive_time_ms": policy.pingIntervalMs,
    "grpc.keepalive_timeout_ms": policy.pingTimeoutMs,
    "grpc.initial_reconnect_backoff_ms": policy.firstBackoffMs,
    "grpc.max_reconnect_backoff_ms": policy.maxBackoffMs,
    "grpc.service_config": JSON.stringify({
      methodConfig: [{
        name: [{ service: SignerService.typeName }],
        retryPolicy: {
          maxAttempts: policy.attempts,
          initialBackoff: `${policy.firstBackoffMs / 1000}s`,
          maxBackoff: `${policy.maxBackoffMs / 1000}s`,
          backoffMultiplier: 2,
          retryableStatusCodes: ["UNAVAILABLE"],
        },
      }],
    }),
  });
  const { method } = SignerService;
  return {
    signNoahRequest: unary(client, method.signNoahRequest),
    computeNobaSignature: unary(client, method.computeNobaSignature),
    getNoonSession: unary(client, method.getNoonSession),
    close: () => client.close(),
  };
}

/** A method as a function. It rejects with grpc-js's ServiceError. */
export function unary<I extends DescMessage, O extends DescMessage>(client: Client, method: DescMethodUnary<I, O>) {
  const path = `/${method.parent.typeName}/${method.name}`;
  const serialize = (m: MessageShape<I>): Buffer => Buffer.from(toBinary(method.input, m));
  const deserialize = (b: Buffer): MessageShape<O> => fromBinary(method.output, b);
  return (request: MessageInitShape<I>, options: CallOptions = {}): Promise<MessageShape<O>> =>
    new Promise((resolve, reject) => {
      options.signal?.throwIfAborted();
      const cancel = (): void => call.cancel();
      const deadline = Date.now() + (options.timeoutMs ?? policy.timeoutMs);
      const call = client.makeUnaryRequest(path, serialize, deserialize, create(method.input, request), new Metadata(), { deadline }, (error, response) => {
        options.signal?.removeEventListener("abort", cancel);
        return error ? reject(error) : resolve(response!);
      });
      options.signal?.addEventListener("abort", cancel, { once: true });
    });
}
