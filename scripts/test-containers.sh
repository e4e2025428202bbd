#!/bin/sh
# The containers as an operator meets them: built, started, talked to, killed, stopped.
#
#   scripts/test-containers.sh
#
# Takes a Docker that runs, else installs one and starts a daemon of its own, which ends with this. Base images are pulled, or
# made with debootstrap where no registry can be reached; the programs are built here and handed to the images. Everything has
# names of its own, so that a TinyClaw that runs on this machine is not touched.
#
# TINYCLAW_PROGRAMS=DIR takes static programs that were built before. TINYCLAW_KEEP=yes leaves everything running when a claim
# does not hold, for a look.
#
# Exit codes: 0 all held, 1 something did not, 77 no container engine can be had (the last line says why).
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

project=tinyclaw-test
base_image=debian:bookworm-slim
run="$(mktemp -d)"
own_daemon=""
failures=0

# Whatever has a name of ours. By label, so that it also finds what a run that was killed left behind.
remove_all() {
    docker ps --all --quiet --filter "name=$project-telegram" | xargs -r docker rm --force >/dev/null 2>&1 || true
    for it in "$project" "$project-fresh"; do
        ours="label=com.docker.compose.project=$it"
        docker ps --all --quiet --filter "$ours" | xargs -r docker rm --force >/dev/null 2>&1 || true
        docker network ls --quiet --filter "$ours" | xargs -r docker network rm >/dev/null 2>&1 || true
        docker volume ls --quiet --filter "$ours" | xargs -r docker volume rm >/dev/null 2>&1 || true
    done
}

