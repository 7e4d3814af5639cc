/** Certificates for mTLS: PEM. */
export interface TLS {
  ca: string | Buffer;
  cert: string | Buffer;
  key: string | Buffer;
}

/** How signerd is called, whatever the transport. */
export const policy = {
  /** The deadline of a call that names none, retries included. */
  timeoutMs: 10_000,
  /** UNAVAILABLE alone is tried again: nothing was signed then. */
  attempts: 3,
  firstBackoffMs: 100,
  maxBackoffMs: 1_000, // also between attempts to connect
  /** signerd ends connections that ping more often than every 30 seconds. */
  pingIntervalMs: 60_000,
  pingTimeoutMs: 20_000,
} as const;

/** The path of `unix:///path` or `unix:path`; undefined for `host:port`. */
export function socketPath(address: string): string | undefined {
  return /^unix:(?:\/\/)?(\/.*)$/.exec(address)?.[1];
}
