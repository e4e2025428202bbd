# shellcheck shell=sh
# shellcheck disable=SC2154 # `here` comes from whoever reads this in
# The containers, for tinyclaw.sh: which compose there is, what a start needs, and the volume's copies. Read in by it;
# does nothing by itself. `here` is the repository, `fail WHAT WAY-OUT` ends with an error.

# The user of the broker's container (broker/Dockerfile): the only one who may read the App's key.
broker_uid=10002
# How long a start may take until it is healthy.
healthy_max=60

# Finds compose once, v2 or v1, and puts its words into `compose`.
find_compose() {
    [ -z "${compose:-}" ] || return 0
    if docker compose version >/dev/null 2>&1; then
        compose="docker compose"
    elif have docker-compose; then
        compose="docker-compose"
    else
        return 1
    fi
}

compose_words() {
    find_compose && echo "$compose"
}

# on_containers WORDS...: compose, on our file. What is not in every office is built and started where it is wanted, and
# stopped, seen and removed wherever it runs.
on_containers() {
    profiles="$(setting COMPOSE_PROFILES "")"
    case "$1" in
        up | build) if [ -f "$here/secrets/tunnel-token" ]; then profiles="$profiles,tunnel"; fi ;;
        *) profiles="$profiles,tunnel,gateway" ;;
    esac
    # Docker before 23 builds with BuildKit only when told to.
    # shellcheck disable=SC2086 # `compose` is one word or two
    (cd "$here" && COMPOSE_PROFILES="$profiles" DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1 $compose "$@")
}

# The event bus is part of this office.
has_gateway() {
    case ",$(setting COMPOSE_PROFILES "")," in *,gateway,*) return 0 ;; esac
    return 1
}

need_docker() {
    have docker || fail "Docker is missing" \
        "sudo apt-get install docker.io docker-compose, or https://docs.docker.com/engine/install"
    find_compose || fail "Docker Compose is missing" "sudo apt-get install docker-compose, or docker-compose-plugin"
    docker info >/dev/null 2>&1 || fail "Docker does not answer" \
        "sudo systemctl start docker; and sudo usermod -aG docker \$USER, then log in again"
}

# What a start needs. Every missing thing is told, each with the command that mends it; then it ends if one is fatal.
check_all() {
    need_docker
    fatal=0
    if [ ! -e "$here/.env" ]; then
        (umask 077 && cp "$here/.env.example" "$here/.env")
        told warn ".env was not there and is now, from .env.example: nothing is configured" "edit .env, then ./tinyclaw.sh start"
    fi
    # Other users of this machine have no business in it.
    [ -z "$(find "$here/.env" -perm /077)" ] || told warn ".env may be read by others" "chmod 600 .env"
    check_names
    mkdir -p "$here/secrets"
    chmod 711 "$here/secrets"
    check_key
    [ ! -d "$here/secrets/tunnel-token" ] || told warn "secrets/tunnel-token is a folder: Docker made it when the token was not there" \
        "rmdir secrets/tunnel-token, then ./tinyclaw.sh setup tunnel"
    check_port "$(dashboard_port)" dashboard TINYCLAW_DASHBOARD_PORT
    check_port "$(setting TINYCLAW_HEALTH_PORT 7777)" bot TINYCLAW_HEALTH_PORT
    ! has_gateway || check_port "$(gateway_port)" gateway TINYCLAW_GATEWAY_PORT
    check_hosts
    check_volume
    [ "$fatal" = 0 ] || exit 1
}

# told LEVEL WHAT [WAY-OUT]
told() {
    printf '%-5s %s\n' "$1" "$2" >&2
    [ -z "${3:-}" ] || printf '      → %s\n' "$3" >&2
    [ "$1" != fail ] || fatal=1
}