cleanup() {
    trap '' INT TERM
    if [ "$failures" -gt 0 ] && [ -n "${TINYCLAW_KEEP:-}" ]; then
        echo "kept: DOCKER_HOST=${DOCKER_HOST:-} $run"
        return
    fi
    if [ -n "${DOCKER_READY:-}" ]; then
        remove_all
        for image in bot broker dashboard gateway; do
            for tag in test test-previous test-fresh; do docker rmi "tinyclaw-$image:$tag" >/dev/null 2>&1 || true; done
        done
    fi
    docker rmi "$project-tunnel" >/dev/null 2>&1 || true
    if [ -n "$own_daemon" ] && kill "$own_daemon" 2>/dev/null; then
        while kill -0 "$own_daemon" 2>/dev/null; do sleep 0.2; done
    fi
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

skip() {
    echo "skipped: $1"
    exit 77
}

# --- a container engine -------------------------------------------------------------------------------------------------

engine_answers() {
    have docker && docker info >/dev/null 2>&1
}

get_engine() {
    engine_answers && return 0
    if ! have dockerd; then
        from_apt dockerd docker.io iptables || skip "there is no container engine: Docker is missing; $advice"
    fi
    [ "$(id -u)" = 0 ] || skip "there is no container engine: Docker does not answer; sudo systemctl start docker"
    mkdir -p "$cache/docker"
    export DOCKER_HOST="unix://$run/docker.sock"
    dockerd --data-root "$cache/docker" --exec-root "$run/exec" --host "$DOCKER_HOST" --pidfile "$run/docker.pid" \
        >"$run/dockerd.log" 2>&1 &
    own_daemon=$!
    for _ in $(seq 60); do
        engine_answers && return 0
        kill -0 "$own_daemon" 2>/dev/null || break
        sleep 0.5
    done
    own_daemon=""
    tail -n 3 "$run/dockerd.log"
    skip "there is no container engine: dockerd does not start here"
}

# A docker that can build, and a compose, first in PATH: some machines have several of which not all can.
get_clients() {
    mkdir -p "$run/bin" "$run/blank"
    echo 'FROM scratch' >"$run/blank/Dockerfile"
    echo 'LABEL try=1' >>"$run/blank/Dockerfile"
    for it in "$(command -v docker)" /usr/bin/docker; do
        if [ -x "$it" ] && DOCKER_BUILDKIT=1 "$it" build --quiet "$run/blank" >/dev/null 2>&1; then
            ln -sf "$it" "$run/bin/docker"
            break
        fi
    done
    [ -e "$run/bin/docker" ] || from_apt docker docker.io || true
    [ -e "$run/bin/docker" ] || skip "no docker here builds with BuildKit; sudo apt-get install docker-buildx"
    PATH="$run/bin:$PATH"
    docker compose version >/dev/null 2>&1 || have docker-compose || from_apt docker-compose docker-compose \
        || skip "Docker Compose is missing; $advice"
}

# The base image: there, pulled, or made.
get_base() {
    docker image inspect "$base_image" >/dev/null 2>&1 && return 0
    docker pull --quiet "$base_image" >/dev/null 2>&1 && return 0
    [ "$(id -u)" = 0 ] || skip "$base_image cannot be pulled, and only root can make one"
    from_apt debootstrap debootstrap || skip "$base_image cannot be pulled and debootstrap is missing; $advice"
    echo "making $base_image with debootstrap"
    debootstrap --variant=minbase bookworm "$run/base" >"$run/debootstrap.log" 2>&1 \
        || { tail -n 3 "$run/debootstrap.log"; skip "$base_image can neither be pulled nor made"; }
    rm -rf "$run/base/var/cache/apt/archives" "$run/base/var/lib/apt/lists" "$run/base/usr/share/doc" \
        "$run/base/usr/share/man" "$run/base/usr/share/locale" "$run/base/usr/share/info"
    tar -C "$run/base" -c . | docker import --change 'CMD ["bash"]' - "$base_image" >/dev/null
    rm -rf "$run/base"
}

# --- an operator's clone ------------------------------------------------------------------------------------------------

# Once for all four images, and static, as in the Dockerfiles.
make_programs() {
    programs="${TINYCLAW_PROGRAMS:-}"
    [ -n "$programs" ] || programs="$(scripts/static-programs.sh)"
    mkdir "$run/programs" "$run/tools"
    find "$programs" -maxdepth 1 -type f -executable -exec cp '{}' "$run/programs/" ';'
    # The fakes of the tests stay outside.
    mv "$run/programs/"fake-* "$run/tools/"
}

make_clone() {
    mkdir "$run/clone"
    { git ls-files --cached --others --exclude-standard 2>/dev/null || find . -type f -not -path './target/*' -not -path './.git/*'; } \
        | tar -cf - -T - 2>/dev/null | tar -C "$run/clone" -xf -
    mkdir "$run/clone/secrets"
    cp -r "$run/programs" "$run/clone/dist"
    claude="$(scripts/install-claude.sh 2>/dev/null)" || claude="$(command -v true)"
    cp "$claude" "$run/clone/dist/claude"
    # As it comes from GitHub: everybody may read it.
    openssl genrsa -traditional 2048 >"$run/clone/secrets/github-app.pem" 2>/dev/null
    chmod 0644 "$run/clone/secrets/github-app.pem"
    echo "canary-of-secrets-1f0c" >"$run/clone/secrets/canary"
    for it in tinyclaw-20260101T000000Z.tar.gz tinyclaw-20260101T000000Z.tar.gz.half crates/mine.tar.gz; do
        echo "canary-of-backups-57d0" >"$run/clone/$it"
    done
    cat >"$run/clone/.env" <<END
TELEGRAM_BOT_TOKEN=$TELEGRAM_BOT_TOKEN
TELEGRAM_CHAT_ID=$TELEGRAM_CHAT_ID
TELEGRAM_ALLOWED_USERS=101
TELEGRAM_API_URL=http://fake-telegram:8081
TINYCLAW_ENGINE_KIND=demo
DASHBOARD_HOSTS=127.0.0.1:$dashboard_port
COMPOSE_PROFILES=gateway
GITHUB_APP_ID=12345
GITHUB_API_URL=http://127.0.0.1:9
CANARY=canary-of-env-93ab
END
    chmod 600 "$run/clone/.env"
}

# tinyclaw.sh of the clone, as its operator types it.
operator() {
    (cd "$run/clone" && env COMPOSE_PROJECT_NAME="$project" TINYCLAW_TAG=test TINYCLAW_BINARIES=prebuilt \
        TINYCLAW_BASE="$base_image" TINYCLAW_DASHBOARD_PORT="$dashboard_port" TINYCLAW_HEALTH_PORT="$health_port" \
        TINYCLAW_GATEWAY_PORT="$gateway_port" GATEWAY_HOSTS="127.0.0.1:$gateway_port" "$@")
}

# The same on another server, with a fresh clone: no .env, no App's key, no images. It has a tunnel, which only sleeps.
newcomer() {
    if [ ! -e "$run/fresh" ]; then
        cp -r "$run/clone" "$run/fresh"
        rm -rf "$run/fresh/.env" "$run/fresh/secrets"
        mkdir "$run/fresh/secrets"
        echo "no token" >"$run/fresh/secrets/tunnel-token"
        printf 'FROM %s\nENTRYPOINT ["sh", "-c", "trap exit TERM; sleep 3600 & wait"]\n' "$base_image" >"$run/blank/Dockerfile"
        DOCKER_BUILDKIT=1 docker build --quiet --tag "$project-tunnel" "$run/blank"
    fi
    (cd "$run/fresh" && env COMPOSE_PROJECT_NAME="$project-fresh" TINYCLAW_TAG=test-fresh TINYCLAW_BINARIES=prebuilt \
        CLOUDFLARED_IMAGE="$project-tunnel" \
        TINYCLAW_BASE="$base_image" TINYCLAW_DASHBOARD_PORT="$(free_port)" TINYCLAW_HEALTH_PORT="$(free_port)" "$@")
}

newcomer_runs() {
    docker ps --format '{{.Label "com.docker.compose.service"}}' --filter "label=com.docker.compose.project=$project-fresh" | grep -x "$1"
}

newcomer_left_its_volumes() {
    ours="label=com.docker.compose.project=$project-fresh"
    [ -z "$(docker ps --all --quiet --filter "$ours")$(docker network ls --quiet --filter "$ours")" ] \
        && [ "$(docker volume ls --quiet --filter "$ours" | wc -l)" = 5 ]
}

operator_compose() {
    if docker compose version >/dev/null 2>&1; then operator docker compose "$@"; else operator docker-compose "$@"; fi
}

container() {
    operator_compose ps --quiet "$1"
}

# --- what is claimed ----------------------------------------------------------------------------------------------------

# holds CLAIM COMMAND...: the command succeeds.
holds() {
    claim="$1"
    shift
    if "$@" >"$run/said" 2>&1; then
        echo "  ok      $claim"
    else
        echo "  FAILED  $claim"
        tail -n 12 "$run/said" | cut -c 1-300 | sed 's/^/          /'
        failures=$((failures + 1))
    fi
}

# fails COMMAND...: the command does not succeed.
fails() {
    ! "$@"
}

# within SECONDS COMMAND...: it succeeds before the time is over. Only its last try is told.
within() {
    until="$(($(date +%s) + $1))"
    shift
    while ! "$@" >"$run/try" 2>&1; do
        [ "$(date +%s)" -lt "$until" ] || { cat "$run/try"; return 1; }
        sleep 0.2
    done
}

healthy() {
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]
}

