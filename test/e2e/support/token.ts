/** An access token by the client credentials grant (RFC 6749 section 4.4), as any client would get it. */
export async function requestToken(
  tokenUrl: string,
  { clientId, secret }: { clientId: string; secret: string },
): Promise<string> {
  const response = await fetch(tokenUrl, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`,
      // Not on a connection that an issuer which was stopped has closed.
      connection: 'close',
    },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const { access_token: token } = (await response.json()) as { access_token?: string };
  if (token === undefined) throw new Error(`no token for ${clientId}: ${response.status}`);
  return token;
}