# What stands in .env and is given to no container: somebody relies on it, and it does nothing.
check_names() {
    unread="$(sed -n 's/^ *\(export \)\{0,1\} *\([A-Za-z_][A-Za-z0-9_]*\)=..*/\2/p' "$here/.env" | while read -r name; do
        case "$name" in COMPOSE_* | DOCKER_* | BUILDKIT_* | TINYCLAW_UPDATE_WAIT) continue ;; esac
        grep -qE "^ +(- )?$name(:|=|\$)|[$][{]?$name([^A-Za-z0-9_]|\$)" "$here"/docker-compose*.yml || printf ' %s' "$name"
    done)"
    [ -z "$unread" ] || told warn "in .env, and read by no container:$unread" \
        "docs/SETTINGS.md has the names, and those that a container decides by itself"
}

# The App's key: there when an App is named, and the broker's alone. A downloaded one is everybody's; that is mended here.
check_key() {
    key="$here/secrets/github-app.pem"
    if [ -d "$key" ]; then
        told fail "secrets/github-app.pem is a folder: Docker made it when the key was not there" \
            "rmdir secrets/github-app.pem, then copy the key there"
    elif [ ! -e "$key" ]; then
        app="$(sed -n 's/^GITHUB_APP_ID=//p' "$here/.env")"
        [ -z "$app" ] || told warn "GITHUB_APP_ID is set and secrets/github-app.pem is missing: no GitHub" \
            "download the App's private key and move it there"
    elif [ "$(stat -c '%u %a' "$key")" != "$broker_uid 600" ]; then
        if give_key 2>/dev/null; then
            told ok "secrets/github-app.pem belongs to the broker alone now"
        else
            told fail "secrets/github-app.pem must belong to the broker alone" \
                "sudo chown $broker_uid secrets/github-app.pem && sudo chmod 600 secrets/github-app.pem"
        fi
    fi
}

give_key() {
    if [ "$(id -u)" = 0 ]; then
        chown "$broker_uid" "$key" && chmod 600 "$key"
    else
        as_root chown "$broker_uid" "$key" && as_root chmod 600 "$key"
    fi
}

# check_port PORT SERVICE VARIABLE: free, or ours already.
check_port() {
    if ! have ss || ! ss -Hltn "sport = :$1" | grep -q .; then return 0; fi
    [ -z "$(on_containers ps --quiet "$2" 2>/dev/null)" ] || return 0
    told fail "port $1, for the $2, is taken" "put $3=OTHER into .env, or end what listens: ss -ltnp sport = :$1"
}

dashboard_port() {
    setting TINYCLAW_DASHBOARD_PORT 3100
}

gateway_port() {
    setting TINYCLAW_GATEWAY_PORT 3200
}

# In its container the dashboard listens on 3100 and knows no other port of this machine's.
check_hosts() {
    port="$(dashboard_port)"
    [ "$port" != 3100 ] || return 0
    case "$(setting DASHBOARD_HOSTS "")," in *":$port"[!0-9]*) return 0 ;; esac
    told warn "the dashboard refuses http://localhost:$port, unless its names have that port" \
        "put DASHBOARD_HOSTS=localhost:$port,127.0.0.1:$port into .env, beside the names that stand there"
}

# A volume that was made by something else belongs to root, and the bot can write nothing.
check_volume() {
    docker volume inspect "$(volume tinyclaw-data)" >/dev/null 2>&1 || return 0
    docker image inspect "$(image bot)" >/dev/null 2>&1 || return 0
    owner="$(as_keeper stat -c %u /app/.tinyclaw)"
    [ "$owner" = 10001 ] || told fail "the volume $(volume tinyclaw-data) belongs to user $owner, not to the bot's 10001" \
        "docker run --rm --user 0 -v $(volume tinyclaw-data):/v --entrypoint chown $(image bot) -R 10001:10001 /v"
}