# control JSON: the people and the weather of the fake Telegram.
control() {
    curl --silent --fail --max-time 5 --data "$1" --header 'content-type: application/json' "$CONTROL_URL"
}

# ada_says TEXT: in the forum's General topic. Her own words and the bot's stand in the same transcript.
ada_says() {
    control "{\"do\":\"say\",\"chat\":$TELEGRAM_CHAT_ID,\"from\":101,\"text\":\"$1\"}" >/dev/null
    asked=$((asked + 1))
    said_in_telegram=$((said_in_telegram + 1))
}

# Every message of hers has its answer there.
telegram_answered() {
    control "{\"do\":\"transcript\",\"chat\":$TELEGRAM_CHAT_ID}" >"$run/transcript"
    answers="$(grep -o "demo engine here" "$run/transcript" | wc -l)"
    [ "$answers" -ge "$said_in_telegram" ] || { tail -n 8 "$run/transcript"; return 1; }
}

dashboard_shows() {
    curl --silent --fail --max-time 5 "http://127.0.0.1:$dashboard_port/api/messages/recent?n=200" | grep -F -- "$1"
}

# bus PATH [WORDS...]: asks the event bus.
bus() {
    path="$1"
    shift
    curl --silent --fail --max-time 5 --header "authorization: Bearer $bus_token" "$@" "http://127.0.0.1:$gateway_port$path"
}

