'use strict';

// Verifies login tokens with jsonwebtoken, as a gateway on Node would.
// A line: {"token", "publicPem", "clockTimestamp": seconds}.
// Its answer: {"ok": true, "header", "payload": the decoded text as it was signed} or {"ok": false, "error"}.
const jwt = require('jsonwebtoken');
const lines = require('./lines');

lines((line) => {
  const { token, publicPem, clockTimestamp } = JSON.parse(line);
  if (!Number.isInteger(clockTimestamp) || clockTimestamp <= 0) throw new TypeError('clockTimestamp');
  try {
    const { header } = jwt.verify(token, publicPem, { algorithms: ['RS256'], clockTimestamp, maxAge: 300, complete: true });
    const bytes = Buffer.from(token.split('.')[1], 'base64url');
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return JSON.stringify({ ok: true, header, payload: text });
  } catch (error) {
    return JSON.stringify({ ok: false, error: error.message });
  }
});