# The name that compose gives a volume of ours.
volume() {
    project="$(setting COMPOSE_PROJECT_NAME "$(basename "$here" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-')")"
    echo "${project}_$1"
}

# setting NAME DEFAULT: as compose takes it, from the environment, else from .env.
setting() {
    value="$(printenv "$1" || true)"
    if [ -z "$value" ] && [ -r "$here/.env" ]; then
        value="$(sed -n "s/^ *\(export \)\{0,1\} *$1=//p" "$here/.env" | tail -n 1 \
            | sed "s/[[:space:]]\{1,\}#.*//; s/[[:space:]]*\$//; s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/")"
    fi
    echo "${value:-$2}"
}

image() {
    echo "tinyclaw-$1:$(setting TINYCLAW_TAG latest)"
}

# Builds when an image of ours is not there.
build_missing() {
    gateway=""
    if has_gateway; then gateway=gateway; fi
    for it in bot broker dashboard $gateway; do
        docker image inspect "$(image "$it")" >/dev/null 2>&1 && continue
        echo "building the images; the first time takes some minutes"
        on_containers build
        return
    done
}

# wait_until_healthy SERVICE
wait_until_healthy() {
    tries=0
    while [ "$tries" -lt "$healthy_max" ]; do
        id="$(on_containers ps --quiet "$1")"
        health="$(docker inspect --format '{{.State.Health.Status}}' "$id" 2>/dev/null || true)"
        [ "$health" != healthy ] || return 0
        tries=$((tries + 1))
        sleep 1
    done
    return 1
}

# running_turns: how many messages the bot works on at this moment; a turn that waits for a person is one of them.
running_turns() {
    if bot_is_up; then in_bot find /app/.tinyclaw/progress -name '*.json' 2>/dev/null | grep -c . || true; else echo 0; fi
}

# wait_for_turns SECONDS: until no turn runs, or so long. A container takes its processes with it, so a turn that is cut off by
# its end has to begin once more; people notice nothing of one that was waited for.
wait_for_turns() {
    left="$1"
    told=""
    while turns="$(running_turns)" && [ "$turns" -gt 0 ]; do
        if [ "$left" -le 0 ]; then
            echo "$turns running: what does not end within 25 s is resumed after the update, with a word about it"
            return
        fi
        [ -n "$told" ] || echo "waiting up to $left s for what runs ($turns); TINYCLAW_UPDATE_WAIT=0 does not"
        told=yes
        left=$((left - 1))
        sleep 1
    done
}

in_bot() {
    on_containers exec -T --user 10001 bot "$@"
}

# ask_bot exec|run WORDS...: in the bot's container, or in one of its own that is like it, knowing what only the other
# services were told.
ask_bot() {
    how="$1"
    shift
    set -- bot "$@"
    for name in GITHUB_APP_ID DASHBOARD_HOSTS CF_ACCESS_TEAM CF_ACCESS_AUD; do
        value="$(sed -n "s/^$name=//p" "$here/.env" 2>/dev/null | tail -n 1)"
        [ -z "$value" ] || set -- -e "$name=$value" "$@"
    done
    case "$how" in
        exec) on_containers exec -T --user 10001 "$@" ;;
        run) on_containers run --rm -T --no-deps --user 10001 "$@" ;;
    esac
}

bot_runs() {
    have docker && find_compose && [ -n "$(on_containers ps --quiet bot 2>/dev/null)" ]
}

# The bot's container runs, and is not just coming up again after a fall.
bot_is_up() {
    bot_runs && [ "$(docker inspect --format '{{.State.Status}}' "$(on_containers ps --quiet bot)")" = running ]
}

# There is an image, and a volume that a start has made.
bot_is_built() {
    have docker && find_compose && docker image inspect "$(image bot)" >/dev/null 2>&1 \
        && docker volume inspect "$(volume tinyclaw-data)" >/dev/null 2>&1
}

