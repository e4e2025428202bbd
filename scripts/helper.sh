#!/bin/sh
# Builds the helper, tinyclaw-leash, as images and packages have it: static and small, so that any machine of this
# architecture can be given it. Prints the file.
set -eu

cd "$(dirname "$0")/.."
# Another machine's, when one is named.
host="${TINYCLAW_TARGET:-$(rustc --print host-tuple)}"
# shellcheck source=scripts/static-flags.sh
. scripts/static-flags.sh
# What is said of the helper to programs that bring it is nothing to the helper itself.
unset TINYCLAW_HELPER
cargo build --profile helper --target "$host" -p tinyclaw-engine --bin tinyclaw-leash --locked --quiet >&2
realpath "$target/$host/helper/tinyclaw-leash"
