// A reviewer in Node: it is asked about requests before people are. The Standard Webhooks library checks each
// question and signs each answer; nothing here knows Jeton. It says where it listens; each question is a
// line of its output. A line of JSON on its input says how it answers from then on, and answers what it
// held back; it is confirmed by a line `{"heard":true}`:
//
//   {"verdict": "approve"}                                    and so on: fields of the answer
//   {"verdict": "approve", "as": "unsigned"}                  a fault to put in, see below

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [key, certificate, privateKey] = process.argv.slice(2);
const require = createRequire(new URL('../../.tools/node/package.json', import.meta.url));
const library = await import(pathToFileURL(require.resolve('standardwebhooks')).href);
const Webhook = library.Webhook ?? library.default.Webhook;
const webhook = new Webhook(key);
const stranger = new Webhook(`whsec_${Buffer.alloc(24, 7).toString('base64')}`);

let how = { verdict: 'escalate', reason: 'nobody told me how' };
let held = [];

const headers = (by, id, at, body) => ({
  'content-type': 'application/json',
  'webhook-id': id,
  'webhook-timestamp': String(Math.floor(at / 1000)),
  'webhook-signature': by.sign(id, new Date(at), body),
});

function answer({ request, raw, asked }, response) {
  const { as, ...fields } = how;
  const said = { request_hash: asked.data.request_hash, reason: 'it is within the plan', ...fields };
  const body = JSON.stringify(as === 'huge' ? { ...said, reason: 'x'.repeat(1_000_000) } : said);
  const id = request.headers['webhook-id'];
  const now = Date.now();
  switch (as) {
    case 'unsigned': return response.writeHead(200, { 'webhook-id': id, 'webhook-timestamp': Math.floor(now / 1000) }).end(body);
    case 'stranger': return response.writeHead(200, headers(stranger, id, now, body)).end(body);
    case 'other id': return response.writeHead(200, headers(webhook, `${id}x`, now, body)).end(body);
    case 'old': return response.writeHead(200, headers(webhook, id, now - 400_000, body)).end(body);
    case 'changed': return response.writeHead(200, headers(webhook, id, now, body)).end(body.replace('plan', 'plot'));
    case 'garbage': return response.writeHead(200, headers(webhook, id, now, '<html>')).end('<html>');
    case 'broken': return response.writeHead(500, headers(webhook, id, now, body)).end(body);
    case 'redirect': return response.writeHead(307, { location: '/elsewhere' }).end();
    // The question itself, with the signature that it came with.
    case 'echo': return response.writeHead(200, {
      'webhook-id': id,
      'webhook-timestamp': request.headers['webhook-timestamp'],
      'webhook-signature': request.headers['webhook-signature'],
    }).end(raw);
    default: return response.writeHead(200, headers(webhook, id, now, body)).end(body);
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const told = JSON.parse(line);
  process.stdout.write('{"heard":true}\n');
  // What it was asked before stands in its output by now: whoever asks for it waits for this line.
  if (told.ping) return;
  how = told;
  if (how.as === 'hold') return;
  const waiting = held;
  held = [];
  for (const [question, response] of waiting) answer(question, response);
});

function take(request, response) {
  let raw = '';
  request.on('data', (chunk) => (raw += chunk));
  request.on('end', () => {
    let asked;
    try {
      asked = webhook.verify(raw, request.headers);
    } catch (error) {
      process.stderr.write(`${error}\n`);
      return response.writeHead(401).end();
    }
    const question = { request, raw, asked };
    const sha256 = createHash('sha256').update(raw).digest('hex');
    process.stdout.write(`${JSON.stringify({ path: request.url, sha256, ...asked })}\n`);
    if (how.as === 'hold') held.push([question, response]);
    else answer(question, response);
  });
}

const server = certificate
  ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(privateKey) }, take)
  : http.createServer(take);
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
