'use strict';

// Checks that a record is in an audit log, with nothing but what an outsider has: RFC 6962's hashes, and a checkpoint as C2SP's
// tlog-checkpoint and signed-note have it.
// A line: {"line", "index", "size", "proof": [base64], "checkpoint": a signed note, "key": the log's verifier key}.
// Its answer: {"ok"}, with "error" when it is false.
const crypto = require('node:crypto');
const lines = require('./lines');

class Refused extends Error {}

lines((line) => {
  try {
    check(JSON.parse(line));
    return JSON.stringify({ ok: true });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return JSON.stringify({ ok: false, error: error.message });
  }
});

function check({ line, index, size, proof, checkpoint, key }) {
  const tree = openCheckpoint(checkpoint, openKey(key));
  if (tree.size !== BigInt(size)) throw new Refused('the checkpoint is of another size');
  const leaf = hash(0, Buffer.from(line, 'utf8'));
  const root = rootFrom(leaf, BigInt(index), tree.size, proof.map((text) => decode(text, 32)));
  if (!root.equals(tree.root)) throw new Refused('the proof leads to another root');
}

function hash(prefix, ...parts) {
  return crypto.createHash('sha256').update(Buffer.concat([Buffer.from([prefix]), ...parts])).digest();
}

// rootFrom is RFC 9162, 2.1.3.2.
function rootFrom(leaf, index, size, proof) {
  if (index < 0n || index >= size) throw new Refused('the index is not in the tree');
  let node = index;
  let last = size - 1n;
  let root = leaf;
  for (const sibling of proof) {
    if (last === 0n) throw new Refused('the proof is too long');
    if ((node & 1n) === 1n || node === last) {
      root = hash(1, sibling, root);
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      root = hash(1, root, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n) throw new Refused('the proof is too short');
  return root;
}

// openKey reads NAME+HASH+BASE64, where the hash is over the name and the key.
function openKey(text) {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  if (!match) throw new Refused('the key is none');
  const [, name, id, encoded] = match;
  const key = decode(encoded, 33);
  if (key[0] !== 1) throw new Refused('the key is not of Ed25519');
  const sum = crypto.createHash('sha256').update(Buffer.concat([Buffer.from(name + '\n', 'utf8'), key])).digest();
  if (sum.subarray(0, 4).toString('hex') !== id) throw new Refused('the key has another hash');
  return { name, id, key: key.subarray(1) };
}

function openCheckpoint(note, key) {
  const end = note.lastIndexOf('\n\n');
  if (end < 0 || !note.endsWith('\n')) throw new Refused('the checkpoint is no signed note');
  const text = note.slice(0, end + 1);
  const signatures = note.slice(end + 2, -1).split('\n').map((line) => {
    const match = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!match) throw new Refused('a signature is malformed');
    return { name: match[1], bytes: decode(match[2]) };
  });
  const ours = signatures.filter(({ name, bytes }) => name === key.name && bytes.subarray(0, 4).toString('hex') === key.id);
  if (ours.length !== 1) throw new Refused('the checkpoint has no signature of the key');
  if (!verify(key.key, text, ours[0].bytes.subarray(4))) throw new Refused('the signature is not valid');
  const [origin, size, root] = text.split('\n');
  if (origin !== key.name) throw new Refused('the checkpoint is of another log');
  if (!/^(0|[1-9][0-9]*)$/.test(size)) throw new Refused('the size is none');
  return { size: BigInt(size), root: decode(root, 32) };
}

function verify(key, text, signature) {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') };
  return crypto.verify(null, Buffer.from(text, 'utf8'), crypto.createPublicKey({ key: jwk, format: 'jwk' }), signature);
}

// decode takes base64 in its one spelling only.
function decode(text, length) {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text || (length !== undefined && bytes.length !== length)) throw new Refused('malformed base64');
  return bytes;
}
