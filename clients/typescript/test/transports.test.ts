// The retry policy and the deadline, against a server that fails as it is told.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, status } from "@grpc/grpc-js";

import { SignerService, SignNoahRequestRequestSchema, SignNoahRequestResponseSchema } from "../gen/signerd/v1/signer_pb.js";
import { transports } from "../src/environment.js";

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), "sd"));
  after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const addressIn = (dir: string): string => `unix://${join(dir, "s.sock")}`;

/** A signerd that answers each call with the next of the codes; undefined never answers. */
async function failing(codes: (number | undefined)[], dir = directory()): Promise<{ address: string; calls: () => number }> {
  const server = new Server();
  let calls = 0;
  server.addService({
    signNoahRequest: {
      path: `/${SignerService.typeName}/SignNoahRequest`, requestStream: false, responseStream: false,
      requestSerialize: (m) => Buffer.from(toBinary(SignNoahRequestRequestSchema, m)), requestDeserialize: (b) => fromBinary(SignNoahRequestRequestSchema, b),
      responseSerialize: (m) => Buffer.from(toBinary(SignNoahRequestResponseSchema, m)), responseDeserialize: (b) => fromBinary(SignNoahRequestResponseSchema, b),
    },
  }, {
    signNoahRequest: (_: unknown, answer: (error: object | null, response?: object) => void) => {
      const code = codes[calls++];
      if (code !== undefined) {
        answer(code === status.OK ? null : { code, details: "told to" }, create(SignNoahRequestResponseSchema, {}));
      }
    },
  });
  const address = addressIn(dir);
  await new Promise<void>((bound, failed) => server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? failed(error) : bound())));
  after(() => server.forceShutdown());
  return { address, calls: () => calls };
}

/** A port that ends every connection, and counts them. */
async function hangingUp(): Promise<{ address: string; calls: () => number }> {
  let calls = 0;
  const server = createServer((socket) => {
    calls++;
    socket.on("error", () => undefined).destroy();
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  after(() => server.close());
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, calls: () => calls };
}

for (const [name, dial] of Object.entries(transports)) {
  test(`${name} goes to signerd directly, whatever proxy the environment names`, async () => {
    const signerd = await hangingUp();
    const proxy = await hangingUp();
    const before = { ...process.env };
    after(() => void (process.env = before));
    Object.assign(process.env, { grpc_proxy: `http://${proxy.address}`, no_grpc_proxy: "nobody.example" });
    const signer = dial(signerd.address, { ca: [] as unknown as string, cert: "", key: "" });
    after(() => signer.close());
    await assert.rejects(signer.signNoahRequest({ key: "k", method: "GET", path: "/" }));
    assert.ok(signerd.calls() > 0);
    assert.equal(proxy.calls(), 0);
  });

  test(`${name} tries again what is UNAVAILABLE, three times in all`, async () => {
    for (const [codes, calls] of [[[14, 0], 2], [[14, 14, 0], 3], [[14, 14, 14, 0], 3]] as const) {
      const server = await failing([...codes]);
      const signer = dial(server.address);
      after(() => signer.close());
      const call = signer.signNoahRequest({ key: "k", method: "GET", path: "/" });
      await (codes.length > 3 ? assert.rejects(call, { code: 14 }) : call);
      assert.equal(server.calls(), calls);
    }
  });

  test(`${name} tries nothing else again`, async () => {
    for (const code of [status.INTERNAL, status.RESOURCE_EXHAUSTED, status.ABORTED, status.PERMISSION_DENIED, status.DEADLINE_EXCEEDED]) {
      const server = await failing([code, 0]);
      const signer = dial(server.address);
      after(() => signer.close());
      await assert.rejects(signer.signNoahRequest({ key: "k", method: "GET", path: "/" }), { code });
      assert.equal(server.calls(), 1);
    }
  });

  test(`${name} ends a call at its deadline, and when its caller gives up`, async () => {
    const server = await failing([]);
    const signer = dial(server.address);
    after(() => signer.close());
    const request = { key: "k", method: "GET", path: "/" };
    await assert.rejects(signer.signNoahRequest(request, { timeoutMs: 50 }), { code: status.DEADLINE_EXCEEDED });
    await assert.rejects(signer.signNoahRequest(request, { signal: AbortSignal.timeout(50) }), /cancel|abort|timeout/i);
    await assert.rejects(signer.signNoahRequest(request, { signal: AbortSignal.abort() }), /cancel|abort/i);
  });

  test(`${name} calls a signerd UNAVAILABLE that is not there, and finds it once it is`, async () => {
    const dir = directory();
    const signer = dial(addressIn(dir));
    after(() => signer.close());
    const call = () => signer.signNoahRequest({ key: "k", method: "GET", path: "/" });
    await assert.rejects(call(), { code: status.UNAVAILABLE });
    await failing([status.OK], dir);
    for (let found = false; !found; ) { // it connects again when its backoff has passed
      found = await call().then(() => true, (error: { code: number }) => {
        assert.equal(error.code, status.UNAVAILABLE);
        return false;
      });
    }
  });

  test(`${name} wants certificates for host and port`, () => {
    assert.throws(() => dial("127.0.0.1:1"), /certificates/);
  });
}
