// TinyClaw's gateway for TypeScript: prompts, jobs, sessions, containers and events, in one file without dependencies.
//
// `apiRequest` and `executePrompt` have the shape that front ends know. A prompt is a job: it goes on when the page is
// closed, and `streamJob` finds the rest of it. Streams come back where they were cut. The token of a page must be
// short-lived, or stay with its backend: whatever is built into a bundle is public.

export type Environment = string;

export interface Options {
  /** Where the gateway is, such as `http://127.0.0.1:3200`. */
  url: string;
  /** A token, or who is asked for one before each request. */
  token?: string | (() => string | Promise<string>);
  /** In place of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface ClaudeCodeResult {
  success: boolean;
  output?: string;
  error?: string;
  code?: string;
  /** With `jsonOutput`: the result object, as text. */
  json_output?: string;
  jobId?: string;
  sessionId?: string;
  state?: JobState;
  model?: string;
  costUsd?: number;
  durationMs?: number;
  isolation?: string;
}

export type JobState =
  | "queued"
  | "running"
  | "asking"
  | "done"
  | "failed"
  | "stopped"
  | "cancelled"
  | "dead";

export interface Job {
  id: string;
  env: Environment;
  sessionId: string;
  state: JobState;
  [more: string]: unknown;
}

/** A line of a job's story; the last one is `result`. */
export type JobLine =
  | { type: "result"; result: ClaudeCodeResult }
  | { type: "queued"; position: number }
  | { type: "text"; text: string }
  | { type: "text.done"; text: string }
  | { type: "void" }
  | { type: "restart"; attempt: number }
  | { type: "tool"; id: string; name: string; detail?: string }
  | { type: "tool.done"; id: string; failed: boolean; ms: number }
  | { type: "ask"; requestId: string; tool: string; input: unknown }
  | { type: "ask.closed"; requestId: string }
  | { type: "begun" | "trouble" | "end" | "gap"; [more: string]: unknown };

export interface Session {
  id: string;
  env: Environment;
  name: string | null;
  createdAt: number;
  lastActive?: number | null;
  model?: string | null;
  claudeSessionId?: string | null;
}

export interface Container {
  exists: boolean;
  running: boolean;
  name: string;
  paused: boolean;
  isolation: string;
  turns: number;
}

export interface NewEvent {
  type: string;
  timestamp?: string | number;
  metadata?: Record<string, unknown>;
  id?: string;
  source?: string;
  session?: string;
  subject?: string;
}

export interface BusEvent {
  id: string;
  type: string;
  timestamp: string;
  metadata: Record<string, unknown>;
  source: string;
  session?: string;
  subject?: string;
  receivedAt: number;
  redacted: number;
}

/** Events that are no longer kept, or were never of this database. */
export interface Gap {
  from: string;
  to: string;
  count: number | null;
  reason: "retention" | "epoch" | "future";
}

export interface Wanted {
  type?: string;
  source?: string;
  session?: string;
  subject?: string;
  /** The place after which to begin: an event's id, or what a page calls `next`. */
  after?: string;
  since?: string;
  signal?: AbortSignal;
}

/** A refusal. Its message is the answer's text. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    text: string,
    /** In ms, where it was said. */
    readonly retryAfter?: number,
  ) {
    super(text);
    this.name = "Refused";
  }

  /** What it is called, such as `unknown_env`. */
  get code(): string | undefined {
    try {
      return (JSON.parse(this.message) as { code?: string }).code;
    } catch {
      return undefined;
    }
  }
}

/** So long is waited before a stream that was cut is opened again, when nothing was said. */
const RETRY_MS = 1_000;
/** And so long at most, while it cannot be. */
const RETRY_MS_MAX = 30_000;

export class TinyClaw {
  private readonly url: string;
  private readonly token: Options["token"];
  private readonly send: typeof fetch;

