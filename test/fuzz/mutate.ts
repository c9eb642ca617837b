import type { Random } from '../fault/support/random.ts';
import { bytesOfFields, placesOf, raw } from './field-tree.ts';
import type { Field } from './field-tree.ts';
import { generateRequest } from './generate.ts';

/*
 * Bodies as somebody would write them who wants to find a hole: valid requests, changed as trees, with the lengths around
 * a change set right, or as bytes, with the lengths left wrong.
 */

/** The share of bodies whose lengths are set right behind the changes; most of them pass framing. */
const REPAIRED = 0.75;
const MOST_CHANGES = 4;

/** Numbers at the limits of varints, and beyond. */
const EXTREME_VARINTS: readonly [readonly number[], ...(readonly number[])[]] = [
  [0x00],
  [0x7f],
  [0x80, 0x00],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0x80, 0x80, 0x80, 0x80, 0x10],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
  [...Array.from({ length: 9 }, () => 0xff), 0x01],
  [...Array.from({ length: 9 }, () => 0xff), 0x02],
  [...Array.from({ length: 10 }, () => 0xff), 0x01],
];

const INVALID_UTF8: readonly [readonly number[], ...(readonly number[])[]] = [
  [0xff],
  [0x80],
  [0xc0, 0x80],
  [0xe2, 0x82],
  [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80],
];

/** A body; the same one for the same numbers. */
export function mutatedBody(random: Random): Uint8Array {
  const fields = generateRequest(random);
  const isRepaired = random.chance(REPAIRED);
  const changes = 1 + random.below(MOST_CHANGES);
  if (isRepaired) {
    for (let left = changes; left > 0; left--) changeTree(fields, random);
    return bytesOfFields(fields);
  }
  let bytes = bytesOfFields(fields);
  for (let left = changes; left > 0; left--) bytes = changeBytes(bytes, random, otherBody);
  return bytes;
}

function otherBody(random: Random): Uint8Array {
  return bytesOfFields(generateRequest(random));
}

function changeTree(fields: Field[], random: Random): void {
  const places = placesOf(fields);
  if (places.length === 0) {
    fields.push(...generateRequest(random));
    return;
  }
  const place = places[random.below(places.length)]!;
  const field = place.fields[place.index]!;
  switch (random.below(9)) {
    case 0:
      place.fields.splice(place.index, 1);
      break;
    case 1:
      place.fields.splice(place.index, 0, structuredCopy(field));
      break;
    case 2: {
      // Into another message, where it is mostly unknown.
      if (random.chance(0.5)) break;
      const other = places[random.below(places.length)]!;
      other.fields.splice(other.index, 0, structuredCopy(field));
      break;
    }
    case 3:
      if (field.kind !== 'raw') field.number = 1 + random.below(50);
      break;
    case 4:
      if (field.kind !== 'raw') field.padding = 1 + random.below(4);
      break;
    case 5:
      place.fields.splice(place.index, 0, raw(1 + random.below(40), 0, random.pick(EXTREME_VARINTS)));
      break;
    case 6:
      if (random.chance(0.5)) place.fields[place.index] = changedBytesOf(field, random);
      break;
    case 7:
      if (field.kind === 'leaf') field.bytes = otherContent(field.bytes, random);
      break;
    default:
      flipInNumber(fields, random);
  }
}

/** Bytes of another length that are text, and no id. */
function otherContent(bytes: Uint8Array, random: Random): Uint8Array {
  const length = random.chance(0.5) ? random.below(40) : bytes.length + random.below(3) - 1;
  return new Uint8Array(Math.max(0, length)).fill(random.chance(0.3) ? 0 : 32 + random.below(90));
}

/** Under a length that is right. */
function changedBytesOf(field: Field, random: Random): Field {
  if (field.kind === 'raw') return { kind: 'raw', bytes: changeBytes(field.bytes, random, otherBody) };
  const { kind, number, padding } = field;
  const bytes = kind === 'leaf' ? field.bytes : bytesOfFields(field.fields);
  return { kind: 'leaf', number, padding, bytes: changeBytes(bytes, random, otherBody) };
}

/** A bit of some number or group, but for its tag. */
function flipInNumber(fields: Field[], random: Random): void {
  const numbers = placesOf(fields).flatMap(({ fields: list, index }) => {
    const field = list[index]!;
    return field.kind === 'raw' && field.bytes.length > 1 ? [field] : [];
  });
  const number = numbers[random.below(numbers.length)];
  if (number === undefined) return;
  const bytes = Uint8Array.from(number.bytes);
  bytes[bytes.length - 1 - random.below(bytes.length - 1)]! ^= 1 << random.below(8);
  number.bytes = bytes;
}

function structuredCopy(field: Field): Field {
  return field.kind === 'message' ? { ...field, fields: field.fields.map(structuredCopy) } : { ...field };
}

/** @param other another text or body, a part of which may come in */
export function changeBytes(
  bytes: Uint8Array,
  random: Random,
  other: (random: Random) => Uint8Array,
): Uint8Array {
  const at = random.below(bytes.length + 1);
  const length = random.below(Math.min(bytes.length - at, 24) + 1);
  const part = bytes.subarray(at, at + length);
  const replaced = (most: number, inserted: ArrayLike<number>) => {
    const removed = Math.min(most, bytes.length - at);
    const changed = new Uint8Array(bytes.length - removed + inserted.length);
    changed.set(bytes.subarray(0, at));
    changed.set(inserted, at);
    changed.set(bytes.subarray(at + removed), at + inserted.length);
    return changed;
  };
  switch (random.below(9)) {
    case 0: {
      const flipped = Uint8Array.from(bytes);
      if (at < flipped.length) flipped[at]! ^= 1 << random.below(8);
      return flipped;
    }
    case 1:
      return replaced(
        0,
        Array.from({ length: 1 + random.below(4) }, () => random.below(256)),
      );
    case 2:
      return replaced(length, []);
    case 3:
      return replaced(0, part);
    case 4: {
      const whole = other(random);
      const from = random.below(whole.length + 1);
      return replaced(length, whole.subarray(from, from + random.below(80)));
    }
    case 5:
      return replaced(random.below(2), random.pick(EXTREME_VARINTS));
    case 6:
      return replaced(0, random.pick(INVALID_UTF8));
    case 7:
      return new Uint8Array(bytes.subarray(0, at));
    default: {
      // A length, as likely as anything else, off by little.
      const changed = Uint8Array.from(bytes);
      if (at < changed.length) changed[at] = (changed[at]! + (random.chance(0.5) ? 1 : 255)) & 0xff;
      return changed;
    }
  }
}
