import type { Adapter } from 'oidc-provider';

type Payload = Record<string, unknown>;

/**
 * What the OpenID provider remembers, in memory, for as long as the test or the quickstart lives. Clients are
 * asked for each time, so that a secret can be changed while the provider runs.
 */
export function createAdapter(
  findClient: (id: string) => Payload | undefined,
): new (model: string) => Adapter {
  const stored = new Map<string, Payload>();

  return class implements Adapter {
    readonly #model: string;

    constructor(model: string) {
      this.#model = model;
    }

    #key(id: string): string {
      return `${this.#model}:${id}`;
    }

    async upsert(id: string, payload: Payload): Promise<void> {
      stored.set(this.#key(id), payload);
    }

    async find(id: string): Promise<Payload | undefined> {
      return this.#model === 'Client' ? findClient(id) : stored.get(this.#key(id));
    }

    async findByUid(uid: string): Promise<Payload | undefined> {
      for (const [key, payload] of stored) {
        if (key.startsWith(`${this.#model}:`) && payload['uid'] === uid) return payload;
      }
      return undefined;
    }

    /** Of the device flow, which is off. */
    async findByUserCode(): Promise<undefined> {}

    async consume(id: string): Promise<void> {
      const payload = stored.get(this.#key(id));
      if (payload !== undefined) payload['consumed'] = Math.floor(Date.now() / 1000);
    }

    async destroy(id: string): Promise<void> {
      stored.delete(this.#key(id));
    }

    async revokeByGrantId(grantId: string): Promise<void> {
      for (const [key, payload] of stored) {
        if (payload['grantId'] === grantId) stored.delete(key);
      }
    }
  };
}
