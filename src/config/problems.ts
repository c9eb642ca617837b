import { RelayError } from '../errors.ts';

export type Path = readonly (string | number)[];

/** What is wrong, and where; line and column count from 1. */
export type Problem = Place & { readonly path: Path; readonly message: string };
export type Place = { readonly line: number; readonly column: number };

/** All problems of a file as one error, a line each, in the order of the file. */
export function invalid(file: string, problems: readonly Problem[]): RelayError {
  const lines = problems
    .toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, path, message }) => {
      const key = pathText(path);
      return `${file}:${line}:${column} ${key === '' ? '' : `${key}: `}${message}`;
    });
  // Two checks of one value may say the same.
  return new RelayError('CONFIG_INVALID', [...new Set(lines)].join('\n'));
}

/** `destinations.mlflow.url`, `allowed_clients[2]`; a key that would not read as one stands in quotes. */
function pathText(path: Path): string {
  return path
    .map((step) => {
      if (typeof step === 'number') return `[${step}]`;
      return /^[\w-]+$/.test(step) ? `.${step}` : `.${JSON.stringify(step)}`;
    })
    .join('')
    .replace(/^\./, '');
}
