"""What the scripts share: the control port and the words of the steps."""

import json
import os
import urllib.request

API = os.environ["API"]
TOKEN = os.environ["TOKEN"]
CHAT = int(os.environ["CHAT"])
ADA = 101
OK = "ok "


def control(do, **fields):
    body = json.dumps({"do": do, **fields}).encode()
    with urllib.request.urlopen(os.environ["CONTROL"], body) as answer:
        return json.loads(answer.read() or b"null")


def step(words, is_true=True):
    assert is_true, words
    print(OK + words, flush=True)


LONG = "x" * 4097
