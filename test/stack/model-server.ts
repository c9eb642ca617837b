import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/*
 * What an agent takes for a language model: OpenAI's chat completions, with replies that are always the same. Asked
 * with tools, it calls the first one; given what a tool said, it answers with that.
 */

export type Usage = {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
};

export type ModelServer = {
  /** The base URL for clients, which ends in /v1. */
  readonly url: string;
  readonly apiKey: string;
  /** What was counted for each reply, in their order. */
  readonly usages: readonly Usage[];
  close(): Promise<void>;
};

type Message = { role: string; content?: string };
type ChatRequest = {
  model: string;
  messages: Message[];
  tools?: { function: { name: string } }[];
  stream?: boolean;
};
type Reply = { message: Record<string, unknown>; finishReason: string; usage: Usage };

const API_KEY = 'of-a-model-that-is-none';
const TOOL_ARGUMENTS = JSON.stringify({ city: 'Zürich' });

/** Listens on a free port of the loopback interface. */
export async function startModelServer(): Promise<ModelServer> {
  const usages: Usage[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') {
      return refuse(response, 404, `there is no ${request.method} ${request.url}`);
    }
    if (request.headers.authorization !== `Bearer ${API_KEY}`)
      return refuse(response, 401, 'another API key');
    const asked = (await json(request)) as ChatRequest;
    const reply = replyTo(asked);
    if (reply === undefined) return refuse(response, 400, 'neither tools nor what a tool has said');
    usages.push(reply.usage);
    if (asked.stream === true) stream(response, asked.model, reply);
    else send(response, 200, completion(asked.model, reply));
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => refuse(response, 400, String(error)));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    apiKey: API_KEY,
    usages,
    async close() {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}

function replyTo({ messages, tools }: ChatRequest): Reply | undefined {
  const last = messages.at(-1);
  if (last?.role === 'tool') {
    const message = { role: 'assistant', content: `The tool says: ${last.content}` };
    return { message, finishReason: 'stop', usage: usage(93, 23, 64) };
  }
  const tool = tools?.[0]?.function.name;
  if (tool === undefined) return undefined;
  const call = { id: 'call_1', type: 'function', function: { name: tool, arguments: TOOL_ARGUMENTS } };
  const message = { role: 'assistant', content: null, tool_calls: [call] };
  return { message, finishReason: 'tool_calls', usage: usage(57, 17, 32) };
}

function usage(prompt: number, completed: number, cached: number): Usage {
  return {
    prompt_tokens: prompt,
    completion_tokens: completed,
    total_tokens: prompt + completed,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

function envelope(kind: string, model: string) {
  return { id: 'chatcmpl-1', object: kind, created: 1_700_000_000, model };
}

function completion(model: string, { message, finishReason, usage: counted }: Reply) {
  const choices = [{ index: 0, message, finish_reason: finishReason, logprobs: null }];
  return { ...envelope('chat.completion', model), choices, usage: counted };
}

/** Word by word, and what was counted last, as with `stream_options.include_usage`. */
function stream(
  response: ServerResponse,
  model: string,
  { message, finishReason, usage: counted }: Reply,
): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const head = envelope('chat.completion.chunk', model);
  const event = (data: unknown) => response.write(`data: ${JSON.stringify(data)}\n\n`);
  const chunk = (delta: unknown, finish: string | null) =>
    event({ ...head, choices: [{ index: 0, delta, finish_reason: finish }], usage: null });

  chunk({ role: 'assistant', content: '' }, null);
  for (const word of String(message['content']).split(/(?<= )/)) chunk({ content: word }, null);
  chunk({}, finishReason);
  event({ ...head, choices: [], usage: counted });
  response.end('data: [DONE]\n\n');
}

function refuse(response: ServerResponse, status: number, message: string): void {
  send(response, status, { error: { message, type: 'invalid_request_error' } });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