bus_takes() {
    bus /events --header 'content-type: application/json' --data "{\"type\":\"test.$1\",\"id\":\"$1\",\"source\":\"test\"}"
}

bus_tells() {
    bus "/events?type=test.$1" | grep -F "test.$1"
}

# beside CONTAINER USER COMMAND...: in its network and with its volumes, with a shell that the image lacks.
beside() {
    neighbour="$(container "$1")"
    user="$2"
    shift 2
    docker run --rm --user "$user" --network "container:$neighbour" --volumes-from "$neighbour" --entrypoint "" "$base_image" "$@"
}

# reaches CONTAINER HOST PORT: a connection can be made from there.
reaches() {
    beside "$1" 0 timeout 5 bash -c ": </dev/tcp/$2/$3"
}

address_of() {
    docker inspect --format "{{(index .NetworkSettings.Networks \"${project}_$2\").IPAddress}}" "$1"
}

# slay PID: as the machine's memory killer would; Docker takes `docker kill` for a wish of the operator's.
slay() {
    if [ "$(id -u)" = 0 ]; then kill -9 "$1"; else docker run --rm --pid host --user 0 --cap-add KILL "$base_image" kill -9 "$1"; fi
}

# process NAME: its id on this machine, in the bot's container.
process() {
    docker top "$(container bot)" -eo pid,comm | awk -v name="$1" '$2 ~ "^" name { print $1; exit }'
}

no_layer_holds() {
    for image in bot broker dashboard gateway; do
        mkdir -p "$run/layers"
        docker save "tinyclaw-$image:test" | tar -C "$run/layers" -xf -
        find "$run/layers" -type f >"$run/layers.list"
        while read -r layer; do
            if { zcat -f "$layer" | tar -xOf - 2>/dev/null || cat "$layer"; } | grep -qaF -e "$1" -e "$2"; then
                echo "tinyclaw-$image holds it"
                return 1
            fi
        done <"$run/layers.list"
        rm -r "$run/layers"
    done
}

# What COPY . . takes: the stages that compile are in no image, but in the cache of whoever builds.
doctor_tells_of_users() {
    operator ./tinyclaw.sh doctor | tee /dev/stderr | grep -qF 'user of its own'
}

context_is_clean() {
    printf 'FROM %s\nCOPY . /context\nRUN ! grep -rlF canary-of /context --exclude-dir scripts\n' "$base_image" >"$run/context.Dockerfile"
    operator env DOCKER_BUILDKIT=1 docker build --quiet --file "$run/context.Dockerfile" --tag "$project-context" . \
        && docker rmi "$project-context"
}

inspect_is_clean() {
    for service in broker dashboard gateway; do
        docker inspect "$(container "$service")" | grep -F -e "$TELEGRAM_BOT_TOKEN" -e canary-of && return 1
    done
    return 0
}

logs_are_clean() {
    ! operator_compose logs --no-color | grep -F -e "$TELEGRAM_BOT_TOKEN" -e canary-of -e 'PRIVATE KEY'
}

