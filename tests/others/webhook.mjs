// Takes webhooks in Node: the Standard Webhooks library checks each one. Nothing here knows Jeton. It says
// where it listens; each message that it took is a line of its output. A word on its input says how
// many it refuses first.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [key] = process.argv.slice(2);
const require = createRequire(new URL('../../.tools/node/package.json', import.meta.url));
const library = await import(pathToFileURL(require.resolve('standardwebhooks')).href);
const Webhook = library.Webhook ?? library.default.Webhook;
const webhook = new Webhook(key);

let refuse = 0;
createInterface({ input: process.stdin }).on('line', (line) => (refuse = Number(line)));

const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => {
    if (refuse > 0) {
      refuse -= 1;
      return response.writeHead(503).end('later');
    }
    if (request.url === '/chat') {
      process.stdout.write(`${JSON.stringify({ chat: JSON.parse(body) })}\n`);
      return response.writeHead(200).end('ok');
    }
    try {
      const message = webhook.verify(body, request.headers);
      process.stdout.write(`${JSON.stringify({ header: request.headers['webhook-id'], ...message })}\n`);
      response.writeHead(204).end();
    } catch (error) {
      process.stderr.write(`${error}\n`);
      response.writeHead(401).end();
    }
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
