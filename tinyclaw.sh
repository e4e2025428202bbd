#!/bin/sh
# TinyClaw, from a shell.
#
#   ./tinyclaw.sh test            everything, as CI does it; installs what is missing where it can
#   ./tinyclaw.sh test quick      the inner loop: format, lints, tests without the slow ones
#   ./tinyclaw.sh test STAGE...   some stages only; `test stages` lists them
#   ./tinyclaw.sh help            this text
set -eu

here="$(cd "$(dirname "$0")" && pwd)"

verb_test() {
    exec "$here/scripts/test.sh" "$@"
}

verb_help() {
    # The usage is the comment above, so that there is one.
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$here/tinyclaw.sh"
}

verb="${1:-help}"
[ $# -eq 0 ] || shift
case "$verb" in
    test) verb_test "$@" ;;
    help | --help | -h) verb_help ;;
    *)
        echo "tinyclaw: there is no verb \"$verb\"" >&2
        echo "  → ./tinyclaw.sh help" >&2
        exit 2
        ;;
esac
