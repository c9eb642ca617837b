import { isUtf8 } from 'node:buffer';
import { BROKEN_TEXT, ESCAPES, isHighSurrogate, isLowSurrogate, UNICODE_ESCAPE } from './json-escapes.ts';
import { isDigit, MINUS, numberEnd } from './json-number.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

/** A body that is no JSON; the message is for the client and repeats no text of the body. */
export class JsonMisfit extends Error {}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
export const OPEN_ARRAY = 0x5b;
export const CLOSE_ARRAY = 0x5d;
export const OPEN_OBJECT = 0x7b;
export const CLOSE_OBJECT = 0x7d;
const END = -1;

/** Longer text and longer numbers never become strings, of which the heap would have to hold each whole. */
const LONGEST_STRING = 64 * 1024;

/**
 * Reads JSON (RFC 8259) from UTF-8 bytes value by value, and builds nothing: JSON.parse needs more than twenty
 * times the text where it is made of brackets, and takes the digits of large numbers.
 * Whatever is wrong throws JsonMisfit.
 */
export class JsonReader {
  readonly #bytes: Buffer;
  #pos = 0;
  /** Content of the last string, without its quotes. */
  #textStart = 0;
  #textEnd = 0;
  #escaped = false;

  /** @param mayBeBroken texts that are no UTF-8 are given as they stand */
  constructor(body: Uint8Array, mayBeBroken = false) {
    if (!mayBeBroken && !isUtf8(body)) throw new JsonMisfit('invalid UTF-8');
    this.#bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  }

  /** Steps over `byte` where it comes next, after white space. */
  takes(byte: number): boolean {
    if (this.#peek() !== byte) return false;
    this.#pos++;
    return true;
  }

  /** Steps over the comma before another element or member, or over the bracket that ends them. */
  continues(close: number): boolean {
    if (this.takes(COMMA)) return true;
    if (this.takes(close)) return false;
    return this.#fail(`"," or "${String.fromCharCode(close)}"`);
  }

  takesNull(): boolean {
    return this.#takesWord('null');
  }

  /** Undefined where the next value is no boolean. */
  takeBoolean(): boolean | undefined {
    if (this.#takesWord('true')) return true;
    return this.#takesWord('false') ? false : undefined;
  }

  /** Reads a string where one comes next; `textBytes`, `unescape` and others then give its content. */
  takesString(): boolean {
    if (this.#peek() !== QUOTE) return false;
    const bytes = this.#bytes;
    const start = this.#pos + 1;
    this.#escaped = false;
    for (let pos = start; pos < bytes.length; pos++) {
      const byte = bytes[pos]!;
      if (byte === QUOTE) {
        this.#textStart = start;
        this.#textEnd = pos;
        this.#pos = pos + 1;
        return true;
      }
      if (byte === BACKSLASH) {
        this.#escaped = true;
        pos++;
      } else if (byte < 0x20) {
        this.#pos = pos;
        this.#fail('no control character in a string');
      }
    }
    this.#pos = bytes.length;
    return this.#fail('the end of a string');
  }

  /** The content as it stands in the body; undefined where it has escapes. */
  textBytes(): Buffer | undefined {
    return this.#escaped ? undefined : this.#bytes.subarray(this.#textStart, this.#textEnd);
  }

  /** The content without its escapes, in UTF-8; BROKEN_TEXT stands for half a surrogate pair. */
  unescapedBytes(): Buffer {
    const unescaped = new ProtobufWriter(this.#textEnd - this.#textStart);
    this.unescape(unescaped);
    const { buffer, byteOffset, byteLength } = unescaped.finish();
    return Buffer.from(buffer, byteOffset, byteLength);
  }

  /** The content as a string; undefined where that would be very long. */
  shortText(): string | undefined {
    const isShort = this.#textEnd - this.#textStart <= LONGEST_STRING;
    if (this.#escaped) this.unescape();
    if (!isShort) return undefined;
    if (!this.#escaped) return this.#bytes.toString('utf8', this.#textStart, this.#textEnd);
    return JSON.parse(this.#bytes.toString('utf8', this.#textStart - 1, this.#textEnd + 1)) as string;
  }

  /** What the content is, for people. */
  describeText(): string {
    const text = this.shortText();
    return text === undefined ? `text of ${this.#textEnd - this.#textStart} bytes` : charactersOf(text);
  }

  /**
   * Writes the content without its escapes, and BROKEN_TEXT for half a surrogate pair; without a writer it is only looked
   * at. False: there is such a half.
   */
  unescape(writer?: ProtobufWriter): boolean {
    const bytes = this.#bytes;
    let isWellFormed = true;
    let from = this.#textStart;
    for (let pos = from; pos < this.#textEnd;) {
      if (bytes[pos] !== BACKSLASH) {
        pos++;
        continue;
      }
      if (pos > from) writer?.raw(bytes.subarray(from, pos));
      const kind = bytes[pos + 1]!;
      if (kind === UNICODE_ESCAPE) {
        let unit = this.#codeUnit(pos);
        pos += 6;
        if (isHighSurrogate(unit) && bytes[pos] === BACKSLASH && bytes[pos + 1] === UNICODE_ESCAPE) {
          const low = this.#codeUnit(pos);
          if (isLowSurrogate(low)) {
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            pos += 6;
          }
        }
        if (isHighSurrogate(unit) || isLowSurrogate(unit)) {
          isWellFormed = false;
          writer?.byte(BROKEN_TEXT);
        } else {
          writer?.codePoint(unit);
        }
      } else {
        const meant = ESCAPES.get(kind) ?? this.#unknownEscape();
        writer?.codePoint(meant);
        pos += 2;
      }
      from = pos;
    }
    if (this.#textEnd > from) writer?.raw(bytes.subarray(from, this.#textEnd));
    return isWellFormed;
  }

  /** The four hexadecimal digits of the escape at `at`. */
  #codeUnit(at: number): number {
    const digits = this.#bytes.toString('latin1', at + 2, Math.min(at + 6, this.#textEnd));
    return /^[\da-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : this.#unknownEscape();
  }

  #unknownEscape(): never {
    return this.#fail('known escapes in the string before');
  }

  /** Whether the content is `name`, byte for byte. */
  isText(name: Uint8Array): boolean {
    const start = this.#textStart;
    if (this.#textEnd - start !== name.length) return false;
    for (let i = 0; i < name.length; i++) if (this.#bytes[start + i] !== name[i]) return false;
    return true;
  }

  get escaped(): boolean {
    return this.#escaped;
  }

  get textIsEmpty(): boolean {
    return this.#textStart === this.#textEnd;
  }

  /** Where the next value, or what is around it, begins. */
  get position(): number {
    return this.#pos;
  }

  /** Goes back to, or on to, a position. */
  seek(position: number): void {
    this.#pos = position;
  }

  /** Bytes of the body. */
  get length(): number {
    return this.#bytes.length;
  }

  /** Reads the name of a member and its colon. */
  name(): void {
    if (!this.takesString()) this.#fail('the name of a member, in quotes');
    if (!this.takes(COLON)) this.#fail('":"');
  }

  /** The same, for nobody who wants to know it. */
  skipName(): void {
    this.name();
    if (this.#escaped) this.unescape();
  }

  /** The next value as it is written, where it is a number; empty where that would be very long. */
  takeNumber(): string | undefined {
    const first = this.#peek();
    if (first !== MINUS && !isDigit(first)) return undefined;
    const start = this.#pos;
    this.#pos = this.#numberEnd(start);
    return this.#pos - start > LONGEST_STRING ? '' : this.#bytes.toString('latin1', start, this.#pos);
  }

  /** Steps over the next value where it is a text, a number, a boolean or null. */
  skipScalar(): void {
    if (this.takesString()) {
      if (this.#escaped) this.unescape();
      return;
    }
    const first = this.#peek();
    if (first === MINUS || isDigit(first)) this.#pos = this.#numberEnd(this.#pos);
    else if (this.takeBoolean() === undefined && !this.takesNull()) this.#fail('a value');
  }

  #numberEnd(start: number): number {
    const end = numberEnd(this.#bytes, start);
    return end === -1 ? this.#fail('a number as JSON writes it') : end;
  }

  /** Nothing but white space may be left. */
  end(): void {
    if (this.#peek() !== END) this.#fail('nothing more');
  }

  /** What the next value is, for people. Throws where there is none. */
  describe(): string {
    const byte = this.#peek();
    if (byte === OPEN_OBJECT) return 'an object';
    if (byte === OPEN_ARRAY) return 'an array';
    if (this.takesString()) return this.describeText();
    const number = this.takeNumber();
    if (number !== undefined) return number === '' ? 'a very long number' : number;
    if (this.takesNull()) return 'null';
    return String(this.takeBoolean() ?? this.#fail('a value'));
  }

  #peek(): number {
    const bytes = this.#bytes;
    while (this.#pos < bytes.length) {
      const byte = bytes[this.#pos]!;
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) return byte;
      this.#pos++;
    }
    return END;
  }

  #takesWord(word: string): boolean {
    if (this.#peek() !== word.charCodeAt(0)) return false;
    const end = this.#pos + word.length;
    if (this.#bytes.toString('latin1', this.#pos, end) !== word) this.#fail('a value');
    this.#pos = end;
    return true;
  }

  #fail(expected: string): never {
    throw new JsonMisfit(`expected ${expected}, at byte ${this.#pos} of ${this.#bytes.length}`);
  }
}

function charactersOf(text: string): string {
  return `text of ${text.length} character${text.length === 1 ? '' : 's'}`;
}
