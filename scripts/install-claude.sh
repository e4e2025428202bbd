#!/bin/sh
# Installs the claude CLI that the tests run against, outside the repository, once.
#
#   scripts/install-claude.sh [VERSION]
#
# Prints the path of the program. Without a registry it says so and fails; the tests then skip by name.
# TINYCLAW_TEST_CACHE moves the cache, by default ~/.cache/tinyclaw.
set -eu

# The version that crates/engine is tested with (PINNED_VERSION in engine.rs).
version="${1:-2.1.197}"
folder="${TINYCLAW_TEST_CACHE:-$HOME/.cache/tinyclaw}/claude/$version"
program="$folder/claude"

if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi
if ! command -v npm >/dev/null; then
    echo "install-claude: npm is not installed, so claude $version is not either" >&2
    exit 1
fi

# In a folder of its own first: a broken download leaves nothing that looks whole.
mkdir -p "$folder"
half="$(mktemp -d "$folder/half.XXXXXX")"
trap 'rm -rf "$half"' EXIT
if ! npm install --prefix "$half" --no-audit --no-fund --loglevel=error \
    "@anthropic-ai/claude-code@$version" >&2; then
    echo "install-claude: npm cannot fetch @anthropic-ai/claude-code@$version" >&2
    exit 1
fi

# The program itself lies in the package for this platform; no install script has to run.
found="$(find "$half/node_modules/@anthropic-ai" -path '*claude-code-*/claude' -type f | head -n 1)"
if [ -z "$found" ]; then
    echo "install-claude: no program for this platform in @anthropic-ai/claude-code@$version" >&2
    exit 1
fi
chmod +x "$found"
mv "$found" "$program"
echo "$program"
