#!/bin/sh
# TinyClaw, from a shell.
#
#   ./tinyclaw.sh demo [--web] [--no-claude | --claude] [--build]
#                                     a running office in this terminal, with nothing configured; Ctrl-C ends it. The real
#                                     claude answers where it is logged in, and costs; --no-claude never spends anything;
#                                     --web has a chat in the browser, and keeps and shows your Claude Code's hooks; in
#                                     another terminal it gives them to the demo that runs. Where this version was released
#                                     its programs are fetched and checked; --build compiles. With ENABLE_DEVBOX=1 in its
#                                     environment it has devboxes, and this machine can be one (docs/DEVBOX.md)
#
#   ./tinyclaw.sh setup [PART] [...]  ask for what an office needs, try it, and write it to .env: telegram, claude,
#                                     github, tunnel, office, or all in turn
#   ./tinyclaw.sh start               check what is needed, build, start the containers
#   ./tinyclaw.sh stop                stop them; messages wait
#   ./tinyclaw.sh restart [SERVICE]   bot, broker, dashboard or gateway; all of them without a name
#   ./tinyclaw.sh status              containers, memory, queue, and how each part stands
#   ./tinyclaw.sh logs [SERVICE]      follow the log lines
#   ./tinyclaw.sh doctor [--deep | --numbers] [--json]
#                                     what works, what does not, and what to do about it; or what it weighs
#   ./tinyclaw.sh send [--thread N] [--wait] TEXT
#                                     a message to a thread, as if typed in Telegram
#   ./tinyclaw.sh settings [...]      show or change settings
#   ./tinyclaw.sh token [...]         who may use the event bus: new, list, revoke, rotate
#
#   ./tinyclaw.sh install             start at boot, with systemd
#   ./tinyclaw.sh uninstall           no longer; data stays
#   ./tinyclaw.sh backup [FILE]       the state and Claude's sessions into one file, while running
#   ./tinyclaw.sh restore FILE [--overwrite]
#   ./tinyclaw.sh update              wait for running turns (TINYCLAW_UPDATE_WAIT seconds at most, 300), back up, replace,
#                                     check, and go back when it is bad
#
#   ./tinyclaw.sh test [quick | nightly | STAGE...]
#                                     check everything, as CI does; `test stages` lists them
#   ./tinyclaw.sh help                this text
#
# Exit codes: 0 done, 1 it went wrong (the reason and the way out are on stderr), 2 the command line was not understood.
# DOCKER_HOST and COMPOSE_PROJECT_NAME are honoured; everything else is in .env and settings.json (docs/SETTINGS.md).
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=scripts/tools.sh
. "$here/scripts/tools.sh"
# shellcheck source=scripts/containers.sh
. "$here/scripts/containers.sh"
# shellcheck source=scripts/released.sh
. "$here/scripts/released.sh"

# Also after a signal, which by itself would end this shell without a word.
trap on_end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

verb_demo() {
    if [ "$(uname -s)" != Linux ]; then
        fail "the demo needs Linux, for its file locks and notices" \
            "on macOS, in a container: docker run --rm -it -p 127.0.0.1:3100:3100 -v \"\$PWD:/src\" -w /src rust:1.95-bookworm ./tinyclaw.sh demo --listen 0.0.0.0"
    fi
    build=""
    for it in "$@"; do
        shift
        if [ "$it" = --build ]; then build=yes; else set -- "$@" "$it"; fi
    done
    if [ -z "$build" ] && released_programs; then exec "$found/tinyclaw" demo "$@"; fi
    have cargo || fail "cargo is missing" "install Rust from https://rustup.rs, then open a new shell"
    have cc || from_apt cc build-essential || fail "a C compiler is missing" "$advice"
    programs="${CARGO_TARGET_DIR:-$here/target}/demo"
    # Only what a demo starts and shows, and not optimised: the rest would take five times as long. The gateway keeps its
    # events in SQLite, and the dashboard's view of them reads it: both are built where they are asked for.
    more="--no-default-features"
    # So is the registry of devboxes (docs/DEVBOX.md).
    case "${ENABLE_DEVBOX:-}" in
        1 | [Tt]rue | [Yy]es | [Oo]n) more="$more --features tinyclaw-processor/devboxes" ;;
    esac
    for it in "$@"; do
        if [ "$it" = --web ]; then more="-p tinyclaw-gateway"; fi
    done
    case "$more" in
        *tinyclaw-gateway) last="tinyclaw-gateway" ;;
        *) last="tinyclaw" ;;
    esac
    [ -x "$programs/$last" ] || echo "building, which takes a minute or two the first time"
    # shellcheck disable=SC2086 # an option and its value
    (cd "$here" && cargo build --profile demo $more --bins \
        -p tinyclaw-cli -p tinyclaw-engine -p tinyclaw-processor -p tinyclaw-dashboard)
    exec "$programs/tinyclaw" demo "$@"
}

