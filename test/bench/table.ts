/** Rows of text under a headline, the columns aligned: the first to the left, all others to the right. */
export function table(headline: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headline, ...rows];
  const widths = headline.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [line(headline), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** With three significant digits, and thousands apart: `21.4`, `0.35`, `44,100`. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}