answered() {
    asked=$((asked + 1))
    operator ./tinyclaw.sh send --wait "say it back: $1" | grep -F -- "$1"
}

# What only the broker can say, which has found no GitHub where .env sends it. The exit code is setup's own.
setup_asks_the_broker() {
    code=0
    operator ./tinyclaw.sh setup github --app-id 12345 "$@" >"$run/setup" 2>&1 || code=$?
    cat "$run/setup"
    [ "$code" = 1 ] && grep -qF "cannot connect to GitHub" "$run/setup"
}

update_is_undone() {
    if operator ./tinyclaw.sh update >"$run/update" 2>&1; then return 1; fi
    grep -q "the update was bad and is undone" "$run/update" || { cat "$run/update"; return 1; }
}

# Everything that was asked is in done/, once, and nothing is anywhere else. Beside it lies what the office said by itself,
# of the services that were killed here.
nothing_is_lost() {
    beside dashboard 0 find /app/.tinyclaw/queue -name '*.json' >"$run/queue"
    finished="$(grep /done/ "$run/queue" | grep -cv '~n-' || true)"
    if [ "$finished" != "$asked" ] || grep -qv /done/ "$run/queue"; then
        echo "$asked were asked, $finished are in done/; elsewhere:"
        grep -v /done/ "$run/queue" || true
        return 1
    fi
}

# seconds COMMAND...: how long it takes goes into `took`.
seconds() {
    began="$(date +%s%N)"
    "$@"
    took="$(awk -v a="$began" -v b="$(date +%s%N)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }')"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

megabytes() {
    docker image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.1f MB", $1 / 1e6 }'
}

# --- the run ------------------------------------------------------------------------------------------------------------

have cargo || skip "cargo is missing; install Rust from https://rustup.rs"
from_apt curl curl || skip "curl is missing; $advice"
from_apt openssl openssl || skip "openssl is missing; $advice"
get_engine
get_clients
DOCKER_READY=yes
get_base

dashboard_port="$(free_port)"
health_port="$(free_port)"
gateway_port="$(free_port)"
asked=0
said_in_telegram=0

remove_all
echo "building the programs"
make_programs
echo "starting the fake Telegram"
docker run --detach --name "$project-telegram" --volume "$run/tools:/tools:ro" --publish 127.0.0.1::9001 "$base_image" \
    /tools/fake-telegram --listen 0.0.0.0:8081 --control 0.0.0.0:9001 --no-limits >/dev/null
within 10 sh -c "docker logs $project-telegram | grep -q CONTROL_URL" || { docker logs "$project-telegram"; exit 1; }
TELEGRAM_BOT_TOKEN="$(docker logs "$project-telegram" | sed -n 's/^TELEGRAM_BOT_TOKEN=//p')"
TELEGRAM_CHAT_ID="$(docker logs "$project-telegram" | sed -n 's/^TELEGRAM_CHAT_ID=//p')"
CONTROL_URL="http://$(docker port "$project-telegram" 9001/tcp | head -n 1)/"
make_clone

echo "starting"
seconds operator ./tinyclaw.sh start
echo "  ./tinyclaw.sh start took $took s, building included"
docker network connect --alias fake-telegram "${project}_egress" "$project-telegram"

echo "what works"
holds "the App's key, downloaded as 0644, belongs to the broker alone" \
    [ "$(stat -c '%u %a' "$run/clone/secrets/github-app.pem")" = "10002 600" ]
