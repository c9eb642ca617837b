import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MASKED, SecretMask } from '../../src/masking/secret-mask.ts';
import { FORMS, JWT, forms, formEncoded, maskOf, secret } from './forms.ts';

/** Words around it that can be a part of none. */
const around = fc.string({ unit: fc.constantFrom('\u0391', '\u0392', '.\n'), maxLength: 40 });

describe('any secret in any text', () => {
  test('leaves nothing of itself, in whatever form it comes back', () => {
    fc.assert(
      fc.property(secret, forms, around, around, (value, form, before, behind) => {
        // What has no form of its own as a URI is sent in none.
        fc.pre(value.isWellFormed() && !/[\u0391\u0392\n]/.test(value));
        const masked = maskOf(value).text(before + FORMS[form]!(value) + behind);
        expect(masked).toBe(before + MASKED + behind);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is masked in binary too, with all lengths as they were', async () => {
    await fc.assert(
      fc.asyncProperty(secret, fc.uint8Array({ maxLength: 50 }), async (value, bytes) => {
        fc.pre(value.isWellFormed());
        const body = Buffer.concat([bytes, Buffer.from(value), bytes]);
        const masked = await maskOf(value).bytes(body, { keepsLength: true });
        expect(masked.length).toBe(body.length);
        expect(masked.includes(value)).toBe(false);
      }),
    );
  });

  test('leaves nothing of a piece of 16 bytes or more either', () => {
    const cut = fc
      .tuple(fc.string({ unit: 'binary-ascii', minLength: 17, maxLength: 200 }), fc.nat(), fc.nat())
      .map(([value, a, b]) => {
        const from = a % (value.length - 16);
        return { value, piece: value.slice(from, from + 16 + (b % (value.length - from - 15))) };
      });
    fc.assert(
      fc.property(cut, forms, around, ({ value, piece }, form, before) => {
        // What looks like an escape may stand for less.
        fc.pre(!/[\n%\\&+]/.test(value));
        const masked = maskOf(value).text(`${before}${FORMS[form]!(piece)}\u0391…`);
        expect(masked).toBe(`${before}${MASKED}\u0391…`);
      }),
      { numRuns: 1_000 },
    );
  });

  test('and a text without any stays what it is', () => {
    const others = fc.array(fc.string({ unit: fc.constantFrom(...'abcdefgh%+\\&;'), minLength: 6 }));
    const text = fc.string({ unit: fc.constantFrom(...'XYZ0123456789"{}[],: %2B\\u0041&amp;+é\ud800') });
    fc.assert(
      fc.property(others, text, (secrets, words) => {
        fc.pre(!secrets.some((each) => words.includes(each)));
        expect(maskOf(...secrets).text(words)).toBe(words);
      }),
    );
  });
});

describe('an access token', () => {
  const mask = maskOf(JWT);
  const [head = '', payload = '', signature = ''] = JWT.split('.');

  test.each([
    ['a header', `Authorization: Bearer ${JWT}`, `Authorization: Bearer ${MASKED}`],
    ['its payload', `claims ${payload}, bad`, `claims ${MASKED}, bad`],
    ['its signature', `sig=${signature}`, `sig=${MASKED}`],
    ['its signature alone, begun', `${signature.slice(0, 30)}…`, `${MASKED}…`],
    ['its beginning', `token ${JWT.slice(0, 16)}… is not taken`, `token ${MASKED}… is not taken`],
    ['twice', `${JWT},${head}.${payload}`, `${MASKED},${MASKED}`],
    ['too little of it to be of use', `${JWT.slice(0, 15)}…`, `${JWT.slice(0, 15)}…`],
  ])('in %s', (_, text, masked) => {
    expect(mask.text(text)).toBe(masked);
  });
});

describe('a client secret', () => {
  const value = 'p&ss wörd+%41/"';
  const credentials = Buffer.from(`relay:${formEncoded(value)}`).toString('base64');
  const mask = new SecretMask();
  mask.addHeaders({ authorization: `Basic ${credentials}` });

  test.each([
    ['as Basic sends it', `Authorization: Basic ${credentials}`, `Authorization: Basic ${MASKED}`],
    ['without its scheme', `got ${credentials}`, `got ${MASKED}`],
    ['decoded', `relay:${formEncoded(value)}`, `relay:${MASKED}`],
    ['as it is', `no client relay with ${value}`, `no client relay with ${MASKED}`],
  ])('%s', (_, text, masked) => {
    expect(mask.text(text)).toBe(masked);
  });

  test('in a form is found by its parameter, and a refresh token, a password and a code too', () => {
    const parameters = {
      client_secret: 'the client secret',
      refresh_token: 'a refresh token',
      password: 'a password',
      device_code: 'a device code',
      token: 'what is revoked',
      client_assertion: 'an assertion',
      client_id: 'no secret at all',
    };
    const form = new URLSearchParams(parameters);
    const secrets = new SecretMask();
    secrets.addForm(form);
    expect(decodeURIComponent(secrets.text(form.toString()))).toBe(
      'client_secret=[secret]&refresh_token=[secret]&password=[secret]&device_code=[secret]&token=[secret]&client_assertion=[secret]&client_id=no+secret+at+all',
    );
  });
});

test('a secret of less than six characters is none: half of all words would be gone', () => {
  expect(maskOf('token').text('the access token is not taken')).toBe('the access token is not taken');
  expect(maskOf('tokens').text('the access tokens are not taken')).toBe(`the access ${MASKED} are not taken`);
});

test('the last eight secrets are masked', () => {
  const secrets = Array.from({ length: 9 }, (_, at) => `secret number ${at}`);
  const mask = maskOf(...secrets, secrets[1]!);
  const left = secrets.filter((each) => mask.text(each) === each);
  expect(left).toEqual(['secret number 0']);
});

test('what only looks like an escape is no fault', () => {
  const words = `&toString;&constructor;&amp&;&#;&#x;&#x110000;&#99999999;&#xd800;%4%zz\\u12\\x4\\`;
  expect(maskOf('a secret').text(`${words} &#x0061;&#32;secret`)).toBe(`${words} ${MASKED}`);
});

test('JSON stays JSON', async () => {
  const value = 'wörd "in" quotes\\';
  const body = Buffer.from(JSON.stringify({ error_code: 'X', message: `no ${value}!`, list: [value] }));
  expect(JSON.parse((await maskOf(value).bytes(body)).toString())).toEqual({
    error_code: 'X',
    message: `no ${MASKED}!`,
    list: [MASKED],
  });
});

test('no character is cut in half', () => {
  // Of the first one the second byte is the same as that of é, of the last one the first.
  const value = `é${'x'.repeat(20)}é`;
  expect(maskOf(value).text(`ũ${'x'.repeat(20)}ê`)).toBe(MASKED);
});
