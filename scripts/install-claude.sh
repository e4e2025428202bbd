#!/bin/sh
# Installs a claude CLI that the tests run against, outside the repository, once.
#
#   scripts/install-claude.sh               the pinned version
#   scripts/install-claude.sh VERSION       another one that scripts/claude.pins has
#   scripts/install-claude.sh --any VERSION one that it has not: npm's own check is all there is
#
# Prints the path of the program. A package whose sha256 is not the committed one is refused, and nothing is installed.
# Without a registry it says so and fails; the tests then skip by name.
# TINYCLAW_TEST_CACHE moves the cache, by default ~/.cache/tinyclaw.
set -eu

pins="$(dirname "$0")/claude.pins"

is_any=""
if [ "${1:-}" = --any ]; then
    is_any=yes
    shift
fi
version="${1:-$(sed -n 's/^pinned //p' "$pins")}"
# It becomes a path and a package's name.
case "$version" in
    "" | *[!0-9A-Za-z.-]* | [!0-9]*)
        echo "install-claude: \"$version\" is not a version; say one such as $(sed -n 's/^pinned //p' "$pins")" >&2
        exit 2
        ;;
esac
folder="${TINYCLAW_TEST_CACHE:-$HOME/.cache/tinyclaw}/claude/$version"
program="$folder/claude"

if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi

case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    *)
        echo "install-claude: there is no claude for $(uname -s) on $(uname -m) in scripts/claude.pins" >&2
        exit 1
        ;;
esac
# musl's ldd says so, and fails at it.
if ldd --version 2>&1 | grep -qi musl; then platform="$platform-musl"; fi
package="@anthropic-ai/claude-code-$platform@$version"
wanted="$(sed -n "s/^$version $platform //p" "$pins")"
if [ -z "$wanted" ] && [ -z "$is_any" ]; then
    echo "install-claude: scripts/claude.pins has no sha256 of $package" >&2
    echo "  → scripts/bump-claude.sh $version, or scripts/install-claude.sh --any $version" >&2
    exit 1
fi
if ! command -v npm >/dev/null; then
    echo "install-claude: npm is not installed, so claude $version is not either" >&2
    exit 1
fi

# In a folder of its own first: a broken or foreign download leaves nothing that looks whole.
mkdir -p "$folder"
half="$(mktemp -d "$folder/half.XXXXXX")"
trap 'rm -rf "$half"; rmdir "$folder" 2>/dev/null || true' EXIT
# The program lies in the package for its platform. Packed, nothing of it runs.
if ! npm pack --silent --pack-destination "$half" "$package" >/dev/null 2>"$half/why"; then
    sed 's/^/  /' "$half/why" >&2
    echo "install-claude: npm cannot fetch $package" >&2
    exit 1
fi
archive="$(find "$half" -name '*.tgz' | head -n 1)"
got="$(sha256sum "$archive" | cut -d ' ' -f 1)"
if [ -n "$wanted" ] && [ "$got" != "$wanted" ]; then
    echo "install-claude: $package is not the one that was tested; nothing is installed" >&2
    echo "  its sha256 is $got" >&2
    echo "  and must be   $wanted (scripts/claude.pins)" >&2
    exit 1
fi
if ! tar -xzf "$archive" -C "$half" package/claude || [ ! -f "$half/package/claude" ]; then
    echo "install-claude: there is no program in $package" >&2
    exit 1
fi
chmod +x "$half/package/claude"
mv "$half/package/claude" "$program"
echo "$program"