for service in bot broker dashboard gateway; do holds "the $service is healthy" within 60 healthy "$service"; done
holds "a message by ./tinyclaw.sh send is answered" answered one
holds "its desk is a user of its own" [ "$(docker run --rm --volume "${project}_desks:/v:ro" "$base_image" stat -c '%u %a' /v/1)" = "20001 700" ]
holds "which doctor says, too" doctor_tells_of_users
ada_says "hello from the forum"
holds "a message in Telegram is answered" within 60 telegram_answered
holds "the dashboard shows both" within 20 dashboard_shows "hello from the forum"
holds "status tells" operator ./tinyclaw.sh status
bus_token="$(operator ./tinyclaw.sh token new ada --scope ingest,read)"
holds "the event bus takes an event, now that somebody has a token" within 20 bus_takes one
holds "and tells it" bus_tells one
holds "and what the office does" within 20 sh -c "curl --silent --fail --header 'authorization: Bearer $bus_token' \
    'http://127.0.0.1:$gateway_port/events?type=tinyclaw.message.answered' | grep -F tinyclaw.message.answered"
holds "but nobody who has none" fails curl --silent --fail --max-time 5 "http://127.0.0.1:$gateway_port/events"

holds "setup asks the broker about the key that only the broker can read" setup_asks_the_broker
mkdir "$run/downloads"
openssl genrsa -traditional 2048 >"$run/downloads/other.pem" 2>/dev/null
chmod 0644 "$run/downloads/other.pem"
holds "and finds one in a folder of its own, and closes it" setup_asks_the_broker --pem "$run/downloads/other.pem"
holds "so that nobody else reads it" [ "$(stat -c %a "$run/downloads/other.pem")" = 600 ]

echo "what must not"
fake_on_egress="$(address_of "$project-telegram" egress)"
broker_on_ctl="$(address_of "$(container broker)" ctl)"
broker_on_egress="$(address_of "$(container broker)" egress)"
warden="$(docker inspect --format '{{.State.Pid}}' "$(container bot)")"
holds "the bot's first process has four rights" grep -qx "CapPrm:	00000000000000e1" "/proc/$warden/status"
for name in tinyclaw-telegr tinyclaw-proces; do
    holds "$name is another user" [ "$(awk '/^Uid/ { print $2 $3 $4 $5 }' "/proc/$(process "$name")/status")" = 10001100011000110001 ]
    holds "and has none" grep -qx "CapPrm:	0000000000000000" "/proc/$(process "$name")/status"
done
holds "the bot has no way to the App's key" fails operator_compose exec -T bot cat /secrets/github-app.pem
holds "the bot reaches the broker, so that the next ones mean something" reaches bot "$broker_on_ctl" 3000
holds "the bot reaches Telegram" reaches bot "$fake_on_egress" 8081
holds "the dashboard reaches no broker" fails reaches dashboard "$broker_on_ctl" 3000
holds "nor by its other address" fails reaches dashboard "$broker_on_egress" 3000
holds "nor Telegram" fails reaches dashboard "$fake_on_egress" 8081
holds "the gateway reaches no broker" fails reaches gateway "$broker_on_ctl" 3000
holds "nor Telegram" fails reaches gateway "$fake_on_egress" 8081
holds "the dashboard looks up no name" fails beside dashboard 0 timeout 10 getent hosts deb.debian.org
holds "even root could not write to the dashboard's volume" fails beside dashboard 0 touch /app/.tinyclaw/written
holds "the dashboard reads no secrets of the host's processes" fails beside dashboard 10003:10001 cat /host/proc/1/environ
holds "the broker is not published" [ -z "$(docker port "$(container broker)")" ]
holds "no layer holds a secret" no_layer_holds canary-of "$TELEGRAM_BOT_TOKEN"
holds "nor does a layer that only the builder sees" context_is_clean
holds "no secret stands in what docker inspect says of the others" inspect_is_clean

echo "what comes back"
for name in tinyclaw-telegr tinyclaw-proces; do
    slay "$(process "$name")"
    ada_says "while $name is down"
    holds "$name was killed, and the message is answered" within 90 telegram_answered
done
for service in bot broker dashboard gateway; do
    slay "$(docker inspect --format '{{.State.Pid}}' "$(container "$service")")"
    ada_says "while the $service is down"
    holds "the $service was killed and is healthy again" within 60 healthy "$service"
