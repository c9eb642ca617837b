import { styleText } from 'node:util';

const COLOURS = { failed: 'red', warning: 'yellow', ok: 'green', skipped: 'gray' } as const;

/** In colour where the stream is a terminal, unless NO_COLOR is set (https://no-color.org). */
export function coloured(
  text: string,
  meaning: keyof typeof COLOURS,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return styleText(COLOURS[meaning], text, { stream });
}
