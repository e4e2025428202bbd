# shellcheck shell=sh
# Read in by the scripts that build what images and packages have: `target` is the folder cargo builds in, and RUSTFLAGS make a
# static program in which no path of this machine stands, so that two folders give the same files.
target="${CARGO_TARGET_DIR:-$PWD/target}"
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=$target=/target --remap-path-prefix=$PWD=/tinyclaw --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
export RUSTFLAGS
