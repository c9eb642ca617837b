import { afterAll, beforeAll, expect, test } from 'vitest';
import { startModelServer } from '../stack/model-server.ts';
import type { ModelServer, Usage } from '../stack/model-server.ts';
import type { StoredAttributes, StoredSpan, StoredTrace, StoredValue } from '../stack/mlflow-client.ts';
import { ensureAgent } from '../stack/sdks.ts';
import type { AgentConvention, Program } from '../stack/sdks.ts';
import { startTestRelay } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { SERVICE, exporterVariables, runSdkProgram } from './support/sdk-program.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { inOrder } from './support/traces.ts';

const cleanUps: (() => Promise<void>)[] = [];
let stack: Stack;
let relay: TestRelay;
let model: ModelServer;
let agents: Record<AgentConvention, Program>;
beforeAll(async () => {
  agents = { openinference: await ensureAgent('openinference'), genai: await ensureAgent('genai') };
  model = await startModelServer();
  cleanUps.push(() => model.close());
  stack = await useSharedStack();
  relay = await startTestRelay(stack, {}, (finish) => cleanUps.push(finish));
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  await stack?.stop();
});

/** What the agents say of themselves. */
const SESSION = 'session-7';
const USER = 'user-42';

type Run = {
  /** In the order in which they ended. */
  sent: StoredSpan[];
  trace: StoredTrace;
  /** What the model counted for each reply. */
  usages: readonly Usage[];
};

async function runAgent(convention: AgentConvention): Promise<Run> {
  const repliesBefore = model.usages.length;
  const { spans: sent, complaints } = await runSdkProgram(agents[convention], {
    ...SERVICE,
    ...exporterVariables(stack, relay.url, { scope: 'OTEL_EXPORTER_OTLP', protocol: 'http/protobuf' }),
    // Two packages have one of this name; the agent itself takes the one that it is about.
    OTEL_PYTHON_DISABLED_INSTRUMENTATIONS: 'openai',
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: 'span_only',
    // What packages say to their developers is no complaint.
    PYTHONWARNINGS: 'ignore',
    OPENAI_BASE_URL: model.url,
    OPENAI_API_KEY: model.apiKey,
  });
  expect(complaints).toBe('');
  const trace = await stack.mlflow.waitForTrace(sent[0]!.traceId, { spans: sent.length });
  return { sent, trace, usages: model.usages.slice(repliesBefore) };
}

/** MLflow 3.18 writes what it makes of a span beside the attributes that the span had. */
function withoutMlflowsOwn({ attributes, ...rest }: StoredSpan): StoredSpan {
  const own = Object.entries(attributes).filter(([key]) => !key.startsWith('mlflow.'));
  return { ...rest, attributes: Object.fromEntries(own) };
}

/** MLflow 3.18 shows texts that are JSON objects or arrays as what they say, with or without the relay. */
function asShown({ attributes, ...rest }: StoredSpan): StoredSpan {
  const shown = Object.entries(attributes).map(([key, value]) => [key, unfold(value)]);
  return { ...rest, attributes: Object.fromEntries(shown) as StoredAttributes };
}

function unfold(value: StoredValue): StoredValue {
  return typeof value === 'string' && /^[[{].*[\]}]$/s.test(value)
    ? (JSON.parse(value) as StoredValue)
    : value;
}

/** As MLflow counts. */
function asTokenUsage({ prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details }: Usage) {
  return {
    input_tokens: prompt_tokens,
    output_tokens: completion_tokens,
    total_tokens,
    cache_read_input_tokens: prompt_tokens_details.cached_tokens,
  };
}

function sumOf(usages: readonly Usage[]) {
  const counted = usages.map(asTokenUsage);
  const sum = (key: keyof ReturnType<typeof asTokenUsage>) => counted.reduce((all, one) => all + one[key], 0);
  return {
    input_tokens: sum('input_tokens'),
    output_tokens: sum('output_tokens'),
    total_tokens: sum('total_tokens'),
    cache_read_input_tokens: sum('cache_read_input_tokens'),
  };
}

function spanTypes(spans: readonly StoredSpan[]): StoredValue[] {
  return spans.map(({ attributes }) => attributes['mlflow.spanType'] ?? null);
}

const CONVENTIONS = [
  {
    convention: 'openinference',
    title: 'OpenInference',
    tokens: 'llm.token_count.prompt',
    types: ['AGENT', 'LLM', 'TOOL', 'LLM'],
  },
  {
    convention: 'genai',
    title: "OpenTelemetry's GenAI conventions",
    tokens: 'gen_ai.usage.input_tokens',
    types: ['AGENT', 'CHAT_MODEL', 'TOOL', 'CHAT_MODEL'],
  },
] as const;

test.each(CONVENTIONS)(
  'an agent in $title is in MLflow as it was sent, with its tokens, session and user',
  async ({ convention, tokens, types }) => {
    const { sent, trace, usages } = await runAgent(convention);
    expect(inOrder(trace.spans.map(withoutMlflowsOwn))).toEqual(inOrder(sent.map(asShown)));
    expect(trace.state).toBe('OK');
    expect(spanTypes(trace.spans)).toEqual(types);

    // Guards against an agent that does less than this test is about: two replies, and between them a tool.
    expect(usages).toHaveLength(2);
    expect(sent.map(({ attributes }) => attributes[tokens])).toEqual([
      usages[0]?.prompt_tokens,
      undefined,
      usages[1]?.prompt_tokens,
      undefined,
    ]);

    const counted = trace.spans.map(({ attributes }) => attributes['mlflow.chat.tokenUsage']);
    expect(counted.filter((usage) => usage !== undefined)).toEqual(usages.map(asTokenUsage));
    expect(JSON.parse(trace.metadata['mlflow.trace.tokenUsage'] ?? 'null')).toEqual(sumOf(usages));
    expect(trace.metadata).toMatchObject({ 'mlflow.trace.session': SESSION, 'mlflow.trace.user': USER });
  },
);
