// The client against a real gateway: `node --test`, with TINYCLAW_CLIENT (the compiled client), TINYCLAW_URL, TINYCLAW_TOKEN.
import assert from "node:assert/strict";
import test from "node:test";

const { TinyClaw, Refused, configure, apiRequest, executePrompt } = await import(
  process.env.TINYCLAW_CLIENT
);
const url = process.env.TINYCLAW_URL;
const token = process.env.TINYCLAW_TOKEN;
const client = configure({ url, token });

/** A fetch whose answers break off after so many bytes. */
function cutting(bytes) {
  let cuts = 0;
  const send = async (input, init) => {
    const response = await fetch(input, init);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
    let left = bytes;
    const cut = new TransformStream({
      transform(chunk, out) {
        if (chunk.length < left) {
          left -= chunk.length;
          out.enqueue(chunk);
          return;
        }
        out.enqueue(chunk.subarray(0, left));
        cuts += 1;
        out.error(new Error("cut"));
      },
    });
    return new Response(response.body.pipeThrough(cut), response);
  };
  return { send, count: () => cuts };
}

test("a prompt is answered as front ends know it", async () => {
  const told = await executePrompt("dev", "[demo: say hello from here]");
  assert.equal(told.success, true);
  assert.equal(told.output, "hello from here");
  assert.equal(told.json_output, undefined);
  const json = await executePrompt("dev", "[demo: say as an object]", true);
  assert.equal(JSON.parse(json.json_output).result, "as an object");
  const again = await executePrompt("dev", "[demo: say in the same session]", false, told.sessionId);
  assert.equal(again.sessionId, told.sessionId);
});

test("a refusal is thrown with its text and its code", async () => {
  await assert.rejects(executePrompt("nowhere", "hello"), (error) => {
    assert(error instanceof Refused);
    assert.equal(error.status, 404);
    assert.equal(error.code, "unknown_env");
    assert.match(error.message, /nowhere/);
    return true;
  });
  const stranger = new TinyClaw({ url, token: "tc_x_y" });
  await assert.rejects(stranger.envs(), { status: 401 });
  await assert.rejects(apiRequest("/api/nothing"), { status: 404 });
});

test("a job's story is whole however often it is cut", async () => {
  const { send, count } = cutting(900);
  const poor = new TinyClaw({ url, token: async () => token, fetch: send });
  const words = Array.from({ length: 60 }, (_, n) => `word${n}`).join(" ");
  const { jobId, sessionId } = await poor.startJob("dev", `[demo: say ${words}]`);
  let text = "";
  let result;
  for await (const line of poor.streamJob(jobId)) {
    if (line.type === "text.done") text += line.text;
    if (line.type === "result") result = line.result;
  }
  assert.equal(text, words);
  assert.equal(result.output, words);
  assert(count() > 0, "it was never cut");
  const job = await client.job(jobId);
  assert.deepEqual([job.state, job.sessionId], ["done", sessionId]);
  const listed = await client.jobs({ env: "dev", limit: 10 });
  assert(listed.jobs.some((it) => it.id === jobId));
});

test("a job is stopped, and the same key is the same job", async () => {
  const key = `key-${process.pid}`;
  const one = await client.startJob("dev", "[demo: hang]", { key });
  const two = await client.startJob("dev", "[demo: hang]", { key });
  assert.equal(one.jobId, two.jobId);
  for await (const line of client.streamJob(one.jobId)) {
    if (line.type === "begun") await client.cancelJob(one.jobId);
    if (line.type === "result") assert.equal(line.result.success, false);
  }
  assert.equal((await client.job(one.jobId)).state, "stopped");
});

test("sessions, environments and containers are told", async () => {
  const session = await client.beginSession("dev", "Notes");
  assert.equal(session.name, "Notes");
  const told = await client.executePrompt("dev", "[demo: say noted]", false, session.id);
  assert.equal(told.sessionId, session.id);
  assert((await client.sessions("dev")).some((it) => it.id === session.id));
  assert.deepEqual((await client.envs()).map((it) => it.env), ["dev"]);
  for (const it of [await client.container("dev"), await client.startContainer("dev")]) {
    assert.deepEqual([it.exists, it.running, it.isolation], [true, true, "none"]);
  }
});

test("events are heard in their order and without holes however often the stream is cut", async () => {
  const { send, count } = cutting(5_000);
  const poor = new TinyClaw({ url, token, fetch: send });
  const [first] = await client.tell({ type: "test.first", source: "ts" });
  const told = Array.from({ length: 100 }, (_, n) => ({ type: "test.n", source: "ts", metadata: { n } }));
  const heard = [];
  const all = (async () => {
    for await (const it of poor.events({ source: "ts", after: first })) {
      heard.push(it.metadata.n);
      if (heard.length === told.length) return;
    }
  })();
  await client.tell(...told.slice(0, 50));
  await client.tell(...told.slice(50));
  await all;
  assert.deepEqual(heard, told.map((it) => it.metadata.n));
  assert(count() > 1, "it was never cut");
  const stopped = await new Promise((resolve) => {
    const stop = client.onEvents((it) => resolve([it.id, stop()]), { source: "ts", after: first });
  });
  assert.match(stopped[0], /^evt_/);
});
