#!/bin/sh
# Builds every program of an office, static, as the images and packages have them, and prints the folder they are in. The
# helper comes first, smaller than the rest of them (scripts/helper.sh), and whoever brings it to other machines is built with
# its size and hash.
#
#   scripts/static-programs.sh [PACKAGE...]       of these packages only, where some are named, and without the helper
set -eu

cd "$(dirname "$0")/.."
# Another machine's, when one is named.
host="${TINYCLAW_TARGET:-$(rustc --print host-tuple)}"
# shellcheck source=scripts/static-flags.sh
. scripts/static-flags.sh
which="--workspace --exclude tinyclaw-e2e --exclude tinyclaw-tidy"
helper=""
if [ $# -gt 0 ]; then
    which="$(printf -- '--package %s ' "$@")"
else
    helper="$(scripts/helper.sh)"
    TINYCLAW_HELPER="$(wc -c <"$helper") $(sha256sum "$helper" | cut -c 1-64)"
    export TINYCLAW_HELPER
fi
# shellcheck disable=SC2086 # options and their values
CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --release --locked --target "$host" --bins --quiet $which >&2
# In place of what the same sources were made to with all the others.
[ -z "$helper" ] || cp --remove-destination "$helper" "$target/$host/release/tinyclaw-leash"
echo "$target/$host/release"
