#!/bin/sh
# Builds the helper, tinyclaw-leash, as images and packages have it: static and small, so that any machine of this
# architecture can be given it. Prints the file. No path of this machine goes into it.
set -eu

cd "$(dirname "$0")/.."
host="$(rustc --print host-tuple)"
target="${CARGO_TARGET_DIR:-$PWD/target}"
# What is said of the helper to programs that bring it is nothing to the helper itself.
unset TINYCLAW_HELPER
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=$target=/target --remap-path-prefix=$PWD=/tinyclaw --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --profile helper --target "$host" -p tinyclaw-engine --bin tinyclaw-leash --locked --quiet >&2
realpath "$target/$host/helper/tinyclaw-leash"
