'use strict';

// Verifies tokens with jsonwebtoken, the library of the partner's own example.
// A line: {"token", "publicPem", "algorithms": [...], "clockTimestamp": seconds}.
// Its answer: {"ok": true, "header", "payload": the decoded text as it was signed, "parsed": its value}
// or {"ok": false, "error"}.
const jwt = require('jsonwebtoken');
const lines = require('./lines');

lines((line) => {
  const { token, publicPem, algorithms, clockTimestamp } = JSON.parse(line);
  // jsonwebtoken would fall back to its own defaults in silence.
  if (!Array.isArray(algorithms) || algorithms.length === 0) throw new TypeError('algorithms');
  if (!Number.isInteger(clockTimestamp) || clockTimestamp <= 0) throw new TypeError('clockTimestamp');
  try {
    const { header, payload } = jwt.verify(token, publicPem, {
      algorithms,
      audience: 'https://api.noah.com',
      clockTimestamp,
      complete: true,
    });
    const bytes = Buffer.from(token.split('.')[1], 'base64url');
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return JSON.stringify({ ok: true, header, payload: text, parsed: payload });
  } catch (error) {
    return JSON.stringify({ ok: false, error: error.message });
  }
});
