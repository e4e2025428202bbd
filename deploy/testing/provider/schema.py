"""Writes schema.json anew: what the provider of DigitalOcean knows of the resources that deploy/tofu has.

    npm pack @cdktf/provider-digitalocean@13.14.1 && tar -xzf cdktf-*.tgz && schema.py package >schema.json

The package is made from the provider's own schema; its sources, which lie in its source maps, say of each field whether it is
required, optional or computed, and of what type. What they do not say: which change makes a new resource. That stands below.
"""

import base64
import json
import re
import sys

RESOURCES = ["droplet", "volume", "volume-attachment", "firewall", "project"]
# From the provider's documentation: "changing this forces a new resource".
REPLACED = {
    "droplet": ["image", "region", "ssh_keys", "user_data", "vpc_uuid"],
    "volume": ["name", "region", "initial_filesystem_type", "initial_filesystem_label", "description", "snapshot_id", "filesystem_type"],
    "volume_attachment": ["droplet_id", "volume_id"],
    "firewall": [],
    "project": [],
}
TYPES = {"String": '"string"', "Number": '"number"', "Boolean": '"bool"', "StringMap": '["map","string"]', "NumberMap": '["map","number"]'}


def fields(body: str, classes: dict) -> dict:
    """The fields of one class, each with its flags and its type."""
    found = {}
    for name, flags, rest in re.findall(r"\n  // (\w+) - (computed: \w+, optional: \w+, required: \w+)(.*?)(?=\n  // \w+ - computed|\Z)", body, re.S):
        flag = {k: v == "true" for k, v in re.findall(r"(\w+): (\w+)", flags)}
        getter = re.search(r"return (?:cdktf\.Token\.asNumberList\()?(cdktf\.Fn\.tolist\()?this\.get(\w+)Attribute\(", rest)
        inner = re.search(r"new (\w+?)(List|OutputReference|Map)\(this, \"\w+\"(?:, (true|false))?", rest)
        if getter and getter[2] in TYPES:
            kind = TYPES[getter[2]]
        elif getter and getter[2] in ("List", "NumberList"):
            of = "number" if getter[2] == "NumberList" else "string"
            kind = json.dumps(["set" if getter[1] else "list", of], separators=(",", ":"))
        elif inner:
            nested = fields(classes[inner[1] + "OutputReference"], classes)
            found[name] = {**flag, "nested": nested, "nesting": nesting(name, inner)}
            continue
        else:
            sys.exit(f"{name}: of what type?\n{rest[:300]}")
        found[name] = {**flag, "type": json.loads(kind)}
    return found


def nesting(name: str, inner: re.Match) -> str:
    """How often it may stand there. A block that stands once is a list of one, as the provider's library writes it; timeouts are not."""
    if inner[2] == "OutputReference":
        return "single" if name == "timeouts" else "list"
    return "list" if inner[3] == "false" else "set"


def main() -> None:
    package = sys.argv[1]
    known = {}
    for it in RESOURCES:
        with open(f"{package}/lib/{it}/index.js", encoding="utf-8") as file:
            text = file.read()
        encoded = re.search(r"sourceMappingURL=data:application/json;base64,([A-Za-z0-9+/=]+)", text)
        source = json.loads(base64.b64decode(encoded[1]))["sourcesContent"][0]
        classes = {name: body for name, body in re.findall(r"\nexport class (\w+) extends [^\n]*\{(.*?)(?=\nexport |\Z)", source, re.S)}
        (own,) = [name for name in classes if name.lower() == it.replace("-", "")]
        known[f"digitalocean_{it.replace('-', '_')}"] = {"replaced": REPLACED[it.replace("-", "_")], "fields": fields(classes[own], classes),
            "blocks": sorted(re.findall(r"\n      (\w+): \{\n        value: [^\n]*\n        isBlock: true", source))}
    json.dump(known, sys.stdout, indent=1, sort_keys=True)
    print()


main()
