import { expect, test } from 'vitest';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import { sentTraces } from '../../src/inject/sent-spans.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';

const ENDED_AT = 1_700_000_000_000;

function spansOf(attributes: Record<string, string> = {}) {
  const { traceId, payload } = agentTrace('my-agent', attributes, ENDED_AT);
  const spans = sentTraces([payload]).get(traceId) ?? [];
  return { traceId, payload, spans, root: spans.find(({ parentSpanId }) => parentSpanId === '')! };
}

test('an agent asks a model, calls a tool that fails and then does not, and asks again', () => {
  const { payload, spans, root } = spansOf();
  expect(scanTraces(payload)).toEqual({ ok: true, spanCount: 5, invalidSpanCount: 0 });
  const ordered = spans.toSorted((a, b) => (a.start < b.start ? -1 : 1));
  expect(ordered.map(({ name, status }) => [name, status.code])).toEqual([
    ['invoke_agent weather-assistant', 'STATUS_CODE_UNSET'],
    ['chat example-model', 'STATUS_CODE_UNSET'],
    ['execute_tool get_weather', 'STATUS_CODE_ERROR'],
    ['execute_tool get_weather', 'STATUS_CODE_UNSET'],
    ['chat example-model', 'STATUS_CODE_UNSET'],
  ]);
  expect(ordered.slice(1).map(({ parentSpanId }) => parentSpanId)).toEqual(
    Array.from({ length: 4 }, () => root.spanId),
  );
  expect(ordered.map(({ attributes }) => attributes['gen_ai.operation.name'])).toEqual([
    'invoke_agent',
    'chat',
    'execute_tool',
    'execute_tool',
    'chat',
  ]);
  expect(ordered[1]?.attributes).toMatchObject({
    'gen_ai.usage.input_tokens': 412,
    'gen_ai.response.finish_reasons': ['tool_call'],
  });
  expect(ordered[2]?.events.map(({ name }) => name)).toEqual(['exception']);
});

test('it ends when it is said to, and children are within their parent', () => {
  const { spans, root } = spansOf();
  const millisecond = 1_000_000n;
  expect(root.end / millisecond).toBe(BigInt(ENDED_AT));
  for (const { start, end } of spans) {
    expect(start >= root.start && start < end && end <= root.end).toBe(true);
  }
});

test('service and attributes are where they belong; no two are alike', () => {
  const { payload, root, traceId } = spansOf({ 'user.id': 'me', 'gen_ai.conversation.id': 'c-1' });
  expect(root.attributes).toMatchObject({ 'user.id': 'me', 'gen_ai.conversation.id': 'c-1' });
  expect(tracesToJson(payload)).toMatchObject({
    resourceSpans: [
      { resource: { attributes: [{ key: 'service.name', value: { stringValue: 'my-agent' } }] } },
    ],
  });
  const other = spansOf();
  expect(other.traceId).not.toBe(traceId);
  expect(other.root.attributes['gen_ai.conversation.id']).toBe(`inject-${other.traceId.slice(0, 8)}`);
});
