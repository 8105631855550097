// The OpenID provider of the tests: oidc-provider with people who log in with a name and a password.
// Prints its issuer as its first line and ends when its standard input does.
//
//   POST /test/settings  {"redirects": [...], "keys": n, "keep": n, "tokenSeconds": n, ...}
//
// changes what is named there: "keys" signs with the n-th key, "keep" publishes as many before it.
import { createServer } from "node:http";
import { generateKeyPairSync, webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // node 18 has it, but not as a global
const { default: Provider } = await import("oidc-provider");

const PEOPLE = {
  ann: { password: "correct horse", roles: ["operator"], name: "Ann" },
  bob: { password: "battery staple", roles: [], name: "Bob" },
};
const settings = { redirects: ["http://127.0.0.1/none"], keys: 1, keep: 0, tokenSeconds: 300, idSeconds: 300 };
const made = [];
let provider, answer, issuer;

function key(number) {
  while (made.length < number) {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const kid = `key-${made.length + 1}`;
    made.push({ ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" });
  }
  return made[number - 1];
}

function configuration() {
  const keys = [key(settings.keys)];
  for (let n = settings.keys - 1; n > 0 && keys.length <= settings.keep; n--) keys.push(key(n));
  const browser = { redirect_uris: settings.redirects, grant_types: ["authorization_code"] };
  return {
    jwks: { keys },
    cookies: { keys: ["of the tests"] },
    clients: [
      { client_id: "hilum-control", client_secret: "secret of the control plane", ...browser },
      { client_id: "hilum-public", token_endpoint_auth_method: "none", ...browser },
      {
        client_id: "thermometer", client_secret: "secret of the thermometer", redirect_uris: [],
        response_types: [], grant_types: ["client_credentials"],
      },
    ],
    pkce: { required: () => true },
    claims: { openid: ["sub", "roles"], profile: ["name"] },
    conformIdTokenClaims: false,
    ttl: {
      AccessToken: () => settings.tokenSeconds, ClientCredentials: () => settings.tokenSeconds,
      IdToken: () => settings.idSeconds, AuthorizationCode: 60, Grant: 600, Interaction: 600, Session: 600,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:hilum",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "call", audience: "hilum", accessTokenFormat: "jwt", accessTokenTTL: settings.tokenSeconds,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
    extraTokenClaims: (_, token) => ({ roles: PEOPLE[token.accountId]?.roles }),
    findAccount: (_, id) => PEOPLE[id] && {
      accountId: id,
      claims: () => ({ sub: id, roles: PEOPLE[id].roles, name: PEOPLE[id].name }),
    },
    // Nobody is asked for consent: the clients are the site's own.
    loadExistingGrant: async (ctx) => {
      const { session, client, params } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ accountId: session.accountId, clientId: client.clientId });
      grant.addOIDCScope("openid profile");
      grant.addResourceScope(params.resource ?? "urn:hilum", "call");
      await grant.save();
      return grant;
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  };
}

function rebuild() {
  provider = new Provider(issuer, configuration());
  answer = provider.callback();
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

const form = (says) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Provider</title></head>
<body><h1>Log in</h1><p id="says">${says}</p><form method="post">
<label>Name <input name="login" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button></form></body></html>`;

async function interaction(request, response) {
  const page = (status, says) => {
    response.writeHead(status, { "Content-Type": "text/html" });
    response.end(form(says));
  };
  if (request.method !== "POST") return page(200, "");
  const given = new URLSearchParams(await body(request));
  const person = PEOPLE[given.get("login")];
  if (person === undefined || person.password !== given.get("password")) {
    return page(401, "The name or the password is wrong.");
  }
  const login = { accountId: given.get("login") };
  return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}

const server = createServer(async (request, response) => {
  try {
    if (request.url.startsWith("/interaction/")) return await interaction(request, response);
    if (request.url === "/test/settings" && request.method === "POST") {
      Object.assign(settings, JSON.parse(await body(request)));
      rebuild();
      return response.end("{}");
    }
    return await answer(request, response);
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    return response.end(String(error));
  }
});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  rebuild();
  console.log(issuer);
});
process.stdin.on("end", () => process.exit(0)).resume();
