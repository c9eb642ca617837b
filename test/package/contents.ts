import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** Files below a folder, by their path in it, in order. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .toSorted();
}

/** Bytes. */
export function sizeOf(directory: string, files: readonly string[]): number {
  return files.reduce((sum, file) => sum + statSync(join(directory, file)).size, 0);
}

export type Dependency = { directory: string; name: string; scripts: Record<string, string> };

/** All packages that are installed below one. */
export function dependenciesOf(directory: string): Dependency[] {
  const below = join(directory, 'node_modules');
  if (!existsSync(below)) return [];
  return readdirSync(below)
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(below, name)).map((inner) => `${name}/${inner}`) : [name],
    )
    .filter((name) => existsSync(join(below, name, 'package.json')))
    .flatMap((name) => {
      const at = join(below, name);
      const { scripts = {} } = JSON.parse(
        readFileSync(join(at, 'package.json'), 'utf8'),
      ) as Partial<Dependency>;
      return [{ directory: at, name, scripts }].concat(dependenciesOf(at));
    });
}

/** A declaration file and all that it imports from files beside it. */
export function declarationsFrom(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const [, from = ''] of readFileSync(file, 'utf8').matchAll(/\bfrom '(\.[^']+)\.ts'/g))
    declarationsFrom(resolve(dirname(file), `${from}.d.ts`), found);
  return found;
}

/** The names that a declaration file gives to who imports it, and those of them without a word on what they are. */
export function exportsOf(file: string): { names: string[]; undocumented: string[] } {
  const text = readFileSync(file, 'utf8');
  const names: string[] = [];
  const undocumented: string[] = [];
  for (const [, documentation, name = ''] of text.matchAll(
    /(\*\/\n)?export (?:declare )?(?:abstract )?(?:function|class|type|interface|const|enum) (\w+)/g,
  )) {
    names.push(name);
    if (documentation === undefined) undocumented.push(name);
  }
  for (const [, list = '', from = ''] of text.matchAll(
    /export (?:type )?\{([^}]+)\} from '(\.[^']+)\.ts'/g,
  )) {
    const wanted = list.split(',').map((name) => name.trim());
    const there = exportsOf(resolve(dirname(file), `${from}.d.ts`));
    names.push(...wanted);
    undocumented.push(
      ...wanted.filter((name) => !there.names.includes(name) || there.undocumented.includes(name)),
    );
  }
  return { names, undocumented };
}
