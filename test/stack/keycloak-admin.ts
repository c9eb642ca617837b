/** A protocol mapper of a client, as Keycloak's REST API has it. */
export type Mapper = { name: string; protocolMapper: string; config: Record<string, string> };

/** What tests change in a realm, by Keycloak's REST API and as its administrator. */
export type KeycloakAdmin = {
  /** Lays these over the realm's settings, such as `accessTokenLifespan` (seconds). */
  updateRealm(changes: Record<string, unknown>): Promise<void>;
  /** Lays these over the client's settings, such as `enabled`. */
  updateClient(clientId: string, changes: Record<string, unknown>): Promise<void>;
  secretOf(clientId: string): Promise<string>;
  /** The old secret is dead from now on. @returns the new one */
  regenerateSecret(clientId: string): Promise<string>;
  /** @returns what `addMapper` takes to have it back */
  removeMapper(clientId: string, name: string): Promise<Mapper>;
  addMapper(clientId: string, mapper: Mapper): Promise<void>;
  /** A new RS256 key signs from now on; the one before is not even published any more. */
  rotateSigningKey(): Promise<void>;
  /** A public client for people, with the mappers of another one, the password and device grants, and refresh tokens. */
  createPublicClient(clientId: string, mappersOf: string): Promise<void>;
  /** A person with a password, in these groups. */
  createUser(user: { username: string; email: string; password: string; groups: string[] }): Promise<void>;
  /** Imports a realm as the console and kcadm.sh do, and removes it again. @returns what `look` made of it */
  withImportedRealm<T>(realm: { realm: string }, look: (admin: KeycloakAdmin) => Promise<T>): Promise<T>;
};

const KEY_PROVIDER = 'org.keycloak.keys.KeyProvider';

export function createKeycloakAdmin(
  url: string,
  realm: string,
  administrator: { username: string; password: string },
): KeycloakAdmin {
  let kept: { value: string; until: number } | undefined;

  /** Kept for half of its life: a password costs Keycloak a lot to check. */
  async function requestToken(): Promise<string> {
    if (kept !== undefined && performance.now() < kept.until) return kept.value;
    const response = await fetch(`${url}/realms/master/protocol/openid-connect/token`, {
      method: 'POST',
      headers: { connection: 'close' },
      body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', ...administrator }),
    });
    const { access_token: value, expires_in: seconds } = (await response.json()) as Json;
    if (value === undefined) throw new Error(`no token for Keycloak's admin: ${response.status}`);
    kept = { value, until: performance.now() + seconds * 500 };
    return value;
  }

  async function call(method: string, path: string, body?: unknown): Promise<Json> {
    const response = await fetch(`${url}/admin/realms${path}`, {
      method,
      headers: {
        authorization: `Bearer ${await requestToken()}`,
        // Keycloak may be stopped between two calls.
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} /admin/realms${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  async function clientOf(clientId: string): Promise<Json> {
    const [client] = await call('GET', `/${realm}/clients?clientId=${encodeURIComponent(clientId)}`);
    if (client === undefined) throw new Error(`there is no client ${clientId} in the realm ${realm}`);
    return client;
  }

  async function mappersOf(clientId: string): Promise<{ path: string; mappers: Json[] }> {
    const { id, protocolMappers } = await clientOf(clientId);
    return { path: `/${realm}/clients/${id}/protocol-mappers/models`, mappers: protocolMappers ?? [] };
  }

  return {
    async updateRealm(changes) {
      await call('PUT', `/${realm}`, { ...(await call('GET', `/${realm}`)), ...changes });
    },
    async updateClient(clientId, changes) {
      const client = await clientOf(clientId);
      await call('PUT', `/${realm}/clients/${client.id}`, { ...client, ...changes });
    },
    async secretOf(clientId) {
      const { value } = await call('GET', `/${realm}/clients/${(await clientOf(clientId)).id}/client-secret`);
      return value;
    },
    async regenerateSecret(clientId) {
      const { value } = await call(
        'POST',
        `/${realm}/clients/${(await clientOf(clientId)).id}/client-secret`,
      );
      return value;
    },
    async removeMapper(clientId, name) {
      const { path, mappers } = await mappersOf(clientId);
      const { id, ...mapper } = mappers.find((one) => one.name === name) ?? {};
      if (id === undefined) throw new Error(`client ${clientId} has no mapper ${name}`);
      await call('DELETE', `${path}/${id}`);
      return mapper;
    },
    async addMapper(clientId, mapper) {
      const { path } = await mappersOf(clientId);
      await call('POST', path, mapper);
    },
    async rotateSigningKey() {
      const keys: Json[] = await call('GET', `/${realm}/components?type=${KEY_PROVIDER}`);
      const old = keys.filter(({ providerId }) => providerId === 'rsa-generated');
      const priority = Math.max(...old.map(({ config }) => Number(config.priority))) + 1;
      const { id: parentId } = await call('GET', `/${realm}`);
      await call('POST', `/${realm}/components`, {
        name: `rsa-${priority}`,
        providerId: 'rsa-generated',
        providerType: KEY_PROVIDER,
        parentId,
        config: { priority: [String(priority)], enabled: ['true'], active: ['true'], algorithm: ['RS256'] },
      });
      for (const key of old) {
        const config = { ...key.config, enabled: ['false'], active: ['false'] };
        await call('PUT', `/${realm}/components/${key.id}`, { ...key, config });
      }
    },
    async createPublicClient(clientId, other) {
      const { mappers } = await mappersOf(other);
      await call('POST', `/${realm}/clients`, {
        clientId,
        publicClient: true,
        standardFlowEnabled: false,
        directAccessGrantsEnabled: true,
        attributes: { 'oauth2.device.authorization.grant.enabled': 'true' },
        protocolMappers: mappers.map(({ name, protocol, protocolMapper, config }) => ({
          name,
          protocol,
          protocolMapper,
          config,
        })),
      });
    },
    async createUser({ username, email, password, groups }) {
      await call('POST', `/${realm}/users`, {
        username,
        email,
        emailVerified: true,
        firstName: username,
        lastName: username,
        enabled: true,
        groups,
        credentials: [{ type: 'password', value: password, temporary: false }],
      });
    },
    async withImportedRealm(imported, look) {
      await call('POST', '', imported);
      try {
        return await look(createKeycloakAdmin(url, imported.realm, administrator));
      } finally {
        await call('DELETE', `/${imported.realm}`);
      }
    },
  };
}

// oxlint-disable-next-line typescript/no-explicit-any -- answers of a foreign program, looked at field by field
type Json = any;
