import type { StoredSpan } from './mlflow-client.ts';

/** One line a span, children under their parent in the order they began, with duration and tokens. */
export function spanTree(spans: readonly StoredSpan[]): string[] {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const ordered = spans.toSorted((a, b) => (a.start < b.start ? -1 : 1));
  const rows: { label: string; span: StoredSpan }[] = [];

  function add(span: StoredSpan, lead: string, childLead: string): void {
    rows.push({ label: lead + span.name, span });
    const children = ordered.filter(({ parentSpanId }) => parentSpanId === span.spanId);
    for (const [index, child] of children.entries()) {
      const isLast = index === children.length - 1;
      add(child, `${childLead}${isLast ? '└─ ' : '├─ '}`, `${childLead}${isLast ? '   ' : '│  '}`);
    }
  }
  for (const span of ordered.filter(({ parentSpanId }) => !ids.has(parentSpanId))) add(span, '', '');

  const width = Math.max(0, ...rows.map(({ label }) => label.length));
  return rows.map(({ label, span }) => {
    const duration = `${(Number(span.end - span.start) / 1e9).toFixed(2)} s`;
    return `${label.padEnd(width)}  ${duration.padStart(8)}${tokens(span)}`;
  });
}

function tokens({ attributes }: StoredSpan): string {
  const input = attributes['gen_ai.usage.input_tokens'];
  const output = attributes['gen_ai.usage.output_tokens'];
  return input === undefined || output === undefined ? '' : `   ${String(input)} + ${String(output)} tokens`;
}
