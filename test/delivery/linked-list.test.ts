import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LinkedList } from '../../src/delivery/linked-list.ts';
import type { Link } from '../../src/delivery/linked-list.ts';

test('is an array with other costs', () => {
  const action = fc.oneof(fc.constant('push' as const), fc.constant('shift' as const), fc.nat());
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const list = new LinkedList<number>();
      const links: Link<number>[] = [];
      const shifted: [number | undefined, number | undefined][] = [];
      for (const [value, act] of actions.entries()) {
        if (act === 'push') links.push(list.push(value));
        else if (act === 'shift') shifted.push([list.shift(), links.shift()?.value]);
        else for (const link of links.splice(act % (links.length + 1), 1)) list.remove(link);

        const values: number[] = [];
        for (let link = list.first; link !== undefined; link = link.after) values.push(link.value);
        expect(values).toEqual(links.map((link) => link.value));
        expect(list.last?.value).toBe(links.at(-1)?.value);
      }
      for (const [value, expected] of shifted) expect(value).toBe(expected);
    }),
  );
});
