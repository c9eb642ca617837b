import type { CostFigures } from './measure.ts';
import type { Filler, FullDiskFacts } from './full-disk.ts';
import type { StoreKind } from './store.ts';

/** What a process of its own is asked for; it answers once and ends. */
export type Order = {
  kind: StoreKind;
  /** Empty, and the store's alone. */
  directory: string;
  /** Folder of the package, for LMDB. */
  lmdb: string;
  spansPerRecord: number;
} & ({ records: number; appenders: number } | { filler: Filler });

export type Answer = { cost: CostFigures } | { fullDisk: FullDiskFacts } | { error: string };
