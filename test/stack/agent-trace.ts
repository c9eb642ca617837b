import { randomBytes } from 'node:crypto';

type Attribute = string | number | boolean | readonly string[];
type Span = Record<string, unknown>;

export type AgentTrace = {
  /** In hex. */
  traceId: string;
  spanCount: number;
  /** An ExportTraceServiceRequest as OTLP/JSON. */
  body: string;
};

const QUESTION = 'Will I need an umbrella in Lisbon tonight?';
const ANSWER = 'Yes: rain is expected from seven in the evening on.';
const TOOL_CALL = { type: 'tool_call', id: 'call_1', name: 'get_weather', arguments: { city: 'Lisbon' } };
const FORECAST = '{"rain":0.9,"from":"19:00"}';

/**
 * What an agent leaves behind that asks a model, calls the tool that the model chose, and asks again; with the
 * attributes of OpenTelemetry's GenAI semantic conventions. It ended just now.
 */
export function agentTrace(): AgentTrace {
  const traceId = randomBytes(16).toString('hex');
  const rootId = randomBytes(8).toString('hex');
  const begin = BigInt(Date.now() - 2_400) * 1_000_000n;
  const at = (milliseconds: number) => String(begin + BigInt(milliseconds) * 1_000_000n);

  function span(
    name: string,
    kind: number,
    [start, end]: [number, number],
    attributes: Record<string, Attribute>,
  ): Span {
    return {
      traceId,
      spanId: randomBytes(8).toString('hex'),
      parentSpanId: rootId,
      name,
      kind,
      startTimeUnixNano: at(start),
      endTimeUnixNano: at(end),
      attributes: toAttributes(attributes),
    };
  }

  const question = [{ role: 'user', parts: [{ type: 'text', content: QUESTION }] }];
  const choice = [{ role: 'assistant', parts: [TOOL_CALL], finish_reason: 'tool_call' }];
  const result = [
    { role: 'tool', parts: [{ type: 'tool_call_response', id: TOOL_CALL.id, response: FORECAST }] },
  ];
  const answer = [{ role: 'assistant', parts: [{ type: 'text', content: ANSWER }], finish_reason: 'stop' }];

  const root = span('invoke_agent weather-assistant', INTERNAL, [0, 2_310], {
    'gen_ai.operation.name': 'invoke_agent',
    'gen_ai.agent.name': 'weather-assistant',
    'gen_ai.conversation.id': `quickstart-${traceId.slice(0, 8)}`,
    'gen_ai.input.messages': JSON.stringify(question),
    'gen_ai.output.messages': JSON.stringify(answer),
  });
  const spans = [
    { ...root, spanId: rootId, parentSpanId: '' },
    span('chat example-model', CLIENT, [20, 830], {
      ...chat(412, 23, 'tool_call'),
      'gen_ai.input.messages': JSON.stringify(question),
      'gen_ai.output.messages': JSON.stringify(choice),
    }),
    span('execute_tool get_weather', INTERNAL, [840, 1_150], {
      'gen_ai.operation.name': 'execute_tool',
      'gen_ai.tool.name': 'get_weather',
      'gen_ai.tool.type': 'function',
      'gen_ai.tool.call.id': TOOL_CALL.id,
      'gen_ai.tool.call.arguments': JSON.stringify(TOOL_CALL.arguments),
      'gen_ai.tool.call.result': FORECAST,
    }),
    span('chat example-model', CLIENT, [1_160, 2_290], {
      ...chat(468, 57, 'stop'),
      'gen_ai.input.messages': JSON.stringify([...question, ...choice, ...result]),
      'gen_ai.output.messages': JSON.stringify(answer),
    }),
  ];

  const request = {
    resourceSpans: [
      {
        resource: {
          attributes: toAttributes({
            'service.name': 'weather-assistant',
            'deployment.environment.name': 'quickstart',
          }),
        },
        scopeSpans: [{ scope: { name: 'mlflow-trace-relay.quickstart' }, spans }],
      },
    ],
  };
  return { traceId, spanCount: spans.length, body: JSON.stringify(request) };
}

/** Span kinds of OTLP. */
const INTERNAL = 1;
const CLIENT = 3;

function chat(inputTokens: number, outputTokens: number, finish: string): Record<string, Attribute> {
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

function toAttributes(attributes: Record<string, Attribute>) {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: toValue(value) }));
}

function toValue(value: Attribute): Record<string, unknown> {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value !== 'number') return { arrayValue: { values: value.map(toValue) } };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}
