// What the page asks of the server: JSON, raw slices, and changes one after the other.
export class Refused extends Error {}

async function checked(response) {
  if (response.ok) return response;
  let text = `${response.status} ${response.statusText}`;
  try { text = (await response.json()).error || text; } catch { /* not JSON */ }
  throw new Refused(text);
}

export const casePath = name => `/api/cases/${encodeURIComponent(name)}`;

export async function getJson(path) {
  return (await checked(await fetch(path))).json();
}

export async function getBytes(path) {
  const response = await checked(await fetch(path));
  return { buffer: await response.arrayBuffer(), headers: response.headers };
}

let last = Promise.resolve();

/** Changes reach the server in the order in which they were made. */
export function post(path, body = {}) {
  const next = last.then(async () => {
    const response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    return (await checked(response)).json();
  });
  last = next.catch(() => undefined);
  return next;
}

/** Until every change so far has reached the server. */
export const settled = () => last;
