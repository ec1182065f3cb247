// A receiver of shared signals in Node: jose checks each event token (RFC 8417, RFC 8935). Nothing here
// knows Jeton. It says where it listens; a line on its input says whose configuration to believe, and
// until then it takes nothing. Each token that it took is a line of its output.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [audience, bearer] = process.argv.slice(2);
const require = createRequire(new URL('../../.tools/node/package.json', import.meta.url));
const jose = await import(pathToFileURL(require.resolve('jose')).href);

let transmitter = null;
createInterface({ input: process.stdin }).on('line', async (url) => {
  const about = await (await fetch(url)).json();
  const keys = jose.createRemoteJWKSet(new URL(new URL(about.jwks_uri).pathname, url));
  transmitter = { issuer: about.issuer, keys };
});

const server = createServer((request, response) => {
  const refuse = (status, err) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ err, description: err }));
  };
  let token = '';
  request.on('data', (chunk) => (token += chunk));
  request.on('end', async () => {
    if (!transmitter) return refuse(503, 'not_yet');
    if (request.headers.authorization !== `Bearer ${bearer}`) {
      return refuse(400, 'authentication_failed');
    }
    if (request.headers['content-type'] !== 'application/secevent+jwt') {
      return refuse(400, 'invalid_request');
    }
    try {
      const { issuer, keys } = transmitter;
      const expected = { issuer, audience, typ: 'secevent+jwt', requiredClaims: ['jti', 'iat', 'sub_id'] };
      const { payload } = await jose.jwtVerify(token, keys, expected);
      process.stdout.write(`${JSON.stringify(payload)}\n`);
      response.writeHead(202).end();
    } catch (error) {
      process.stderr.write(`${error}\n`);
      refuse(400, 'invalid_key');
    }
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
