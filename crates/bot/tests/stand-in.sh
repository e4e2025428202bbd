#!/bin/sh
# Plays a service for the tests of tinyclaw-bot, which may import no service: it says how it is, and ends as it is told.
# The name it is called by says which service; STAND_IN_TELEGRAM and STAND_IN_PROCESSOR say how it behaves.
set -eu

service="$(basename "$0")"
service="${service#tinyclaw-}"
case "$service" in
    telegram) behaviour="${STAND_IN_TELEGRAM:-well}" ;;
    *) behaviour="${STAND_IN_PROCESSOR:-well}" ;;
esac
folder="$TINYCLAW_DIR"

# say READY WHY PID AT
say() {
    printf '{"service":"%s","version":"1","pid":%s,"startedAt":1,"at":%s,"alive":true,"ready":%s,"why":[%s],"numbers":{"turnsTotal":5}}' \
        "$service" "$3" "$4" "$1" "$2" >"$folder/health/$service.half"
    mv "$folder/health/$service.half" "$folder/health/$service.json"
}

stopped() {
    echo "$service was told to stop" >>"$folder/$service.stopped"
    exit 0
}

env | cut -d= -f1 | sort >"$folder/$service.variables"
# Far ahead, so that a loaded machine cannot make it look silent.
now=99999999999999
trap stopped TERM
# Ctrl-C reaches a whole group; the bot is the one to decide.
trap '' INT
case "$behaviour" in
    well) say true "" $$ $now ;;
    idle) say false '"set TELEGRAM_BOT_TOKEN"' $$ $now ;;
    # What an earlier process said, a moment ago.
    late) say true "" 1 $now ;;
    dies) exit 3 ;;
    deaf)
        trap '' TERM
        say true "" $$ $now
        ;;
    parent)
        # The child ends at once, and what it leaves behind becomes the bot's to collect.
        : >"$folder/hold"
        sh -c 'while [ -e "$0/hold" ]; do sleep 0.05; done >/dev/null & echo $!' "$folder" >"$folder/orphan.pid"
        say true "" $$ $now
        ;;
esac
# Waits in pieces, because a shell hears a signal only between two commands.
while [ -e "$folder" ]; do sleep 0.05; done
