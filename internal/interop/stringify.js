'use strict';

// Writes JSON texts as JavaScript does. A line: a JSON text in base64.
// Its answer: JSON.stringify(JSON.parse(text)) in base64.
const lines = require('./lines');

lines((line) => {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(line, 'base64'));
  return Buffer.from(JSON.stringify(JSON.parse(text)), 'utf8').toString('base64');
});
