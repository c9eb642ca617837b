import type { ModelFile } from './model-file.ts';
import type { Random } from './random.ts';

export type Node = ModelFile | ModelDirectory;

type Change =
  | { readonly kind: 'add' | 'remove'; readonly name: string; readonly node: Node; readonly move?: Move }
  | { readonly kind: 'rename'; readonly to: string; readonly node: Node; readonly move?: Move };

/** From one folder to another: a file system does both halves, in one transaction, or neither. */
type Move = { isDurable?: boolean };

/**
 * A folder that knows which of its entries would outlive a loss of power: those of the last completed sync, and any of
 * the changes that came after. A file whose own bytes are synced is gone all the same if its entry is.
 */
export class ModelDirectory {
  #seen = new Map<string, Node>();
  #durable = new Map<string, Node>();
  #unsynced: Change[] = [];

  get names(): string[] {
    return [...this.#seen.keys()];
  }

  get nodes(): Node[] {
    return [...this.#seen.values()];
  }

  get(name: string): Node | undefined {
    return this.#seen.get(name);
  }

  /** What is at a path below this folder. */
  find(path: string): Node | undefined {
    const names = path.split('/').filter((part) => part !== '');
    return names.reduce<Node | undefined>(
      (node, name) => (node instanceof ModelDirectory ? node.get(name) : undefined),
      this,
    );
  }

  add(name: string, node: Node): void {
    this.#change({ kind: 'add', name, node });
  }

  remove(name: string, node: Node): void {
    this.#change({ kind: 'remove', name, node });
  }

  rename(node: Node, to: string): void {
    this.#change({ kind: 'rename', to, node });
  }

  moveTo(other: ModelDirectory, name: string, node: Node, to: string): void {
    const move: Move = {};
    this.#change({ kind: 'remove', name, node, move });
    other.#change({ kind: 'add', name: to, node, move });
  }

  /** @returns what ends the sync: from then on all that was changed before it began is durable */
  beginSync(): () => void {
    const covered = new Set(this.#unsynced);
    return () => {
      for (const change of this.#unsynced) {
        if (!covered.has(change)) continue;
        apply(this.#durable, change);
        if (change.move) change.move.isDurable = true;
      }
      this.#unsynced = this.#unsynced.filter((change) => !covered.has(change));
    };
  }

  /**
   * Power is lost: each change since the last sync has happened or has not, whatever became of the others. Renaming
   * is atomic, so that a file has its old name or its new one; of one name only the order of changes is kept.
   */
  losePower(random: Random): void {
    const happens = random.pick([0, 0.5, 0.9, 1]);
    for (const change of this.#unsynced) {
      const { move = {} } = change;
      move.isDurable ??= random.chance(happens);
      if (move.isDurable) apply(this.#durable, change);
    }
    this.#unsynced = [];
    this.#seen = new Map(this.#durable);
  }

  #change(change: Change): void {
    apply(this.#seen, change);
    this.#unsynced.push(change);
  }
}

function apply(entries: Map<string, Node>, change: Change): void {
  switch (change.kind) {
    case 'add':
      entries.set(change.name, change.node);
      return;
    case 'remove':
      if (entries.get(change.name) === change.node) entries.delete(change.name);
      return;
    case 'rename':
      for (const [name, node] of entries) if (node === change.node) entries.delete(name);
      entries.set(change.to, change.node);
  }
}
