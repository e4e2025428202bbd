#!/usr/bin/env bash
# After `tofu apply`: waits until the new machine has set itself up, gives it the secrets that are in the environment, and waits until its
# office is healthy. What went wrong is shown, and is no success.
#
#   CLAUDE_OAUTH_TOKEN=… TELEGRAM_BOT_TOKEN=… deploy/tofu/first-answer.sh root@pai-prod
#
# A secret goes through ssh's stdin: it is no argument of anything. One that is not set stays as it is there. FIRST_ANSWER_PATIENCE is how
# many seconds the whole may take, 600 by default.
set -euo pipefail

machine="${1:?which machine? first-answer.sh root@pai-prod}"
until_at=$((SECONDS + ${FIRST_ANSWER_PATIENCE:-600}))

there() {
    # A machine that was replaced has another key; the tailnet vouches for its name.
    ssh -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$machine" "$@"
}

# ssh itself ends with 255 when there is no connection.
said=""
while :; do
    code=0
    said="$(there cloud-init status --long </dev/null 2>&1)" || code=$?
    case "$said" in
        *"status: done"* | *"status: error"* | *"status: degraded"*) break ;;
    esac
    if [ "$SECONDS" -ge "$until_at" ]; then
        echo "$machine did not set itself up in time; it said last: ${said:-nothing}"
        exit 1
    fi
    sleep "${FIRST_ANSWER_PAUSE:-5}"
done
if [ "$code" != 0 ]; then
    echo "cloud-init ended with $code; what it says, and what /var/log/pai-setup.log ends with:"
    there cloud-init status --format json </dev/null | grep -A 20 -E '"(recoverable_)?errors"' || echo "$said"
    there tail -n 30 /var/log/pai-setup.log </dev/null || true
    exit 1
fi
if [ -n "${CLAUDE_OAUTH_TOKEN:-}" ]; then printf '%s' "$CLAUDE_OAUTH_TOKEN" | there tinyclaw secrets set claude-oauth-token -; fi
if [ -n "${TELEGRAM_BOT_TOKEN:-}" ]; then printf '%s' "$TELEGRAM_BOT_TOKEN" | there tinyclaw secrets set telegram-bot-token -; fi
until there curl --silent --fail --max-time 10 http://127.0.0.1:7777/health </dev/null; do
    if [ "$SECONDS" -ge "$until_at" ]; then
        echo "the office of $machine is not healthy; /var/log/pai-setup.log ends with:"
        there tail -n 30 /var/log/pai-setup.log </dev/null || true
        exit 1
    fi
    sleep "${FIRST_ANSWER_PAUSE:-5}"
done
