// A web app whose bundle holds no token. Its backend has one that may do everything its users may, and gives each page what
// lives for a minute only: a page begins a job through it, and reads the answer from the gateway itself, by a ticket.
//
//   TINYCLAW_URL=http://127.0.0.1:3200 TINYCLAW_TOKEN=tc_… PORT=8080 node server.mjs
//
// The page's origin has to stand in ALLOWED_ORIGINS of the gateway. Who may use this app at all is yours to ask: here whoever
// reaches it may.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const { TINYCLAW_URL: url, TINYCLAW_TOKEN: token, PORT: port = "8080" } = process.env;
if (!url || !token) throw new Error("set TINYCLAW_URL and TINYCLAW_TOKEN");
/** So long a prompt may be. */
const PROMPT_BYTES_MAX = 64 * 1024;

/** Asks the gateway with the backend's own token. A ticket is good for the page that it was asked for. */
async function ask(path, body, origin) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", prefer: "respond-async" };
  const answer = await fetch(url + path, { method: "POST", headers: origin ? { ...headers, origin } : headers, body: JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.detail), { status: answer.status });
  return told;
}

async function body(request) {
  let text = "";
  for await (const part of request) {
    text += part;
    if (text.length > PROMPT_BYTES_MAX) throw Object.assign(new Error("the prompt is too long"), { status: 413 });
  }
  return JSON.parse(text);
}

const server = createServer(async (request, response) => {
  const tell = (status, told) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(told));
  };
  try {
    if (request.method === "GET" && request.url === "/") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      return response.end(await readFile(new URL("page.html", import.meta.url)));
    }
    if (request.method !== "POST" || request.url !== "/ask") return tell(404, { error: "there is nothing here" });
    // Another page's script may not have this backend ask in its user's name.
    const origin = `http://${request.headers.host}`;
    if (request.headers.origin !== origin) return tell(403, { error: "that page may not ask" });
    const { prompt, sessionId } = await body(request);
    const { jobId, sessionId: session } = await ask("/api/execute", { env: "dev", prompt, sessionId });
    const path = `/api/jobs/${jobId}/stream`;
    const { ticket } = await ask("/tickets", { path }, origin);
    tell(200, { stream: `${url}${path}?ticket=${ticket}`, sessionId: session });
  } catch (error) {
    tell(error.status ?? 502, { error: error.message });
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
