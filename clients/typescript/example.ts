// Sends one request to each partner, signed by signerd, and prints `PARTNER STATUS BODY` for each. Ends with 1 unless all
// were answered with 200. TRANSPORT is grpc-js (the default), connect, or both with a comma between.
import { dialFromEnvironment, partnerFromEnvironment } from "./src/environment.js";
import { signedFetch } from "./src/signerd.js";
import type { Signer } from "./src/signerd.js";

const json = { "Content-Type": "application/json" };
const requests: Record<string, [path: string, init?: RequestInit]> = {
  noah: ["/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait&PageSize=20", {
    method: "POST", headers: json, body: JSON.stringify({ CustomerID: "c-1", FiatAmount: "10.50", Name: "Zoë" }),
  }],
  noba: ["/v1/transactions?dry=1", { method: "POST", headers: json, body: JSON.stringify({ amount: "100", note: "Zoë" }) }],
  noon: ["/identity/v1/whoami"],
};

/** Sends the request of one partner and tells whether it was answered with 200. */
async function send(signer: Signer, partner: string): Promise<boolean> {
  const request = requests[partner];
  if (request === undefined) {
    throw new Error(`${partner} is no partner`);
  }
  const response = await signedFetch(signer, partnerFromEnvironment(partner))(...request);
  console.log(partner, response.status, (await response.text()).trim());
  return response.status === 200;
}

process.exitCode = 0;
for (const transport of (process.env.TRANSPORT || "grpc-js").split(",")) {
  const signer = dialFromEnvironment(transport);
  for (const partner of (process.env.PARTNERS || "noah,noba,noon").split(",")) {
    const ok = await send(signer, partner).catch((error: Error) => {
      console.error(`${partner} over ${transport}: ${error.message}`); // the message alone: no headers, no body
      return false;
    });
    process.exitCode ||= ok ? 0 : 1;
  }
  signer.close();
}