done
holds "everything is answered" within 90 telegram_answered
holds "nothing is lost, and nothing is left over" within 30 nothing_is_lost

echo "what is kept"
holds "a backup while running" operator ./tinyclaw.sh backup "$run/backup.tar.gz"
holds "it holds the threads" sh -c "tar -tzf '$run/backup.tar.gz' | grep -q app/.tinyclaw/threads.json"
holds "and what desks keep at home" sh -c "tar -tzf '$run/backup.tar.gz' | grep -q '^desks/1/home/'"
holds "and nothing of where they work" fails sh -c "tar -tzf '$run/backup.tar.gz' | grep '^desks/1/work/'"
holds "and the events, as the gateway copied them, and no copy is left over" \
    sh -c "tar -tzf '$run/backup.tar.gz' | grep '/events\.db' | grep -qxv app/.tinyclaw/events.db && exit 1
        tar -tzf '$run/backup.tar.gz' | grep -qx app/.tinyclaw/events.db"
holds "restore does not overwrite by itself" fails operator ./tinyclaw.sh restore "$run/backup.tar.gz"
holds "restore does when told" operator ./tinyclaw.sh restore "$run/backup.tar.gz" --overwrite
holds "and a message is answered after it" answered two
holds "and the events are there" within 60 bus_tells one
holds "and more are taken" within 20 bus_takes two
holds "no secret is in a log" logs_are_clean

holds "a fresh clone on another server restores it too" newcomer ./tinyclaw.sh restore "$run/backup.tar.gz"
holds "and knows the threads" docker run --rm --volume "${project}-fresh_tinyclaw-data:/v:ro" "$base_image" grep -q . /v/threads.json
holds "and the events" docker run --rm --volume "${project}-fresh_tinyclaw-data:/v:ro" "$base_image" grep -qF test.one /v/events.db
holds "and starts no gateway, as nobody asked for one there" fails newcomer_runs gateway
holds "and starts the tunnel whose token it has" newcomer_runs cloudflared
holds "and stops it with the others" newcomer ./tinyclaw.sh stop
for service in bot cloudflared; do holds "the $service is stopped" fails newcomer_runs "$service"; done
holds "uninstall removes it all" newcomer ./tinyclaw.sh uninstall
holds "but the volumes" newcomer_left_its_volumes

echo "what an update does"
holds "a good one replaces it" operator ./tinyclaw.sh update
holds "and a message is answered after it" answered three
# A bot that dies at once.
printf '#!/bin/sh\nexit 1\n' >"$run/clone/dist/tinyclaw-bot"
holds "a bad one says so and is undone" update_is_undone
holds "the old one is healthy" within 60 healthy bot
holds "so that a message is answered" answered four

echo "numbers"
for image in bot broker dashboard gateway; do echo "  image tinyclaw-$image: $(megabytes "tinyclaw-$image:test")"; done
docker history --format '  bot layer {{.Size}}  {{.CreatedBy}}' tinyclaw-bot:test | grep COPY | cut -c1-110
# shellcheck disable=SC2046 # one id a word
docker stats --no-stream --format '  memory {{.Name}}: {{.MemUsage}}' $(operator_compose ps --quiet)
for name in tinyclaw-bot tinyclaw-telegr tinyclaw-proces; do
    echo "  resident $name: $(awk '/^VmRSS/ { printf "%.1f MB", $2 / 1000 }' "/proc/$(process "$name")/status")"
done
seconds operator_compose stop --timeout 40
echo "  stop: $took s"
holds "it stops within 35 s" awk -v took="$took" 'BEGIN { exit took > 35 }'
seconds operator_compose up --detach --no-build
echo "  up: $took s"
seconds within 60 healthy bot
echo "  and healthy $took s later"

if [ "$failures" -gt 0 ]; then
    echo "$failures claims do not hold"
    operator_compose logs --no-color --tail 15
    exit 1
fi
