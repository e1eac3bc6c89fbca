// The page on which people try the API, as who they have signed in as or with a key.
const unsafe = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
let pageToken;

fetch('/v1/me', { headers: { Accept: 'application/json' } })
  .then((answer) => (answer.ok ? answer.json() : {}))
  .then((me) => {
    pageToken = me.page_token;
    document.querySelector('#who').textContent = me.name
      ? `What you try is done as ${me.name}, ${me.role}.`
      : 'Sign in, or give a key by “Authorize”.';
  });

globalThis.SwaggerUIBundle({
  url: '/v1/openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  requestInterceptor: (request) => {
    if (pageToken && unsafe.has(request.method?.toUpperCase()) && !request.headers.Authorization) {
      request.headers['X-Page-Token'] = pageToken;
    }
    return request;
  },
});
