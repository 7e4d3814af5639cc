'use strict';

// Reads a JSON array of paths and writes, for each, where programs in JavaScript take it: `paths`, by reader and
// decoded, and `routes`, by router and route and with the parameter decoded. What a reader refuses is left out.
const { posix } = require('path');
const legacyURL = require('url');

const origin = 'https://example.org';
const decode = decodeURIComponent;
const whatwg = (path) => new URL(origin + path).pathname;

const readers = {
  'decodeURIComponent': decode,
  'decodeURIComponent in each segment': (path) => path.split('/').map(decode).join('/'),
  'decodeURIComponent twice': (path) => decode(decode(path)),
  'WHATWG URL': (path) => decode(whatwg(path)),
  'WHATWG URL, relative': (path) => decode(new URL(path, origin + '/x/y/').pathname),
  'WHATWG URL, once decoded': (path) => decode(whatwg(decode(path))),
  'WHATWG URL, twice': (path) => decode(whatwg(whatwg(path))),
  'url.parse': (path) => decode(legacyURL.parse(origin + path).pathname),
  'url.resolve': (path) => decode(legacyURL.parse(legacyURL.resolve(origin + '/x/y/', path)).pathname),
  'path.normalize': (path) => decode(posix.normalize(path)),
  'path.normalize, once decoded': (path) => posix.normalize(decode(path)),
  'path.resolve, once decoded': (path) => {
    const slash = path.endsWith('/') && path !== '/' ? '/' : ''; // which it drops, by design
    return posix.resolve('/x/y', decode(path)) + slash;
  },
};

// The regular expressions that Express makes of routes: its router matches the path as it was sent, without the query,
// ignoring case and a slash at the end by default, and decodes parameters with decodeURIComponent.
const escape = (text) => text.replace(/[.+*?^${}()[\]|/\\]/g, '\\$&');
const compile = {
  // path-to-regexp 0.1
  'Express 4': (route) => '^' + escape(route.replace(/\/$/, '')).replace(/:one/, '([^\\/]+?)').replace(/\\\*rest/, '(.*)') + '\\/?$',
  // path-to-regexp 8
  'Express 5': (route) => '^(?:' + escape(route).replace(/:one/, '([^\\/]+)').replace(/\\\*rest/, '([^]+)') + ')(?:\\/$)?$',
};
const routers = {};
for (const [router, source] of Object.entries(compile)) {
  for (const route of ['/', '/a', '/b', '/:one', '/a/:one', '/a/*rest', '/b/*rest', '/v1/checkout/sell']) {
    const expression = new RegExp(source(route), 'i');
    routers[`${router} ${route}`] = (path) => {
      const match = expression.exec(path.split('?')[0]);
      return match && decode(match[1] || '');
    };
  }
}

function ask(functions, path) {
  const answers = {};
  for (const [name, read] of Object.entries(functions)) {
    try {
      const answer = read(path);
      if (answer !== null) answers[name] = answer;
    } catch {
      // refused
    }
  }
  return answers;
}

process.removeAllListeners('warning'); // url.parse is deprecated, and still read with
const paths = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(paths.map((path) => ({ paths: ask(readers, path), routes: ask(routers, path) }))));