  constructor(options: Options) {
    this.url = options.url.replace(/\/+$/, "");
    this.token = options.token;
    this.send = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** JSON of a path. Whatever is no 2xx is thrown, with its text. */
  async apiRequest<T>(path: string, options?: RequestInit): Promise<T> {
    const response = await this.request(path, options);
    return (await response.json()) as T;
  }

  /** A prompt, and what came of it, however long it takes. */
  async executePrompt(
    env: Environment,
    prompt: string,
    jsonOutput = false,
    sessionId?: string,
  ): Promise<ClaudeCodeResult> {
    const body = JSON.stringify({ env, prompt, jsonOutput, sessionId });
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const first = await this.apiRequest<ClaudeCodeResult>("/api/execute", {
      method: "POST",
      headers,
      body,
    });
    if (first.code !== "still_running" || !first.jobId) return first;
    return await this.result(first.jobId);
  }

  /** Begins a job, and does not wait for it. The same `key` again is the same job. */
  async startJob(
    env: Environment,
    prompt: string,
    more: { sessionId?: string; model?: string; deadlineS?: number; jsonOutput?: boolean; key?: string } = {},
  ): Promise<{ jobId: string; sessionId: string }> {
    const { key = crypto.randomUUID(), ...rest } = more;
    return await this.apiRequest("/api/execute", {
      method: "POST",
      headers: { Prefer: "respond-async", "Idempotency-Key": key },
      body: JSON.stringify({ env, prompt, ...rest }),
    });
  }

  /**
   * The story of a job, line by line, from its beginning or from where it is by now. It ends with `result`, and comes back
   * by itself where it was cut.
   */
  async *streamJob(id: string, signal?: AbortSignal): AsyncGenerator<JobLine, void> {
    const path = `/api/jobs/${encodeURIComponent(id)}/stream`;
    for await (const { data } of this.frames(path, undefined, signal)) {
      const line = JSON.parse(data) as JobLine;
      yield line;
      if (line.type === "result") return;
    }
  }

  /** What came of a job, when it is over. */
  async result(id: string, signal?: AbortSignal): Promise<ClaudeCodeResult> {
    for await (const line of this.streamJob(id, signal)) {
      if (line.type === "result") return line.result;
    }
    throw new Error(`the stream of job ${id} ended without a result`);
  }

  job(id: string): Promise<Job> {
    return this.apiRequest(`/api/jobs/${encodeURIComponent(id)}`);
  }

  async jobs(
    wanted: { env?: Environment; state?: JobState; limit?: number; after?: string } = {},
  ): Promise<{ jobs: Job[]; next: string | null }> {
    return await this.apiRequest(`/api/jobs${query(wanted)}`);
  }

  cancelJob(id: string): Promise<Job> {
    return this.apiRequest(`/api/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  }

  /** Answers a question of `ask`. */
  answer(
    id: string,
    requestId: string,
    answer: "allow" | "always" | "deny",
    note?: string,
  ): Promise<unknown> {
    const path = `/api/jobs/${encodeURIComponent(id)}/permissions/${encodeURIComponent(requestId)}`;
    return this.apiRequest(path, { method: "POST", body: JSON.stringify({ answer, note }) });
  }

  beginSession(env: Environment, name?: string): Promise<Session> {
    return this.apiRequest("/api/sessions", {
      method: "POST",
      body: JSON.stringify({ env, name }),
    });
  }

  async sessions(env: Environment): Promise<Session[]> {
    const told = await this.apiRequest<{ sessions: Session[] }>(
      `/api/sessions/${encodeURIComponent(env)}`,
    );
    return told.sessions;
  }

  async envs(): Promise<{ env: Environment; isolation: string; available: boolean; turns: number }[]> {
    const told = await this.apiRequest<{
      envs: { env: Environment; isolation: string; available: boolean; turns: number }[];
    }>("/api/envs");
    return told.envs;
  }

  container(env: Environment): Promise<Container> {
    return this.apiRequest(`/api/containers/${encodeURIComponent(env)}`);
  }

  startContainer(env: Environment): Promise<Container> {
    return this.apiRequest(`/api/containers/${encodeURIComponent(env)}/start`, { method: "POST" });
  }

  stopContainer(env: Environment, force = false): Promise<Container> {
    const path = `/api/containers/${encodeURIComponent(env)}/stop${force ? "?force=1" : ""}`;
    return this.apiRequest(path, { method: "POST" });
  }

  /** Tells events. They are on disk when this returns; one with an id that is known already is the same event. */
  async tell(...events: NewEvent[]): Promise<string[]> {
    const told = await this.apiRequest<{ events: { eventId: string }[] }>("/events", {
      method: "POST",
      body: JSON.stringify(events),
    });
    return told.events.map((it) => it.eventId);
  }

  /**
   * Events as they come, in their order and without holes, also over a restart of the gateway. `onGap` hears of those that
   * are no longer kept.
   */
  async *events(
    wanted: Wanted = {},
    onGap?: (gap: Gap) => void,
  ): AsyncGenerator<BusEvent, void> {
    const { signal, after, ...filter } = wanted;
    for await (const frame of this.frames(`/events${query(filter)}`, after, signal)) {
      if (frame.event === "gap") onGap?.(JSON.parse(frame.data) as Gap);
      else yield JSON.parse(frame.data) as BusEvent;
    }
  }

  /** Calls `listener` with each event. The answer ends it. */
  onEvents(listener: (event: BusEvent) => void, wanted: Wanted = {}): () => void {
    const stop = new AbortController();
    const signal = wanted.signal ? AbortSignal.any([wanted.signal, stop.signal]) : stop.signal;
    void (async () => {
      for await (const it of this.events({ ...wanted, signal })) listener(it);
    })().catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return () => stop.abort();
  }

  private async request(path: string, options: RequestInit = {}): Promise<Response> {
    const headers = new Headers(options.headers);
    const token = typeof this.token === "function" ? await this.token() : this.token;
    if (token && !headers.has("Authorization")) headers.set("Authorization", `Bearer ${token}`);
    if (options.body && !headers.has("Content-Type")) headers.set("Content-Type", "application/json");
    const response = await this.send(`${this.url}${path}`, { ...options, headers });
    if (response.ok) return response;
    const after = Number(response.headers.get("Retry-After"));
    throw new Refused(response.status, await response.text(), after > 0 ? after * 1000 : undefined);
  }

  /** The frames of a stream, which is opened again behind the last one whenever it is cut. */
  private async *frames(path: string, after?: string, signal?: AbortSignal): AsyncGenerator<Frame, void> {
    let last = after;
    let retry = RETRY_MS;
    let failures = 0;
    while (!signal?.aborted) {
      try {
        const headers: Record<string, string> = { Accept: "text/event-stream" };
        if (last) headers["Last-Event-ID"] = last.replace(/^evt_/, "");
        const response = await this.request(path, signal ? { headers, signal } : { headers });
        // It was told to its end already.
        if (response.status === 204 || !response.body) return;
        for await (const frame of parsed(response.body)) {
          failures = 0;
          if (frame.id !== undefined) last = frame.id;
          if (frame.retry !== undefined) retry = frame.retry;
          if (frame.data !== "") yield frame;
        }
      } catch (error) {
        if (signal?.aborted) return;
        // A refusal stays one, but for those that pass.
        const passes = !(error instanceof Refused) || error.status === 429 || error.status >= 500;
        if (!passes) throw error;
        failures += 1;
        const told = error instanceof Refused ? error.retryAfter : undefined;
        await pause(told ?? Math.min(retry * 2 ** (failures - 1), RETRY_MS_MAX), signal);
        continue;
      }
      await pause(retry, signal);
    }
  }
}

interface Frame {
  id?: string;
  event?: string;
  retry?: number;
  data: string;
}

/** Server-sent events, as the HTML standard reads them. */
async function* parsed(body: ReadableStream<Uint8Array>): AsyncGenerator<Frame, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let frame: Frame = { data: "" };
  let lines: string[] = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      for (;;) {
        const end = /\r\n|\n|\r(?!$)/.exec(rest);
        if (!end) break;
        const line = rest.slice(0, end.index);
        rest = rest.slice(end.index + end[0].length);
        if (line === "") {
          frame.data = lines.join("\n");
          if (lines.length > 0 || frame.retry !== undefined) yield frame;
          frame = { data: "" };
          lines = [];
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") lines.push(text);
        else if (name === "id" && !text.includes("\0")) frame.id = text;
        else if (name === "event") frame.event = text;
        else if (name === "retry" && /^\d+$/.test(text)) frame.retry = Number(text);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function query(wanted: object): string {
  const pairs = Object.entries(wanted).filter((it) => it[1] !== undefined);
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text === "" ? "" : `?${text}`;
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

let standing: TinyClaw | undefined;

/** Says once where the gateway is, for `apiRequest` and `executePrompt`. */
export function configure(options: Options): TinyClaw {
  standing = new TinyClaw(options);
  return standing;
}

function configured(): TinyClaw {
  if (!standing) throw new Error("say first where the gateway is: configure({ url, token })");
  return standing;
}

export function apiRequest<T>(path: string, options?: RequestInit): Promise<T> {
  return configured().apiRequest<T>(path, options);
}

export function executePrompt(
  env: Environment,
  prompt: string,
  jsonOutput = false,
  sessionId?: string,
): Promise<ClaudeCodeResult> {
  return configured().executePrompt(env, prompt, jsonOutput, sessionId);
}
