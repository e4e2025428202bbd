// OpenAI's own client for TypeScript against a gateway: URL, TOKEN. Says "all of it" at the end.
import OpenAI from "openai";

declare const process: { env: Record<string, string | undefined>; exit(code: number): never };

const { URL: url = "", TOKEN: token = "" } = process.env;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });

function check(is: boolean, words: unknown): void {
  if (is) return;
  console.log("wrong:", words);
  process.exit(1);
}
const said = (content: string) => [{ role: "user" as const, content }];

const models: string[] = [];
for await (const it of client.models.list()) models.push(it.id);
check(models.includes("dev/auto"), models);

const { data: answer, response } = await client.chat.completions
  .create({ model: "dev/sonnet", messages: said("[demo: say It is green.]") })
  .withResponse();
check(answer.choices[0]?.message.content === "It is green.", answer);
const session = response.headers.get("x-session-id") ?? "";

// As a stream, in the same session.
const words = Array.from({ length: 60 }, (_, n) => `word${n}`).join(" ");
const stream = await client.chat.completions.create(
  { model: "dev/auto", messages: said(`[demo: slow 1s] [demo: say ${words}]`), stream: true, stream_options: { include_usage: true } },
  { headers: { "X-Session-Id": session } },
);
let text = "";
let pieces = 0;
let total = 0;
const ends: string[] = [];
for await (const chunk of stream) {
  total = chunk.usage?.total_tokens ?? total;
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? "";
    pieces += choice.delta.content ? 1 : 0;
    if (choice.finish_reason) ends.push(choice.finish_reason);
  }
}
check(text === words && pieces > 1, [pieces, text]);
check(ends.join() === "stop" && total > 0, [ends, total]);

// What is refused has the class and the code that this client knows.
const refusal = await client.chat.completions.create({ model: "nowhere/auto", messages: said("x") }).catch((it: unknown) => it);
check(refusal instanceof OpenAI.NotFoundError && refusal.code === "unknown_env", refusal);
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "tc_bad_token", maxRetries: 0 });
const denied = await stranger.chat.completions.create({ model: "dev/auto", messages: said("x") }).catch((it: unknown) => it);
check(denied instanceof OpenAI.AuthenticationError, denied);
console.log("all of it");
process.exit(0);
