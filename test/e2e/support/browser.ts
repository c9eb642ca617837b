export type Page = { url: string; status: number; body: string };
export type Browser = { open(url: string, init?: RequestInit): Promise<Page> };

type Cookie = { value: string; path: string };

/** A client that keeps cookies and follows redirects, as a browser does; it runs no scripts. */
export function startBrowser(): Browser {
  // By host, name and path; a browser shares them between the ports of a host.
  const jar = new Map<string, Cookie & { name: string; host: string }>();

  async function open(url: string, init: RequestInit = {}): Promise<Page> {
    let target = new URL(url);
    let request = init;
    for (let hops = 0; hops < 20; hops += 1) {
      const response = await fetch(target, {
        ...request,
        redirect: 'manual',
        headers: {
          accept: 'text/html',
          ...toObject(request.headers),
          cookie: cookiesFor(target),
          connection: 'close',
        },
      });
      keepCookies(target, response.headers.getSetCookie());
      const location = response.headers.get('location');
      const body = await response.text();
      if (location === null) return { url: target.href, status: response.status, body };
      target = new URL(location, target);
      request = {};
    }
    throw new Error(`too many redirects, the last to ${target.href}`);
  }

  function cookiesFor({ hostname, pathname }: URL): string {
    return [...jar.values()]
      .filter(({ host, path }) => host === hostname && pathname.startsWith(path))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  function keepCookies({ hostname }: URL, lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split(/;\s*/);
      const separator = pair.indexOf('=');
      const name = pair.slice(0, separator);
      const value = pair.slice(separator + 1);
      const path = attributes.find((text) => /^path=/i.test(text))?.slice('path='.length) ?? '/';
      const isOver = attributes.some((text) => {
        const [key = '', when = ''] = text.split('=');
        return /^expires$/i.test(key)
          ? Date.parse(when) < Date.now()
          : /^max-age$/i.test(key) && Number(when) <= 0;
      });
      const key = `${hostname} ${name} ${path}`;
      if (isOver) jar.delete(key);
      else jar.set(key, { host: hostname, name, value, path });
    }
  }

  return { open };
}

/** For `open`: what a form sends. */
export function postedForm(fields: Record<string, string>): RequestInit {
  return { method: 'POST', body: new URLSearchParams(fields) };
}

function toObject(headers: RequestInit['headers']): Record<string, string> {
  return Object.fromEntries(new Headers(headers ?? {}));
}
