# shellcheck shell=sh
# Claims about the machine that this runs in: each is said with how it went. Read in by the scenarios; does nothing by itself.

log=/tmp/holds
failures="${TINYCLAW_FAILURES:-/out/failures}"

# holds CLAIM COMMAND...
holds() {
    claim="$1"
    shift
    if "$@" >"$log" 2>&1; then
        echo "  ok: $claim"
    else
        echo "  FAILED: $claim"
        tail -n 12 "$log" | cut -c1-300 | sed 's/^/      /'
        echo "$claim" >>"$failures"
    fi
}

# within SECONDS COMMAND...: tries again and again.
within() {
    until_at="$(($(date +%s) + $1))"
    shift
    until "$@" >"$log.last" 2>&1; do
        [ "$(date +%s)" -lt "$until_at" ] || { cat "$log.last"; return 1; }
        sleep 0.1
    done
}

fails() {
    ! "$@"
}

# ms COMMAND...: sets `ms` to how long it took.
# shellcheck disable=SC2034 # whoever reads this in reads it
ms() {
    began="$(date +%s%N)"
    "$@"
    ms="$((($(date +%s%N) - began) / 1000000))"
}

# said WORD COMMAND...: its output has the word.
said() {
    word="$1"
    shift
    "$@" >/tmp/said 2>&1 || true
    grep -F -- "$word" /tmp/said || { cat /tmp/said; return 1; }
}

answered() {
    tinyclaw send --wait --timeout 60 "say it back: $1" | grep -F -- "$1"
}
