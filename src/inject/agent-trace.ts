import { randomInt } from 'node:crypto';
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Attributes, Context, Span } from '@opentelemetry/api';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

/** An ExportTraceServiceRequest (protobuf) with one whole trace; its id in hex. */
export type AgentTrace = {
  readonly traceId: string;
  readonly spanCount: number;
  readonly payload: Uint8Array;
};

/** `service.name`, unless said otherwise. */
export const DEFAULT_SERVICE = 'weather-assistant';

const QUESTION = 'Will I need an umbrella in Lisbon tonight?';
const ANSWER = 'Yes: rain is expected from seven in the evening on.';
const TOOL_CALL = { type: 'tool_call', id: 'call_1', name: 'get_weather', arguments: { city: 'Lisbon' } };
const FORECAST = '{"rain":0.9,"from":"19:00"}';
const TIMEOUT = 'no answer of the weather service within 300 ms';

/** From the start of the root to its end, in milliseconds. */
const LENGTH_MS = 2_310;

/**
 * What an agent leaves behind that asks a model, calls the tool that the model chose, which fails the first time, and
 * asks the model again: five spans with the attributes of OpenTelemetry's GenAI semantic conventions. Made by the
 * OpenTelemetry SDK.
 * @param service `service.name` of the resource
 * @param attributes of the root span, beside or in place of what it has
 * @param endedAt in milliseconds since the epoch
 */
export function agentTrace(
  service: string,
  attributes: Readonly<Record<string, string>>,
  endedAt: number,
): AgentTrace {
  const ended = new InMemorySpanExporter();
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    spanProcessors: [new SimpleSpanProcessor({ exporter: ended })],
  });
  const tracer = provider.getTracer('mlflow-trace-relay.inject');
  // Begins within its millisecond, as traces do: a store that cuts nanoseconds would be seen.
  const begin = BigInt(endedAt - LENGTH_MS) * 1_000_000n + BigInt(randomInt(1_000_000));
  const at = (ms: number): [number, number] => {
    const time = begin + BigInt(ms) * 1_000_000n;
    return [Number(time / 1_000_000_000n), Number(time % 1_000_000_000n)];
  };
  const start = (name: string, ms: number, kind: SpanKind, own: Attributes, parent: Context = ROOT_CONTEXT) =>
    tracer.startSpan(name, { kind, attributes: own, startTime: at(ms) }, parent);

  const root = start('invoke_agent weather-assistant', 0, SpanKind.INTERNAL, {
    'gen_ai.operation.name': 'invoke_agent',
    'gen_ai.agent.name': 'weather-assistant',
    'gen_ai.input.messages': messages('user', { type: 'text', content: QUESTION }),
    'gen_ai.output.messages': messages('assistant', { type: 'text', content: ANSWER }),
    ...attributes,
  });
  const { traceId } = root.spanContext();
  if (!('gen_ai.conversation.id' in attributes)) {
    root.setAttribute('gen_ai.conversation.id', `inject-${traceId.slice(0, 8)}`);
  }
  const parent = trace.setSpan(ROOT_CONTEXT, root);

  const choice = start('chat example-model', 20, SpanKind.CLIENT, chat(412, 23, 'tool_call'), parent);
  choice.setAttribute('gen_ai.input.messages', messages('user', { type: 'text', content: QUESTION }));
  choice.setAttribute('gen_ai.output.messages', messages('assistant', TOOL_CALL));
  choice.end(at(830));

  fail(start('execute_tool get_weather', 840, SpanKind.INTERNAL, tool(), parent), at(1_140));

  const call = start('execute_tool get_weather', 1_150, SpanKind.INTERNAL, tool(), parent);
  call.setAttribute('gen_ai.tool.call.result', FORECAST);
  call.end(at(1_320));

  const reply = start('chat example-model', 1_330, SpanKind.CLIENT, chat(468, 57, 'stop'), parent);
  reply.addEvent('gen_ai.first_token', { 'gen_ai.latency_ms': 310 }, at(1_640));
  reply.setAttribute(
    'gen_ai.input.messages',
    messages('tool', { type: 'tool_call_response', id: TOOL_CALL.id, response: FORECAST }),
  );
  reply.setAttribute('gen_ai.output.messages', messages('assistant', { type: 'text', content: ANSWER }));
  reply.end(at(2_290));
  root.end(at(LENGTH_MS));

  const spans = ended.getFinishedSpans();
  const payload = ProtobufTraceSerializer.serializeRequest(spans);
  if (payload === undefined) throw new Error('the trace could not be serialized');
  return { traceId, spanCount: spans.length, payload };
}

function fail(span: Span, end: [number, number]): void {
  span.addEvent('exception', { 'exception.type': 'TimeoutError', 'exception.message': TIMEOUT }, end);
  span.setAttribute('error.type', 'TimeoutError');
  span.setStatus({ code: SpanStatusCode.ERROR, message: TIMEOUT });
  span.end(end);
}

function chat(inputTokens: number, outputTokens: number, finish: string): Attributes {
  return {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'example',
    'gen_ai.request.model': 'example-model',
    'gen_ai.response.model': 'example-model-2',
    'gen_ai.request.temperature': 0.2,
    'gen_ai.response.finish_reasons': [finish],
    'gen_ai.usage.input_tokens': inputTokens,
    'gen_ai.usage.output_tokens': outputTokens,
  };
}

function tool(): Attributes {
  return {
    'gen_ai.operation.name': 'execute_tool',
    'gen_ai.tool.name': TOOL_CALL.name,
    'gen_ai.tool.type': 'function',
    'gen_ai.tool.call.id': TOOL_CALL.id,
    'gen_ai.tool.call.arguments': JSON.stringify(TOOL_CALL.arguments),
  };
}

function messages(role: string, part: Readonly<Record<string, unknown>>): string {
  return JSON.stringify([{ role, parts: [part] }]);
}
