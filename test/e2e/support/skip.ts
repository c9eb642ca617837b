import { missingToolchain } from '../../stack/toolchains.ts';
import type { Toolchain } from '../../stack/toolchains.ts';

/**
 * For `describe.skipIf`: true on a person's machine without what the tests need, with one line that says what to
 * install. In CI nothing is skipped: the tests run and fail there.
 */
export function skipWithout(...needed: readonly Toolchain[]): boolean {
  const missing = missingToolchain(...needed);
  if (missing === undefined || process.env['CI'] !== undefined) return false;
  process.stderr.write(`skipped: to run these tests, ${missing}\n`);
  return true;
}
