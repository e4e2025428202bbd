"""OpenAI's own client against a gateway: URL, TOKEN. Says "all of it" at the end."""

import os

import openai

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0)


def said(text):
    return [{"role": "user", "content": text}]


assert "dev/auto" in [it.id for it in client.models.list()]

whole = client.chat.completions.with_raw_response.create(model="dev/sonnet", messages=said("[demo: say It is green.]"))
session = whole.headers["x-session-id"]
answer = whole.parse()
assert answer.choices[0].message.content == "It is green.", answer
assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens > 0, answer

# As a stream, in the same session.
words = " ".join(f"word{n}" for n in range(60))
stream = client.chat.completions.create(
    model="dev/auto",
    messages=said(f"[demo: slow 1s] [demo: say {words}]"),
    stream=True,
    stream_options={"include_usage": True},
    extra_headers={"X-Session-Id": session},
)
text, ends, usage = [], [], None
for chunk in stream:
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text.append(choice.delta.content or "")
        ends.append(choice.finish_reason)
assert "".join(text) == words, text
assert len([it for it in text if it]) > 1, "it came in one piece"
assert [it for it in ends if it] == ["stop"] and usage.completion_tokens > 0, (ends, usage)

# What is refused has the class and the code that this client knows.
try:
    client.chat.completions.create(model="nowhere/auto", messages=said("x"))
    raise AssertionError("it was not refused")
except openai.NotFoundError as refused:
    assert refused.code == "unknown_env", refused
try:
    client.with_options(api_key="tc_bad_token").models.list()
    raise AssertionError("a stranger was let in")
except openai.AuthenticationError as refused:
    assert refused.code == "bad_token", refused
print("all of it")