# tinyclaw WORDS...: the program in the bot's container, else the one on this machine.
tinyclaw() {
    if bot_runs; then
        in_bot tinyclaw "$@"
        return
    fi
    for it in "$here/target/release/tinyclaw" "$here/target/debug/tinyclaw" "$here/target/demo/tinyclaw" "$(command -v tinyclaw || true)"; do
        if [ -x "$it" ]; then
            "$it" "$@"
            return
        fi
    done
    fail "there is neither a running container nor a tinyclaw program" "./tinyclaw.sh start, or cargo build --release -p tinyclaw-cli"
}

# The tinyclaw program that was built here, with the services that setup asks beside it.
built_program() {
    for it in "$here/target/release" "$here/target/debug"; do
        if [ -x "$it/tinyclaw" ] && [ -x "$it/tinyclaw-telegram" ] && [ -x "$it/tinyclaw-broker" ] && [ -x "$it/tinyclaw-leash" ]; then
            echo "$it/tinyclaw"
            return
        fi
    done
}

# setup_in_container WORDS...: as whoever calls, in a container of the bot's image that ends with it. It sees this checkout,
# the folder one stands in and the folders of files that are named, and has the broker's program beside it for the one
# question about the App's key. Once the key is the broker's alone, that question is passed out to the broker's container. The
# image's own state folder is the bot's, and closed to others.
setup_in_container() {
    need_docker
    build_missing
    borrowed="$(mktemp -d)"
    id="$(docker create "$(image broker)")"
    docker cp --quiet "$id:/tinyclaw-broker" "$borrowed/" 2>/dev/null || docker cp "$id:/tinyclaw-broker" "$borrowed/"
    docker rm "$id" >/dev/null
    terminal=""
    if [ -t 0 ] && [ -t 1 ]; then terminal="--tty"; fi
    stand="$(pwd)"
    seen="$here"
    set -- "$(image bot)" tinyclaw setup --env "$here/.env" "$@"
    if is_unseen "$stand"; then set -- --volume "$stand:$stand" "$@"; fi
    flag=""
    for it in "$@"; do
        case "$it" in
            --pem=* | --*-file=*) flag="${it%%=*}" file="${it#*=}" ;;
            *) file="$it" ;;
        esac
        case "$flag" in
            # The key is closed to others and moved from there; the rest is only read.
            --pem) mode=rw ;;
            --*-file) mode=ro ;;
            *) mode="" ;;
        esac
        case "$it" in *=*) flag="" ;; *) flag="$it" ;; esac
        if [ -z "$mode" ] || [ ! -f "$file" ]; then continue; fi
        for folder in "$(dirname "$file")" "$(dirname "$(readlink -f "$file")")"; do
            folder="$(cd "$folder" && pwd)"
            if is_unseen "$folder"; then set -- --volume "$folder:$folder:$mode" "$@"; fi
        done
    done
    pass_questions_out
    # shellcheck disable=SC2086 # `terminal` is one word or none
    docker run --rm --interactive $terminal --init --user "$(id -u):$(id -g)" --cap-drop ALL \
        --security-opt no-new-privileges --env HOME=/tmp --env TERM --env NO_COLOR --env TINYCLAW_DIR="$here/.tinyclaw" \
        --volume "$borrowed/tinyclaw-broker:/usr/local/bin/tinyclaw-broker:ro" \
        --volume "$borrowed/docker:/usr/local/bin/docker:ro" --volume "$borrowed:$borrowed:ro" \
        --volume "$here:$here" --workdir "$stand" "$@"
}

# is_unseen FOLDER: setup's container does not see it yet, and does from now on.
is_unseen() {
    [ "$1" != / ] || return 1
    # A folder holds those below it.
    while read -r above; do
        case "$1/" in "$above/"*) return 1 ;; esac
    done <<END
$seen
END
    seen="$seen
$1"
}

