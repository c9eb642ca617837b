/** JSON with integers that no double can hold: those become bigints. Python and MLflow write integers of any size. */
export function parseExactly(text: string): unknown {
  return JSON.parse(text, keepInteger);
}

function keepInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source ?? '';
  return typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
    ? BigInt(source)
    : value;
}
