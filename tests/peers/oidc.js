// A real OAuth server for drover's tests: oidc-provider (https://github.com/panva/node-oidc-provider)
// with access tokens as Dovecot validates them by itself. It reads its settings as JSON on its
// command line, prints {"port": n, "tlsPort": n} once it listens, and ends when its standard input does.
//
// POST /control with JSON to steer it: {"lives": seconds}, {"refuse": {status, headers, body}, "times": n},
// {"answers": [{status, headers, body}]} for the next requests,
// {"consent": {"client": id, "user": name}} answers with a refresh token; GET /control counts what was asked,
// GET /control/refresh-tokens has all that were given out.

import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { once } from 'node:events';
import { createPrivateKey } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import { exportJWK, importSPKI, jwtVerify } from 'jose';

// Nobody reads standard output after the first line; writing there would end the process.
console.info = console.error;

// Debian 12 has Node.js 18, which has not got this yet.
URL.parse ??= (text, base) => {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
};

const settings = JSON.parse(process.argv[2]);
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const state = { lives: settings.lives ?? 3600, refuse: null, times: 0, answers: [],
  requests: [], refreshTokens: [] };

const signing = { ...(await exportJWK(createPrivateKey(settings.signingKey))), kid: 'default', alg: 'RS256', use: 'sig' };
const client = { redirect_uris: [], response_types: [] };
const clients = [
  { ...client, client_id: 'secretive', client_secret: settings.secret,
    grant_types: ['client_credentials'], token_endpoint_auth_method: 'client_secret_post' },
  { ...client, client_id: 'consented', client_secret: settings.secret, redirect_uris: ['https://app.example/'],
    response_types: ['code'], grant_types: ['refresh_token', 'authorization_code'],
    token_endpoint_auth_method: 'client_secret_post' },
  // A program on somebody's own machine: any port of loopback will do.
  { ...client, client_id: 'desk', client_secret: settings.secret, application_type: 'native',
    redirect_uris: ['http://127.0.0.1'], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', DEVICE],
    token_endpoint_auth_method: 'client_secret_post' },
  { ...client, client_id: 'google', grant_types: [JWT_BEARER], token_endpoint_auth_method: 'none' },
];
if (settings.certificateKey) {
  const key = await exportJWK(await importSPKI(settings.certificateKey, 'PS256', { extractable: true }));
  clients.push({ ...client, client_id: 'certified', grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'PS256',
    jwks: { keys: [{ ...key, alg: 'PS256', use: 'sig' }] } });
}

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;
// The same over TLS.
const secure = createSecureServer({ cert: settings.certificate, key: settings.key });
secure.listen(0, '127.0.0.1');
await once(secure, 'listening');

const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [signing] },
  scopes: ['openid', 'offline_access', 'mail'],
  claims: { email: ['email'] },
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    // Pages where any name signs in: the tests fill them in as a user does.
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://mail.example',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'mail', audience: 'mail', accessTokenFormat: 'jwt', accessTokenTTL: state.lives,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  ttl: { AccessToken: () => state.lives, ClientCredentials: () => state.lives },
  rotateRefreshToken: true,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: id }) }),
  extraTokenClaims: (ctx, token) => ({ email: token.accountId ?? settings.user, ...(token.accountId ? {} : { sub: token.clientId }) }),
  // Dovecot 2.3 knows no `at+jwt`.
  formats: { customizers: { jwt: (_, __, jwt) => { jwt.header = { ...jwt.header, typ: 'JWT' }; } } },
  conformIdTokenClaims: false,
});
// Twelve questions a minute are enough for people, not for tests.
provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === 'device_authorization' && ctx.body?.device_code) ctx.body.interval = 1;
  // As Google says it of consents that end.
  if (ctx.oidc?.route === 'token' && state.refreshLives) ctx.body.refresh_token_expires_in = state.refreshLives;
});
provider.on('refresh_token.saved', ({ jti }) => state.refreshTokens.push(jti));
provider.on('server_error', (_, error) => console.error(error));
if (settings.verbose) provider.on('grant.error', (_, error) => console.error(error));

provider.registerGrantType(JWT_BEARER, async (ctx) => {
  const { assertion } = ctx.oidc.params;
  const key = await importSPKI(settings.serviceAccountKey, 'RS256');
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(assertion, key, {
      algorithms: ['RS256'], audience: `${issuer}/token`, issuer: settings.serviceAccount,
      maxTokenAge: '1h', requiredClaims: ['sub', 'scope', 'exp'],
    }));
  } catch (error) {
    throw new errors.InvalidGrant(error.message);
  }
  if (claims.scope !== 'mail') {
    throw new errors.UnauthorizedClient('not authorized for any of the scopes requested');
  }
  const token = new provider.AccessToken({
    accountId: claims.sub, client: ctx.oidc.client, scope: 'mail', gty: JWT_BEARER,
    grantId: await grant(claims.sub, ctx.oidc.client.clientId),
  });
  token.resourceServer = new provider.ResourceServer('https://mail.example', {
    scope: 'mail', audience: 'mail', accessTokenFormat: 'jwt', accessTokenTTL: state.lives,
    jwt: { sign: { alg: 'RS256' } },
  });
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer' };
}, ['assertion']);

async function grant(accountId, clientId) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope('https://mail.example', 'mail');
  return grant.save();
}

async function consent({ client: clientId, user }) {
  const client = await provider.Client.find(clientId);
  const token = new provider.RefreshToken({
    accountId: user, client, scope: 'openid offline_access mail', gty: 'authorization_code',
    grantId: await grant(user, clientId), resource: 'https://mail.example',
    authTime: Math.floor(Date.now() / 1000),
  });
  return token.save();
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const answer = provider.callback();
const serve = async (request, response) => {
  const reply = (status, value, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(value));
  };
  if (request.url === '/control/refresh-tokens') return reply(200, state.refreshTokens);
  if (request.url === '/control') {
    if (request.method === 'GET') return reply(200, state.requests);
    const { consent: wanted, ...change } = JSON.parse(await body(request));
    Object.assign(state, change);
    return reply(200, wanted ? { refresh_token: await consent(wanted) } : {});
  }
  if (request.url === '/token') {
    const form = new URLSearchParams(await body(request));
    state.requests.push(form.get('grant_type'));
    const next = state.answers.shift();
    if (next) return reply(next.status, next.body, next.headers);
    if (state.times > 0) {
      state.times -= 1;
      return reply(state.refuse.status, state.refuse.body, state.refuse.headers);
    }
    // Google knows who asks by the assertion alone.
    if (form.get('grant_type') === JWT_BEARER) form.append('client_id', 'google');
    request.body = Object.fromEntries(form);
  }
  return answer(request, response);
};
server.on('request', serve);
secure.on('request', serve);

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ port, tlsPort: secure.address().port })}\n`);