# What setup's container takes for Docker, and whoever answers it out here: the broker's check in the broker's container.
# An id goes out through one pipe; a line in the other says that the answer lies in a file.
pass_questions_out() {
    mkfifo -m 600 "$borrowed/asked" "$borrowed/answered"
    cat >"$borrowed/docker" <<END
#!/bin/sh
[ "\${2:-}" != version ] || exit 0
echo "\$GITHUB_APP_ID" >"$borrowed/asked"
read -r code <"$borrowed/answered"
cat "$borrowed/err" >&2
cat "$borrowed/out"
exit "\$code"
END
    chmod 755 "$borrowed/docker"
    (
        while read -r GITHUB_APP_ID <"$borrowed/asked"; do
            export GITHUB_APP_ID
            code=0
            on_containers run --rm --no-deps -T -e GITHUB_APP_ID broker /tinyclaw-broker check --json \
                </dev/null >"$borrowed/out" 2>"$borrowed/err" || code=$?
            echo "$code" >"$borrowed/answered"
        done
    ) &
    answerer=$!
}

# as_keeper WORDS...: a command in the bot's image with the volumes and root's rights over them, and no network. With an
# init, so that Ctrl-C ends it: a container's first process does not hear of it.
as_keeper() {
    # One that is not there yet is compose's to make.
    if docker volume inspect "$(volume desks)" >/dev/null 2>&1; then set -- --volume "$(volume desks):/desks" "$(image bot)" "$@"
    else set -- "$(image bot)" "$@"; fi
    docker run --rm --interactive --init --user 0 --network none --entrypoint "" \
        --volume "$(volume tinyclaw-data):/app/.tinyclaw" --volume "$(volume claude-home):/home/tinyclaw" "$@"
}

volume_is_empty() {
    docker volume inspect "$(volume tinyclaw-data)" >/dev/null 2>&1 || return 0
    found="$(as_keeper find /app/.tinyclaw -mindepth 1 -maxdepth 1 -print -quit)" \
        || fail "nobody can look into the volume $(volume tinyclaw-data)" "mend what Docker says above"
    [ -z "$found" ]
}

# One moment of the whole state: the bot is frozen while it is read, which is as if the power had failed in that moment,
# and what the queue is built for. Its people notice a pause. The gateway goes on: it copies its events itself, a moment
# before, and the copy stands in the backup in the place of its files.
backup_to() {
    half="$1.half"
    copied=""
    if docker image inspect "$(image gateway)" >/dev/null 2>&1 && as_keeper test -e /app/.tinyclaw/events.db; then
        as_keeper rm -f "/app/.tinyclaw/$events_copy"
        copied=yes
        as_gateway backup "/app/.tinyclaw/$events_copy" \
            || fail "the events could not be copied, and nothing is backed up" "docs/OPERATIONS.md, \"The event bus\""
    fi
    bot="$(on_containers ps --quiet bot)"
    if [ -n "$bot" ] && [ "$(docker inspect --format '{{.State.Running}}' "$bot")" = true ]; then
        # Noted before it is so: a signal may come between.
        frozen="$bot"
        docker pause "$bot" >/dev/null
    fi
    code=0
    # Of a desk what its Claude keeps, as of the office; where desks work is a workspace. An agent may leave a file there that
    # is as long as it likes and holds nothing.
    set -- "$1" --sparse --anchored --no-wildcards-match-slash --exclude=app/.tinyclaw/mirrors \
        "--exclude=desks/*/work" "--exclude=desks/*/tmp" --exclude=desks/office
    if [ -n "$copied" ]; then
        for it in "" -wal -shm; do set -- "$@" "--exclude=app/.tinyclaw/events.db$it"; done
        set -- "$@" "--transform=s|^app/.tinyclaw/$events_copy\$|app/.tinyclaw/events.db|"
    fi
    file="$1"
    shift
    (umask 077 && as_keeper tar -C / "$@" --numeric-owner -czf - app/.tinyclaw home/tinyclaw desks >"$half") || code=$?
    thaw
    forget_copy
    set -- "$file"
    if [ "$code" != 0 ] || ! gzip --test "$half"; then
        fail "the backup could not be written" "make room where $1 goes: df -h ."
    fi
    mv "$half" "$1"
    half=""
}

