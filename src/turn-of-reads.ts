import type { Socket } from 'node:net';
import { RoundRobin } from './round-robin.ts';
import { goOnReading, stopReading } from './socket-reading.ts';

/**
 * How long one turn of the event loop reads from connections, in milliseconds. The read that goes beyond it is the last
 * one of the turn; the most that clients can make of one is about as much again.
 */
const MOST_MS = 10;

/** As Node's HTTP server has it: told of the end of each read, under a number that its class names. */
type Parser = Record<number, unknown> & { readonly constructor: { readonly kOnExecute?: number } };

/**
 * How many of those that wait have their turn together, in one turn of the loop or in several: the system tells of them
 * in an order of its own, and until each of them was read, or had nothing to read, no other one goes on.
 */
const AT_ONCE = 8;

type Reader = { readonly socket: Socket; readonly holder: string; isStopped: boolean };

/** All; the one that was read longest ago comes first, among those of which a turn was too short. */
const readers = new Set<Reader>();
/** Those that are stopped, but for those whose turn it is. */
const waiting = new RoundRobin<Reader>();
let inTurn: readonly Reader[] = [];
let readInTurn: Reader[] = [];
let turnBeganAt: number | undefined;
let isOver = false;

/**
 * Bounds how long one turn of the event loop reads from the connections that are followed, of all servers together.
 * The system tells of up to a thousand connections at once that have something to read, and Node reads them all before
 * it does anything else. Once the time is over, reading is stopped on all of them, and goes on in the next turns, a few at
 * a time: the holders take turns, and of each the connection that was read longest ago is the first. What waits stays in
 * the buffers of the system. A turn with little to do has nothing of it but a look at the clock for each read.
 *
 * To be called once Node has set up an HTTP connection. The parser is no public property of a socket. Where a
 * later Node has it elsewhere, a turn is as long as clients make it, and a test fails.
 * @param holder by whom it is held against others
 */
export function followReads(socket: Socket, holder: string): void {
  const { parser } = socket as { parser?: Parser };
  const key = parser?.constructor.kOnExecute;
  if (parser === undefined || key === undefined) return;
  const onExecute = parser[key];
  if (typeof onExecute !== 'function') return;
  const reader: Reader = { socket, holder, isStopped: false };
  const hasRead = () => wasRead(reader);
  readers.add(reader);
  // Else whoever comes anew, again and again, would come first.
  if (isCrowded()) {
    stop(reader);
    waiting.add(holder, reader);
  }
  parser[key] = (result: unknown): void => {
    onExecute(result);
    hasRead();
  };
  // Neither an end nor a reset comes to the parser.
  socket.once('end', hasRead).once('error', hasRead);
  socket.once('close', () => {
    readers.delete(reader);
    waiting.remove(holder, reader);
  });
}

/** When the turn began, as far as that is known. To be called also where one read may take long, before it has ended. */
export function beginTurn(): number {
  if (turnBeganAt === undefined) {
    turnBeganAt = performance.now();
    setImmediate(endTurn);
  }
  return turnBeganAt;
}

function wasRead(reader: Reader): void {
  const began = beginTurn();
  readInTurn.push(reader);
  if (isOver || performance.now() - began < MOST_MS) return;
  isOver = true;
  // Also those that wait: what listens on a socket may have resumed it.
  for (const other of readers) stop(other);
}

function endTurn(): void {
  turnBeganAt = undefined;
  const wereRead = new Set(readInTurn);
  readInTurn = [];
  if (!isOver && !isCrowded()) return;
  for (const reader of wereRead) if (readers.delete(reader)) readers.add(reader);
  // Where the turn was long enough, the others had nothing to read.
  const left = new Set(isOver ? inTurn.filter((reader) => !wereRead.has(reader)) : []);
  if (isOver) {
    for (const reader of readers)
      if (reader.isStopped && !left.has(reader)) waiting.add(reader.holder, reader);
  }
  isOver = false;
  inTurn = left.size > 0 ? [...left] : nextOnes();
  for (const reader of inTurn) {
    reader.isStopped = false;
    goOnReading(reader.socket);
  }
  // What the first read of a turn took is else not known.
  if (inTurn.length > 0) beginTurn();
}

function isCrowded(): boolean {
  return inTurn.length > 0 || !waiting.isEmpty;
}

function stop(reader: Reader): void {
  reader.isStopped = true;
  stopReading(reader.socket);
}

function nextOnes(): Reader[] {
  const next: Reader[] = [];
  while (next.length < AT_ONCE) {
    const reader = waiting.next();
    if (reader === undefined) break;
    next.push(reader);
  }
  return next;
}