# The programs of this machine where they are built, else those of the images: Claude's CLI may be there only.
verb_setup() {
    if [ ! -e "$here/.env" ]; then (umask 077 && cp "$here/.env.example" "$here/.env"); fi
    program="$(built_program)"
    case "${1:-}" in
        "" | -* | claude) have claude || ! docker info >/dev/null 2>&1 || program="" ;;
    esac
    if [ -n "$program" ]; then
        exec "$program" setup --env "$here/.env" "$@"
    fi
    setup_in_container "$@"
}

verb_start() {
    check_all
    on_containers up --detach --build --remove-orphans
    wait_until_healthy bot || fail "the bot is not healthy" "./tinyclaw.sh logs bot"
    if has_gateway; then wait_until_healthy gateway || fail "the gateway is not healthy" "./tinyclaw.sh logs gateway"; fi
    echo "TinyClaw is up; the dashboard is at http://localhost:$(dashboard_port)"
    echo "  → ./tinyclaw.sh doctor says what is configured and what is not"
}

verb_stop() {
    need_docker
    on_containers stop --timeout 40
}

verb_restart() {
    need_docker
    on_containers restart --timeout 40 "$@"
}

verb_status() {
    need_docker
    on_containers ps
    ids="$(on_containers ps --quiet)"
    if [ -z "$ids" ]; then
        echo "nothing runs"
        echo "  → ./tinyclaw.sh start"
        return
    fi
    echo
    # shellcheck disable=SC2086 # one id a word
    docker stats --no-stream --format 'table {{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.PIDs}}' $ids
    echo
    in_bot tinyclaw queue ls || true
    echo
    # shellcheck disable=SC2119 # all of it
    verb_doctor || true
}

verb_logs() {
    need_docker
    on_containers logs --follow --tail 200 "$@"
}

# shellcheck disable=SC2120 # called by its name
verb_doctor() {
    # Docker cannot be asked from inside a container, so it is told what Docker says.
    what=health
    for it in "$@"; do [ "$it" != --numbers ] || what=numbers; done
    TINYCLAW_TAG="$(setting TINYCLAW_TAG latest)"
    export TINYCLAW_TAG
    if bot_is_up; then
        "$here/scripts/docker-facts.sh" "$what" | ask_bot exec tinyclaw doctor --docker-facts "$@"
    elif bot_is_built; then
        # Stopped, or falling over again and again: the same look from a container of its own.
        "$here/scripts/docker-facts.sh" "$what" | ask_bot run tinyclaw doctor --docker-facts "$@"
    else
        tinyclaw doctor "$@"
    fi
}

verb_send() {
    [ $# -gt 0 ] || misunderstood "send needs a text" './tinyclaw.sh send "hello"'
    tinyclaw send "$@"
}

verb_settings() {
    tinyclaw settings "$@"
}

verb_token() {
    tinyclaw token "$@"
}

verb_install() {
    check_all
    have systemctl || fail "systemd is not here" "./tinyclaw.sh start; the containers come back with Docker"
    on_containers build
    for old in tinyclaw-telegram tinyclaw-queue; do
        [ -e "/etc/systemd/system/$old.service" ] || continue
        echo "removing the old unit $old"
        as_root systemctl disable --now "$old.service" || true
        as_root rm -f "/etc/systemd/system/$old.service"
    done
    unit="$(mktemp -d)/tinyclaw.service"
    unit_text >"$unit"
    if have systemd-analyze; then systemd-analyze verify "$unit"; fi
    as_root install -m 0644 "$unit" /etc/systemd/system/tinyclaw.service
    rm -r "$(dirname "$unit")"
    as_root systemctl daemon-reload
    as_root systemctl enable --now tinyclaw.service
    systemctl --no-pager --lines 0 status tinyclaw.service
    wait_until_healthy bot || fail "the bot is not healthy" "./tinyclaw.sh logs bot"
    echo "TinyClaw is up, and starts at boot"
}

verb_uninstall() {
    need_docker
    unit=/etc/systemd/system/tinyclaw.service
    if have systemctl && [ -e "$unit" ]; then
        if grep -qxF "WorkingDirectory=$here" "$unit"; then
            as_root systemctl disable --now tinyclaw.service || true
            as_root rm -f "$unit"
            as_root systemctl daemon-reload
        else
            told warn "the unit tinyclaw.service is another checkout's, and stays" "grep WorkingDirectory $unit says whose"
        fi
    fi
    on_containers down --remove-orphans
    echo "TinyClaw is gone; what it knew stays in Docker's volumes"
    echo "  → to remove that too: $(compose_words) down --volumes"
}

verb_backup() {
    need_docker
    file="${1:-tinyclaw-$(date -u +%Y%m%dT%H%M%SZ).tar.gz}"
    [ ! -e "$file" ] || fail "$file is there already" "./tinyclaw.sh backup OTHER-NAME"
    folder="$(cd "$(dirname "$file")" 2>/dev/null && pwd)" || fail "the folder of $file is not there" "mkdir -p $(dirname "$file")"
    case "$folder/|$file" in
        "$here/"*"|"*.tar.gz) ;;
        # Images and commits leave out what is named like a backup, and take everything else along.
        "$here/"*) fail "$file would lie in the checkout without the name of a backup" "./tinyclaw.sh backup $file.tar.gz" ;;
    esac
    backup_to "$file"
    echo "$file ($(du -h "$file" | cut -f1)): the state and Claude's sessions. It holds no .env, no secrets/, and nothing of where desks work"
}

