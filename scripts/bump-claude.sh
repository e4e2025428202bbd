#!/bin/sh
# Moves the pin of the claude CLI: what the image installs, the tests run against, and `doctor` calls tested.
#
#   scripts/bump-claude.sh VERSION
#
# Writes the version and npm's sha512 of each platform's package into scripts/claude.pins and PINNED_VERSION, fetches the
# one for this machine and checks it, records anew what that version speaks, shows what changed of it, and runs the tests
# that need the real CLI. What is committed then, a person decides.
set -eu

cd "$(dirname "$0")/.."
version="${1:-}"
case "$version" in
    "" | *[!0-9.]*)
        echo "usage: scripts/bump-claude.sh VERSION, such as $(sed -n 's/^pinned //p' scripts/claude.pins)" >&2
        exit 2
        ;;
esac
command -v npm >/dev/null || {
    echo "bump-claude: npm is missing, and with it the registry" >&2
    exit 1
}

pins=scripts/claude.pins
inventory=crates/engine/tests/wire-inventory.txt
before="$(sed -n 's/^pinned //p' "$pins")"
oldest="$(sed -n 's/^oldest //p' "$pins")"
new="$(mktemp)"
trap 'rm -f "$new"' EXIT

{
    grep '^#' "$pins"
    echo "pinned $version"
    echo "oldest $oldest"
    for platform in linux-x64 linux-arm64 linux-x64-musl linux-arm64-musl; do
        integrity="$(npm view "@anthropic-ai/claude-code-$platform@$version" dist.integrity)"
        case "$integrity" in
            sha512-*) ;;
            *)
                echo "bump-claude: the registry has no sha512 of claude $version for $platform" >&2
                exit 1
                ;;
        esac
        # npm writes it in base64, sha512sum in hexadecimal.
        echo "$version $platform $(echo "${integrity#sha512-}" | base64 --decode | od -An -v -tx1 | tr -d ' \n')"
    done
    if [ "$version" != "$oldest" ]; then grep "^$oldest " "$pins"; fi
} >"$new"
cp "$new" "$pins"
sed -i "s/^pub const PINNED_VERSION: &str = \".*\";/pub const PINNED_VERSION: \&str = \"$version\";/" crates/engine/src/engine.rs
scripts/install-claude.sh "$version"

echo "== what $version speaks otherwise than $before"
UPDATE_EXPECT=1 cargo nextest run --package tinyclaw-engine --profile real real_claude_speaks_as_recorded
git --no-pager diff --no-color -- "$inventory"

echo "== the tests that need the real CLI"
cargo build --workspace --bins
cargo nextest run --workspace --profile real -E 'test(/(^|::)real_claude_/)'
echo "bump-claude: $before is now $version; look at the diff above, then commit"
