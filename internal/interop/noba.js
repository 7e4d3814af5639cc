'use strict';

// Computes signatures with the function of the partner's page, taken from there as it is.
// A line: {"timestamp", "apiKey", "secret", "method", "path", "body": base64 or null}.
// Its answer: the signature as a JSON string.
const cryptoJS = require('crypto-js');
const lines = require('./lines');

lines((line) => {
  const request = JSON.parse(line);
  // Bytes that are not UTF-8 would become replacement characters; they are an error instead.
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const text = request.body ? decoder.decode(Buffer.from(request.body, 'base64')) : '';
  const body = text ? text : '{}';
  const { apiKey, secret, method, path, timestamp } = request;
  return JSON.stringify(createHeaderSignature(apiKey, secret, method, path, timestamp, body));
});

function createHeaderSignature(apiKey, secretKey, requestMethod, path, timestamp, body) {
    const signatureString = cryptoJS.enc.Utf8.parse(`${timestamp}${apiKey}${requestMethod}${path}${body}`);
    return cryptoJS.enc.Hex.stringify(cryptoJS.HmacSHA256(signatureString, secretKey));
}