verb_restore() {
    [ $# -gt 0 ] || misunderstood "restore needs a file" "./tinyclaw.sh restore FILE"
    file="$1"
    [ -r "$file" ] || fail "$file cannot be read" "./tinyclaw.sh backup makes one"
    gzip --test "$file" || fail "$file is not whole" "take another backup"
    tar -tzf "$file" 2>/dev/null | grep -q '^app/\.tinyclaw/' || fail "$file is no backup of TinyClaw's" "./tinyclaw.sh backup makes one"
    check_all
    build_missing
    if [ "${2:-}" != --overwrite ] && ! volume_is_empty; then
        fail "there is a state already, and restoring replaces it" "./tinyclaw.sh restore $file --overwrite"
    fi
    restore_from "$file"
    on_containers up --detach --no-build
    wait_until_healthy bot || fail "the bot is not healthy" "./tinyclaw.sh logs bot"
    echo "restored from $file"
}

verb_update() {
    wait_max="$(setting TINYCLAW_UPDATE_WAIT 300)"
    case "$wait_max" in
        "" | *[!0-9]*) misunderstood "TINYCLAW_UPDATE_WAIT=$wait_max is no number of seconds" "TINYCLAW_UPDATE_WAIT=0 waits for nobody" ;;
    esac
    check_all
    file="tinyclaw-before-update-$(date -u +%Y%m%dT%H%M%SZ).tar.gz"
    tag="$(setting TINYCLAW_TAG latest)"
    keep_images "$tag" "$tag-previous"
    came_from=""
    if [ -e "$here/.git" ]; then came_from="$(git -C "$here" rev-parse HEAD)"; fi
    # From here on whatever ends this, a signal too, goes back.
    undo=images
    if [ -n "$came_from" ] && [ -z "${TINYCLAW_UPDATE_NO_PULL:-}" ]; then
        git -C "$here" pull --ff-only
    fi
    on_containers build || fail "the new one cannot be built" "the lines above say why; what runs is untouched"
    wait_for_turns "$wait_max"
    backup_to "$file"
    undo=containers
    # The bot gets SIGTERM and 40 s: running turns have 25 of them to end, and what does not is put back: its processes go with
    # the container, and the new one resumes it.
    on_containers up --detach --no-build --remove-orphans
    if wait_until_healthy bot && wait_until_healthy dashboard && { ! has_gateway || wait_until_healthy gateway; }; then
        undo=""
        echo "updated; the backup from before is $file"
        return
    fi
    echo "the new one is not healthy: going back" >&2
    on_containers logs --tail 50 >&2 || true
    go_back
    wait_until_healthy bot || fail "the old one is not healthy either" "./tinyclaw.sh restore $file --overwrite"
    fail "the update was bad and is undone" "the log lines above say why"
}

verb_test() {
    exec "$here/scripts/test.sh" "$@"
}

verb_help() {
    # The usage is the comment above, so that there is one.
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$here/tinyclaw.sh"
}

# fail WHAT WAY-OUT: every failure has its arrow.
fail() {
    printf 'tinyclaw: %s\n  → %s\n' "$1" "$2" >&2
    exit 1
}

misunderstood() {
    printf 'tinyclaw: %s\n  → %s\n' "$1" "$2" >&2
    exit 2
}

verb="${1:-help}"
[ $# -eq 0 ] || shift
case "$verb" in
    demo | setup | start | stop | restart | status | logs | doctor | send | settings | token) "verb_$verb" "$@" ;;
    install | uninstall | backup | restore | update | test | help) "verb_$verb" "$@" ;;
    --help | -h) verb_help ;;
    *) misunderstood "there is no verb \"$verb\"" "./tinyclaw.sh help" ;;
esac
