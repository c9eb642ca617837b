import { CLOSE_ARRAY, CLOSE_OBJECT, OPEN_ARRAY, OPEN_OBJECT } from './json-reader.ts';
import type { JsonReader } from './json-reader.ts';

/** Room for so many values within each other, to begin with; one bit each. */
const USUAL_DEPTH = 1024;

/** Steps over the next value, whatever it is. It may be as deep as its bytes allow: no level needs a call of its own. */
export function skipValue(reader: JsonReader): void {
  const around = new Around();
  do {
    if (reader.takes(OPEN_OBJECT)) {
      if (!reader.takes(CLOSE_OBJECT)) {
        around.enter(true);
        reader.skipName();
        continue;
      }
    } else if (reader.takes(OPEN_ARRAY)) {
      if (!reader.takes(CLOSE_ARRAY)) {
        around.enter(false);
        continue;
      }
    } else {
      reader.skipScalar();
    }
    while (around.depth > 0 && !goesOn(reader, around.isObject)) around.depth--;
  } while (around.depth > 0);
}

function goesOn(reader: JsonReader, isObject: boolean): boolean {
  if (!reader.continues(isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) return false;
  if (isObject) reader.skipName();
  return true;
}

/** Which values are around the next one: objects or arrays. */
class Around {
  depth = 0;
  #objects: Uint8Array | undefined;

  /** Whether the innermost is an object. */
  get isObject(): boolean {
    const at = this.depth - 1;
    return (this.#objects![at >>> 3]! & (1 << (at & 7))) !== 0;
  }

  enter(isObject: boolean): void {
    const at = this.depth >>> 3;
    const bit = 1 << (this.depth & 7);
    this.#objects ??= new Uint8Array(USUAL_DEPTH / 8);
    if (at === this.#objects.length) {
      const larger = new Uint8Array(2 * at);
      larger.set(this.#objects);
      this.#objects = larger;
    }
    if (isObject) this.#objects[at]! |= bit;
    else this.#objects[at]! &= ~bit;
    this.depth++;
  }
}
