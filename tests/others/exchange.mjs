// An OAuth client and an API in Node: openid-client asks with DPoP, jose checks. Nothing here knows
// Jeton.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [base, , subject] = process.argv.slice(2);
const require = createRequire(new URL('../../.tools/node/package.json', import.meta.url));
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const client = await load('openid-client');
const jose = await load('jose');

const about = await (await fetch(`${base}/.well-known/oauth-authorization-server`)).json();
const config = new client.Configuration(about, 'ci', {}, client.None());
const keys = await client.randomDPoPKeyPair('ES256', { extractable: true });
const token = await client.genericGrantRequest(
  config,
  'urn:ietf:params:oauth:grant-type:token-exchange',
  {
    subject_token: subject,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    scope: 'git:acme/api contents:read',
  },
  { DPoP: client.getDPoPHandle(config, keys) },
);
assert.equal(token.token_type, 'dpop');

const resource = await (await fetch(`${base}/.well-known/oauth-protected-resource/git`)).json();
const { payload, protectedHeader } = await jose.jwtVerify(
  token.access_token,
  jose.createRemoteJWKSet(new URL(resource.jwks_uri)),
  { issuer: about.issuer, audience: resource.resource, typ: 'at+jwt', algorithms: ['EdDSA'] },
);
assert.equal(protectedHeader.alg, 'EdDSA');
const thumbprint = await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey));
assert.equal(payload.cnf.jkt, thumbprint, 'bound to the key that asked');

await assert.rejects(
  client.genericGrantRequest(
    config,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    {
      subject_token: subject,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      scope: 'git:acme/api contents:write',
    },
    { DPoP: client.getDPoPHandle(config, keys) },
  ),
  (error) => error.error === 'invalid_scope' && /agents write to refs under agent/.test(error.error_description),
);
console.log('good');
