#!/bin/sh
# Moves the pin of the claude CLI: what the image installs, the tests run against, and `doctor` calls tested.
#
#   scripts/bump-claude.sh VERSION
#
# Fetches each platform's package, which npm checks by the registry's own sum, and writes the version and the sha256 of each into
# scripts/claude.pins and PINNED_VERSION. A version that is pinned there already must have the sums that it had. Then it
# installs the one for this machine, records anew what that version speaks, shows what changed of it (flags, hook events,
# kinds of lines and requests, fields), and runs the tests that need the real CLI. What is committed then, a person decides.
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

# It names another program for the tests.
unset TINYCLAW_TEST_CLAUDE
pins=scripts/claude.pins
inventory=crates/engine/tests/wire-inventory.txt
before="$(sed -n 's/^pinned //p' "$pins")"
oldest="$(sed -n 's/^oldest //p' "$pins")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

grep '^#' "$pins" >"$work/pins"
echo "pinned $version" >>"$work/pins"
echo "oldest $oldest" >>"$work/pins"
for platform in linux-x64 linux-arm64 linux-x64-musl linux-arm64-musl; do
    package="@anthropic-ai/claude-code-$platform@$version"
    echo "fetching $package"
    if ! npm pack --silent --pack-destination "$work" "$package" >/dev/null 2>"$work/why"; then
        sed 's/^/  /' "$work/why" >&2
        echo "bump-claude: npm cannot fetch $package" >&2
        exit 1
    fi
    archive="$(find "$work" -name '*.tgz')"
    sum="$(sha256sum "$archive" | cut -d ' ' -f 1)"
    rm "$archive"
    known="$(sed -n "s/^$version $platform //p" "$pins")"
    if [ -n "$known" ] && [ "$sum" != "$known" ]; then
        echo "bump-claude: $package is not the one that $pins knows" >&2
        echo "  its sha256 is $sum" >&2
        echo "  and must be   $known" >&2
        exit 1
    fi
    echo "$version $platform $sum" >>"$work/pins"
done
if [ "$version" != "$oldest" ]; then grep "^$oldest " "$pins" >>"$work/pins"; fi
cp "$work/pins" "$pins"
sed -i "s/^pub const PINNED_VERSION: &str = \".*\";/pub const PINNED_VERSION: \&str = \"$version\";/" crates/engine/src/engine.rs
scripts/install-claude.sh "$version"

echo "== what $version speaks otherwise than $before"
UPDATE_EXPECT=1 cargo nextest run --package tinyclaw-engine --profile real real_claude_speaks_as_recorded
git --no-pager diff --no-color -- "$inventory"

echo "== the tests that need the real CLI"
cargo build --workspace --bins
cargo nextest run --workspace --profile real -E 'test(/(^|::)real_claude_/)'
echo "bump-claude: $before is now $version; look at the diff above, then commit"
