import { once } from 'node:events';
import { isTrue } from '../attack.ts';
import { closeOf } from '../attacker.ts';
import type { Attack, Form } from '../attack.ts';
import type { Arena } from '../arena.ts';
import { varint } from '../../fuzz/field-tree.ts';

/** Size, one byte, and two ends of lines. */
const CHUNK_BYTES = 6;
const CHUNKS_AT_ONCE = 16_384;
/** Of a field that the schema does not know, so that the request is valid. */
const UNKNOWN_FIELD = 20;
const FILLER = 0x78;

function chunk(byte: number): Buffer {
  return Buffer.from([0x31, 0x0d, 0x0a, byte, 0x0d, 0x0a]);
}

/** One request, its body in chunks of one byte. */
function singleBytes(wireBytes: number): Attack {
  return {
    name: `one request in chunks of one byte, ${wireBytes / 1e6} MB on the wire`,
    deadlineMs: 150_000,
    async run(arena) {
      const answer = await send(arena, Math.floor(wireBytes / CHUNK_BYTES));
      await arena.watch(1_000);
      return { answer, figures: [isTrue('answered', answer !== 'none', answer, 'some status')] };
    },
  };
}

/** Resolves with the status of the answer, or with `none`. */
async function send({ attacker, isDead }: Arena, bytes: number): Promise<string> {
  const socket = await attacker.connect();
  if (socket === undefined) return 'none';
  const answer: Buffer[] = [];
  socket.on('data', (data: Buffer) => answer.push(data));
  const closed = closeOf(socket);
  socket.write('POST /v1/traces HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n');
  socket.write('content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n');
  const head = [...varint(UNKNOWN_FIELD * 8 + 2), ...varint(bytes)];
  socket.write(Buffer.concat(head.map(chunk)));
  const many = Buffer.alloc(CHUNKS_AT_ONCE * CHUNK_BYTES, chunk(FILLER));
  for (
    let left = bytes;
    left > 0 && !socket.destroyed && answer.length === 0 && !isDead();
    left -= CHUNKS_AT_ONCE
  ) {
    const part = many.subarray(0, Math.min(left, CHUNKS_AT_ONCE) * CHUNK_BYTES);
    if (!socket.write(part)) await Promise.race([once(socket, 'drain').catch(() => {}), closed]);
  }
  // Not ended: Node takes an end for a client that went away.
  socket.write('0\r\n\r\n');
  await closed;
  return /^HTTP\/1\.1 (\d{3})/.exec(Buffer.concat(answer).toString('latin1'))?.[1] ?? 'none';
}

export function bodiesInPiecesAttacks(form: Form): Attack[] {
  return (form === 'short' ? [2_000_000] : [25_000_000, 125_000_000]).map(singleBytes);
}
