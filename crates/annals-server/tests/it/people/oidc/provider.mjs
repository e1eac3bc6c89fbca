// A provider of identities at which whoever comes is who they say; groups are in their name:
// "jo+audit-team" is of the group audit-team.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = (client_id, more) => ({
    client_id,
    client_secret: 'a secret & more',
    // Of a program of the same machine, whatever its port.
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/sign-in/provider/callback'],
    ...more,
  });
  const provider = new Provider(issuer, {
    clients: [
      client('annals', { token_endpoint_auth_method: 'client_secret_basic' }),
      client('public', { token_endpoint_auth_method: 'none', client_secret: undefined }),
    ],
    pkce: { required: () => true },
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
    cookies: { keys: ['of a test'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        preferred_username: id.split('+')[0],
        groups: id.split('+').slice(1),
        email: `${id.split('+')[0]}@example.com`,
        email_verified: !id.startsWith('unchecked'),
      }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
