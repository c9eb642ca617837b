/** Where records could be kept: what the benchmark asks of our log and of two databases. */
export interface Store {
  /** Resolves when the record is on stable storage. Many at a time share a sync where the store can. */
  append(payload: Uint8Array): Promise<void>;
  /** All there is, oldest first. */
  read(onRecord: (payload: Uint8Array) => void): Promise<void>;
  /** Resolves when it is on stable storage that these are gone. */
  removeOldest(count: number): Promise<void>;
  close(): Promise<void>;
}

export const STORES = ['log', 'sqlite', 'lmdb'] as const;
export type StoreKind = (typeof STORES)[number];

/** What is known of a record beside its bytes, about as long as in the queue. */
export const META = {
  spans: 100,
  sender: 'spiffe://bench.example/sender',
  receivedAt: 1_700_000_000_000,
  route: { name: 'default', destinations: ['mlflow'], variables: {} },
};
