import { expect, test } from 'vitest';
import { ModelDisk } from '../support/model-disk.ts';
import type { Mount } from '../support/model-disk.ts';
import { seeded } from '../support/random.ts';

const SEEDS = Array.from({ length: 300 }, (_, index) => index);
const BYTES = Buffer.alloc(8192, 'new ');

/** What is left of a file after each of many losses of power, as text; '(gone)' where it has no entry. */
async function remains(
  path: string,
  prepare: (mount: Mount) => Promise<void>,
): Promise<(string | undefined)[]> {
  const left: (string | undefined)[] = [];
  for (const seed of SEEDS) {
    const disk = new ModelDisk(seeded(seed));
    await prepare(disk.mount());
    disk.losePower(seeded(seed));
    left.push(disk.peek(path)?.toString('latin1'));
  }
  return left;
}

async function synced(mount: Mount, path: string, text: string): Promise<void> {
  const file = await mount.create(path);
  await file.write([Buffer.from(text)], 0);
  await file.sync();
  await mount.syncDirectory('/');
}

test('what was synced, file and entry, outlives every loss of power', async () => {
  const left = await remains('/a', (mount) => synced(mount, '/a', 'kept'));
  expect(new Set(left)).toEqual(new Set(['kept']));
});

test('a synced file is gone when its entry was not synced', async () => {
  const left = await remains('/a', async (mount) => {
    const file = await mount.create('/a');
    await file.write([Buffer.from('kept')], 0);
    await file.sync();
  });
  expect(new Set(left)).toEqual(new Set([undefined, 'kept']));
});

test('of a write that was not synced any sectors are left, and the synced bytes in front of it all', async () => {
  const left = await remains('/a', async (mount) => {
    await synced(mount, '/a', 'kept');
    const file = await mount.open('/a');
    await file.write([BYTES], 4);
  });
  const whole = `kept${BYTES.toString()}`;
  expect(left.every((bytes) => bytes?.startsWith('kept'))).toBe(true);
  expect(left).toContain('kept');
  expect(left).toContain(whole);
  const torn = left.filter((bytes) => bytes !== undefined && bytes !== 'kept' && !whole.startsWith(bytes));
  expect(torn.length).toBeGreaterThan(20);
  // A sector is old or new as a whole.
  for (const bytes of torn) {
    for (let at = 512; at + 512 <= bytes!.length; at += 512) {
      const sector = bytes!.slice(at, at + 512);
      expect(sector === whole.slice(at, at + 512) || !sector.includes('new')).toBe(true);
    }
  }
});

test('a truncation that was not synced may not have happened', async () => {
  const left = await remains('/a', async (mount) => {
    await synced(mount, '/a', 'kept and cut');
    await (await mount.open('/a')).truncate(4);
  });
  expect(new Set(left.map((bytes) => bytes!.replaceAll('\0', '')))).toEqual(
    new Set(['kept', 'kept and cut']),
  );
});

test('a file that is renamed has one name, the old or the new one; changes of entries are kept or lost each by itself', async () => {
  const names = new Set<string>();
  for (const seed of SEEDS) {
    const disk = new ModelDisk(seeded(seed));
    const mount = disk.mount();
    await synced(mount, '/a', 'a');
    await synced(mount, '/b', 'b');
    await mount.rename('/a', '/c');
    await mount.remove('/b');
    disk.losePower(seeded(seed));
    names.add((await disk.mount().list('/')).toSorted().join(' '));
  }
  expect(names).toEqual(new Set(['a', 'c', 'a b', 'b c']));
});

/** Where a moved file may be after power loss. */
async function placesAfter(syncedDirectories: readonly string[]): Promise<Set<string>> {
  const places = new Set<string>();
  for (const seed of SEEDS) {
    const disk = new ModelDisk(seeded(seed));
    const mount = disk.mount();
    await mount.makeDirectory('/kept');
    await synced(mount, '/a', 'a');
    await mount.rename('/a', '/kept/a');
    for (const directory of syncedDirectories) await mount.syncDirectory(directory);
    disk.losePower(seeded(seed));
    places.add(['/a', '/kept/a'].filter((path) => disk.peek(path) !== undefined).join(' '));
  }
  return places;
}

test('a file that is moved is in one of the two folders, and in the new one when either was synced', async () => {
  expect(await placesAfter([])).toEqual(new Set(['/a', '/kept/a']));
  expect(await placesAfter(['/'])).toEqual(new Set(['/kept/a']));
  expect(await placesAfter(['/kept'])).toEqual(new Set(['/kept/a']));
});

test('a killed process leaves all that it wrote, and the next loss of power may take it', async () => {
  const outcomes = new Set<string | undefined>();
  for (const seed of SEEDS) {
    const disk = new ModelDisk(seeded(seed));
    await (await disk.mount().create('/a')).write([Buffer.from('seen')], 0);
    disk.killProcess();
    expect(disk.peek('/a')?.toString()).toBe('seen');
    const file = await disk.mount().open('/a');
    if (seed % 2 === 0) await file.sync();
    disk.losePower(seeded(seed));
    outcomes.add(disk.peek('/a')?.toString());
  }
  expect(outcomes).toContain(undefined);
  expect(outcomes).toContain('seen');
});

test('a disk that has stopped answers nothing, or fails, and a sync that it was in covers nothing', async () => {
  const disk = new ModelDisk(seeded(1));
  const mount = disk.mount();
  await synced(mount, '/a', 'kept');
  const file = await mount.open('/a');
  await file.write([Buffer.from('lost')], 0);
  mount.stopAfter(0, 'fails');
  await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' });
  await expect(mount.list('/')).rejects.toMatchObject({ code: 'EIO' });
  const left = new Set<string | undefined>();
  for (const seed of SEEDS) {
    const other = new ModelDisk(seeded(seed));
    const hanging = other.mount();
    await synced(hanging, '/a', 'kept');
    const open = await hanging.open('/a');
    await open.write([Buffer.from('lost')], 0);
    hanging.stopAfter(0, 'hangs');
    let answered = false;
    void open.sync().finally(() => (answered = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    other.losePower(seeded(seed));
    left.add(other.peek('/a')?.toString());
  }
  expect(left).toEqual(new Set(['kept', 'lost']));
});