# The gateway's own copy of its events, while a backup is made.
events_copy=events.db.backup

# as_gateway WORDS...: the gateway's program as the one who writes its files, on the volume and without a network.
as_gateway() {
    docker run --rm --network none --volume "$(volume tinyclaw-data):/app/.tinyclaw" "$(image gateway)" /tinyclaw-gateway "$@"
}

# It is as large as the events are.
forget_copy() {
    [ -n "${copied:-}" ] || return 0
    copied=""
    as_keeper rm -f "/app/.tinyclaw/$events_copy" || true
}

# The bot goes on, where it was frozen.
thaw() {
    [ -n "${frozen:-}" ] || return 0
    docker unpause "$frozen" >/dev/null 2>&1 \
        || [ "$(docker inspect --format '{{.State.Paused}}' "$frozen" 2>/dev/null)" != true ] \
        || told warn "the bot stands still" "docker unpause $frozen"
    frozen=""
}

# on_end: whatever ends a verb, a signal too, leaves nobody frozen and nothing half done.
on_end() {
    trap '' HUP INT TERM
    thaw
    forget_copy
    [ -z "${undo:-}" ] || go_back
    [ -z "${half:-}" ] || rm -f "$half"
    [ -z "${answerer:-}" ] || kill "$answerer" 2>/dev/null || true
    [ -z "${borrowed:-}" ] || rm -rf "$borrowed"
}

restore_from() {
    on_containers stop --timeout 40
    # Compose makes the volumes, so that they are its own.
    on_containers up --no-start --no-build
    as_keeper sh -c 'find /app/.tinyclaw /home/tinyclaw -mindepth 1 -delete \
        && find /desks -mindepth 2 -maxdepth 2 ! -name work -exec rm -rf "{}" + \
        && tar -C / --numeric-owner -xzf -' <"$1" \
        || fail "not everything of $1 is restored, and the office stands still" "df -h, then ./tinyclaw.sh restore $1 --overwrite"
}

# keep_images FROM TO: names the images anew, those that there are.
keep_images() {
    for it in tinyclaw-bot tinyclaw-broker tinyclaw-dashboard tinyclaw-gateway; do
        docker image inspect "$it:$1" >/dev/null 2>&1 || continue
        docker tag "$it:$1" "$it:$2"
    done
}

# Takes an update back: what was pulled, or the next start would build it again, the images, and the containers when they
# were replaced (`undo` says which). Files that were changed by hand stay as they are.
go_back() {
    what="$undo"
    undo=""
    now="$came_from"
    if [ -n "$came_from" ]; then now="$(git -C "$here" rev-parse HEAD)"; fi
    if [ "$now" = "$came_from" ]; then
        told warn "nothing was pulled, so the checkout is what it was: the next start builds it" \
            "check out a version that works, or ./tinyclaw.sh update when this one is mended"
    elif git -C "$here" reset --quiet --keep "$came_from"; then
        echo "the checkout is back at $(git -C "$here" log -1 --format='%h %s'), without what was pulled" >&2
    else
        told warn "the checkout still has what was pulled, and the next start builds it" "git -C $here reset --keep $came_from"
    fi
    keep_images "$tag-previous" "$tag"
    [ "$what" = images ] || on_containers up --detach --no-build --remove-orphans
}

# The unit, for this folder and this compose.
unit_text() {
    program="$compose"
    if [ "$compose" = "docker compose" ]; then program="$(command -v docker) compose"; else program="$(command -v "$compose")"; fi
    sed "s,__WORKING_DIR__,$here,g; s,__COMPOSE__,$program,g" "$here/systemd/tinyclaw.service"
}
