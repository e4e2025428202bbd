#!/bin/sh
# Writes the install.sh of a release into its folder: with the version of VERSION there, the sums of SHA256SUMS there, and the
# place TINYCLAW_RELEASE_BASE.
set -eu

cd "$(dirname "$0")/.."
out="${1:?which folder? scripts/release-install.sh FOLDER}"
awk -v version="$(cat "$out/VERSION")" -v base="${TINYCLAW_RELEASE_BASE:-}" -v sums="$(cat "$out/SHA256SUMS")" '
    /^    released=""$/ { print "    released=\"" version "\""; next }
    /^    base=""$/ { print "    base=\"" base "\""; next }
    /^    sums=""$/ { print "    sums=\"" sums "\""; next }
    { print }' install.sh >"$out/install.sh"
