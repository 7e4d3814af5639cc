import { readFileSync } from "node:fs";

import type { TLS } from "./address.js";
import { dial as dialConnect } from "./connect.js";
import { dial as dialGrpcJs } from "./grpc-js.js";
import type { Signer, SigningOptions } from "./signerd.js";

/** The two ways to reach signerd, by their names in TRANSPORT. */
export const transports: Record<string, typeof dialGrpcJs> = { "grpc-js": dialGrpcJs, connect: dialConnect };

/** Connects to SIGNERD_ADDRESS; for host:port with the files that SIGNERD_TLS_CA, SIGNERD_TLS_CERT and SIGNERD_TLS_KEY name. */
export function dialFromEnvironment(transport: string): Signer & { close(): void } {
  const dial = transports[transport];
  if (dial === undefined) {
    throw new Error(`TRANSPORT is ${transport}; it can be ${Object.keys(transports).join(" or ")}`);
  }
  const address = variable("SIGNERD_ADDRESS");
  const tls: TLS | undefined = address.startsWith("unix:") ? undefined : {
    ca: readFileSync(variable("SIGNERD_TLS_CA")),
    cert: readFileSync(variable("SIGNERD_TLS_CERT")),
    key: readFileSync(variable("SIGNERD_TLS_KEY")),
  };
  return dial(address, tls);
}

/** The key and base URL of a partner: NOAH_KEY and NOAH_URL, and so on. */
export function partnerFromEnvironment(partner: string): SigningOptions {
  const key = variable(`${partner.toUpperCase()}_KEY`);
  const baseUrl = variable(`${partner.toUpperCase()}_URL`);
  switch (partner) {
    case "noah":
      return { noah: key, baseUrl };
    case "noba":
      return { noba: key, baseUrl };
    case "noon":
      return { noon: key, baseUrl };
    default:
      throw new Error(`${partner} is no partner`);
  }
}

/** The value of an environment variable that must be set. */
export function variable(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

