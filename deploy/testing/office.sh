#!/bin/sh
# A fresh Debian gets the package and becomes an office.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

echo "the package"
ms dpkg --install /in/now/*.deb >/tmp/dpkg 2>&1
installed="$ms"
holds "it installs, and says what comes next" grep -q "sudo tinyclaw setup" /tmp/dpkg
holds "nothing runs yet" fails systemctl --quiet is-active tinyclaw.target tinyclaw-processor.service
holds "its users have the numbers of the images" [ "$(id -u tinyclaw) $(id -u tinyclaw-broker) $(id -u tinyclaw-dashboard)" = "10001 10002 10003" ]
holds "the state is its group's" [ "$(stat -c '%a %U %G' /var/lib/tinyclaw)" = "2770 tinyclaw tinyclaw" ]
holds "a person who is not root is told the way out" said "sudo tinyclaw threads" runuser -u nobody -- tinyclaw threads

echo "setup, with a Telegram of its own"
systemd-run --quiet --unit=fake-telegram --property=StandardOutput=file:/tmp/telegram \
    /in/fake-telegram --listen 127.0.0.1:8081 --control 127.0.0.1:9001 --no-limits
within 30 grep -qs CONTROL_URL /tmp/telegram
token="$(sed -n 's/^TELEGRAM_BOT_TOKEN=//p' /tmp/telegram)"
chat="$(sed -n 's/^TELEGRAM_CHAT_ID=//p' /tmp/telegram)"
printf 'TELEGRAM_API_URL=http://127.0.0.1:8081\nTINYCLAW_ENGINE_KIND=demo\n' >>/etc/tinyclaw/tinyclaw.env
echo "$token" >/tmp/token
tinyclaw setup telegram --token-file - --chat "$chat" --owner 101 --yes <"/tmp/token" >/tmp/setup 2>&1
holds "the parts are tried and written" grep -q "TELEGRAM_ALLOWED_USERS=101" /etc/tinyclaw/tinyclaw.env
[ ! -s /out/failures ] || cat /tmp/setup
holds "the token is kept by systemd, encrypted" [ "$(stat -c '%a %U' /etc/credstore.encrypted/telegram-bot-token)" = "600 root" ]
holds "and stands nowhere else" fails grep -rqF "$token" /etc/tinyclaw /etc/credstore.encrypted /var/lib/tinyclaw

echo "an office"
start() { systemctl enable --quiet --now tinyclaw.target && answered first; }
ms holds "it answers" start
echo "  dpkg -i took $installed ms; from systemctl enable --now to an answer $ms ms (goal: 3000 together)"
said_in_telegram=0
ada_says() {
    curl --silent --fail --max-time 5 http://127.0.0.1:9001/ --data "{\"do\":\"say\",\"chat\":$chat,\"from\":101,\"text\":\"$1\"}" >/dev/null
    said_in_telegram=$((said_in_telegram + 1))
}
telegram_answered() {
    curl --silent --fail --max-time 5 http://127.0.0.1:9001/ --data "{\"do\":\"transcript\",\"chat\":$chat}" >/tmp/transcript
    [ "$(grep -o "demo engine here" /tmp/transcript | wc -l)" -ge "$said_in_telegram" ]
}
ada_says "hello from the forum"
holds "a message in Telegram is answered" within 60 telegram_answered
holds "/health says so" within 60 curl --silent --fail http://127.0.0.1:7777/health
holds "the dashboard shows it" within 60 said "hello from the forum" curl --silent "http://127.0.0.1:3100/api/messages/recent?n=50"

echo "a user of its own for every desk"
main() { systemctl show -P MainPID tinyclaw-processor; }
holds "the unit's main process is the processor, as the office's user" [ "$(ps -o user=,comm= -p "$(main)" | tr -s ' ')" = "tinyclaw tinyclaw-proces" ]
warden() { ps -o pid=,user=,args= --ppid "$(main)" | awk '$2 == "root" && $4 == "warden" { print $1 }'; }
holds "beside it is the warden" [ -n "$(warden)" ]
holds "with four rights of root's" grep -qx "CapBnd:.00000000000000e1" "/proc/$(warden)/status"
holds "and no more" grep -qx "CapEff:.00000000000000e1" "/proc/$(warden)/status"
holds "the folder of desks is root's" [ "$(stat -c '%a %U' /var/lib/tinyclaw-desks)" = "711 root" ]
holds "in it a desk has its own" [ "$(stat -c '%a %u' /var/lib/tinyclaw-desks/1)" = "700 20001" ]
holds "the doctor says so" within 60 said "is a user of its own" tinyclaw doctor
# as_desk COMMAND...: as a desk's user, without Landlock.
as_desk() { setpriv --reuid=20001 --regid=20001 --clear-groups --no-new-privs "$@"; }
holds "an agent's user stops no processor by its limits" fails as_desk prlimit --pid "$(main)" --fsize=0
holds "which the office's own could" setpriv --reuid=10001 --regid=10001 --clear-groups prlimit --pid "$(main)" --core=0:0
holds "it signals neither it nor the warden" fails as_desk kill -CONT "$(main)" "$(warden)"
holds "nor shuts the state" fails as_desk chmod 0 /var/lib/tinyclaw
holds "nor sees what is in it" fails as_desk stat /var/lib/tinyclaw/threads.json
# From within the unit, where systemd would listen to any process, were it told to.
as_notifying() {
    group="$(systemctl show -P ControlGroup tinyclaw-processor)"
    [ ! -d "/sys/fs/cgroup/systemd$group" ] || group="/systemd$group"
    # shellcheck disable=SC2016 # that shell's own
    sh -c 'echo $$ >"/sys/fs/cgroup$0/cgroup.procs" && exec setpriv --reuid=20001 --regid=20001 --clear-groups env NOTIFY_SOCKET=/run/systemd/notify systemd-notify --status=hostile "MAINPID=$$"' "$group" || true
    [ "$(systemctl show -P StatusText tinyclaw-processor)" != hostile ] && [ "$(main)" = "$1" ]
}
holds "and speaks for no processor" as_notifying "$(main)"
running="$(mktemp)"
turn() { tinyclaw send --wait --timeout 120 "$1" >"$running" 2>&1 & }
engine() { pgrep -u 20001 -f "demo-engine" | sort | tr '\n' ' '; }
turn "in the middle [demo: slow 12s]"
holds "a turn runs" within 60 sh -c 'ls /var/lib/tinyclaw/progress/*.json'
before="$(engine)"
holds "as the desk's user" [ -n "$before" ]
kill -KILL "$(main)"
holds "its processor is killed and comes back" within 60 systemctl --quiet is-active tinyclaw-processor
holds "the turn's Claude is the one it was" [ "$(engine)" = "$before" ]
wait
holds "and its answer is had" grep -qF "in the middle" "$running"
holds "from one prompt" [ "$(grep -l 'in the middle' /var/lib/tinyclaw-desks/1/home/.claude/projects/*/*.jsonl | xargs grep -h '"type":"user"' | grep -c 'in the middle')" = 1 ]
gone="$(warden)"
kill -KILL "$gone"
holds "without the warden the processor leaves, and both come back" within 60 sh -c "systemctl --quiet is-active tinyclaw-processor && ! kill -0 $gone 2>/dev/null"
holds "and answer" within 90 answered "after the warden"
useradd --uid 20007 ada 2>/dev/null
holds "somebody of a desk's number is told" said "ada (20007)" tinyclaw doctor
userdel ada
holds "nobody listens but on this machine" [ -z "$(ss -Hltn | awk '{ print $4 }' | grep -v -e '^127\.' -e '^\[::1\]' -e ':22$')" ]

echo "what is closed"
# An engine that tries to read what no desk may.
opened() { tinyclaw send --wait --timeout 60 "[demo: open $1]"; }
holds "Claude cannot read threads.json" said "ermission denied" opened /var/lib/tinyclaw/threads.json
# In its own mounts they are not even there.
holds "nor another service's credentials" said "os error" opened /run/credentials/tinyclaw-telegram.service/telegram-bot-token
holds "nor its own service's" said "ermission denied" opened /run/credentials/tinyclaw-processor.service
holds "nor the host's key for them" said "ermission denied" opened /var/lib/systemd/credential.secret
# The processor's first moment is root's, with four rights.
for unit in telegram:1.5 processor:2.5 broker:1.5 dashboard:1.5 health:1.5; do
    level="$(systemd-analyze security --no-pager "tinyclaw-${unit%:*}.service" | sed -n 's/.*level for [^:]*: \([0-9.]*\).*/\1/p')"
    holds "${unit%:*} is exposed $level of 10 while it runs, at most ${unit#*:}" awk -v a="$level" -v b="${unit#*:}" 'BEGIN { exit !(a != "" && a <= b) }'
done
holds "the processor's memory is its own" fails runuser -u tinyclaw -- cat "/proc/$(systemctl show -P MainPID tinyclaw-processor)/environ"

echo "secrets"
holds "a name that is none is refused" said "there is no secret" tinyclaw secrets set nonsense - </dev/null
holds "and an empty one" said "stdin was empty" tinyclaw secrets set claude-oauth-token - </dev/null
set_secret() { printf 'sk-ant-oat01-canary' | tinyclaw secrets set claude-oauth-token -; }
holds "one is set by stdin" set_secret
holds "it is listed, not shown" said "claude-oauth-token           set" tinyclaw secrets ls
holds "it is written nowhere in the clear" fails grep -rqF sk-ant-oat01-canary /etc /var/lib/tinyclaw /run/tinyclaw
holds "the processor has it after its restart" [ -e "/run/credentials/tinyclaw-processor.service/claude-oauth-token" ]
holds "it goes again" tinyclaw secrets rm claude-oauth-token
holds "the office answers after both" within 90 answered "with a secret"

echo "kill -9"
for name in processor telegram; do
    systemctl kill --signal=KILL "tinyclaw-$name"
    ms holds "$name was killed, and a message is answered" within 90 answered "after the end of $name"
    echo "  after $ms ms"
done
ada_says "after both were killed"
holds "also in Telegram" within 60 telegram_answered

echo "upgrades"
upgrade() { dpkg --install /in/later/*.deb && answered "after an upgrade"; }
ms holds "idle" upgrade
echo "  dpkg -i to an answer: $ms ms"
for n in 1 2 3 4 5 6 7 8 9 10; do
    tinyclaw send --wait --timeout 120 "message $n [demo: slow 5s]" >"/tmp/answer.$n" 2>&1 &
done
within 60 sh -c 'ls /var/lib/tinyclaw/progress/*.json'
ms holds "while a turn runs" dpkg --install /in/now/*.deb
echo "  dpkg -i took $ms ms (goal: 45000 at most)"
wait
lost=0
for n in 1 2 3 4 5 6 7 8 9 10; do grep -qF "message $n" "/tmp/answer.$n" || lost=$((lost + 1)); done
holds "ten messages through it, $lost lost" [ "$lost" = 0 ]

echo "an update that is bad"
code=0
tinyclaw update /in/bad/*.deb >/tmp/update 2>&1 || code=$?
holds "it is undone, and says so" grep -q "the update was bad and is undone" /tmp/update
holds "exit code 1" [ "$code" = 1 ]
[ "$code" = 1 ] || tail -n 5 /tmp/update
holds "the old one answers" within 90 answered "after a bad update"
holds "one that is no package is refused" said "cannot be read" tinyclaw update /nowhere.deb
holds "without a place to ask it says so" said "knows no place with newer ones" tinyclaw update
mkdir -p /tmp/web/download/v2026.11.1 /tmp/web/latest/download
echo 2026.11.1 >/tmp/web/latest/download/VERSION
cp /in/later/*.deb /tmp/web/download/v2026.11.1/
(cd /tmp/web/download/v2026.11.1 && sha256sum -- *.deb >SHA256SUMS)
export TINYCLAW_BASE_URL=file:///tmp/web
code=0
tinyclaw update --check >/tmp/update 2>&1 || code=$?
holds "--check says that there is a newer one" [ "$code $(cat /tmp/update)" = "3 2026.11.1 is there; 2026.11.0 runs" ]
echo rubbish >>"/tmp/web/download/v2026.11.1/$(basename /in/later/*.deb)"
holds "a package that is not what its sum says is refused" said "and nothing is changed" tinyclaw update
holds "and nothing is changed" [ "$(dpkg-query -W -f '${Version}' tinyclaw)" = 2026.11.0 ]
cp /in/later/*.deb /tmp/web/download/v2026.11.1/
holds "one that is, is installed" said "updated to 2026.11.1" tinyclaw update
holds "and answers" within 90 answered "after a good update"

echo "backup"
holds "it is written" said "It holds no secrets" tinyclaw backup /var/backups/tinyclaw/one.tar.gz
holds "with what desks' Claudes keep" sh -c "tar -tzf /var/backups/tinyclaw/one.tar.gz | grep -q '^desks/1/home/.claude/'"
holds "and nothing of where they work" fails sh -c "tar -tzf /var/backups/tinyclaw/one.tar.gz | grep '^desks/1/work/'"
holds "by the timer's unit, too" systemctl start tinyclaw-backup.service
holds "the office answers after both" within 90 answered "after a backup"
echo "backups in a store"
mkdir -p /tmp/store/pai
AWS_ACCESS_KEY_ID=a-key AWS_SECRET_ACCESS_KEY=canary-of-the-store python3 /in/s3.py /tmp/store >/tmp/port 2>/tmp/refusals &
until [ -s /tmp/port ]; do sleep 0.1; done
echo "BACKUP_S3_URL=http://127.0.0.1:$(cat /tmp/port)/pai/office" >/etc/tinyclaw/backup.env
holds "without its keys it says which is missing" said "backup-s3-access-key is not set" tinyclaw backup
set_keys() { printf a-key | tinyclaw secrets set backup-s3-access-key - && printf %s "$1" | tinyclaw secrets set backup-s3-secret-key -; }
holds "a wrong key is set" set_keys another
# A backup's name is its second, and the one by the timer's unit may have been in this one.
sleep 1
holds "and the store refuses it" said "the store did not take it" tinyclaw backup
holds "the right one" set_keys canary-of-the-store
for n in 1 2 3; do
    sleep 1
    holds "by the timer's unit a backup goes there, $n" systemctl start tinyclaw-backup.service
done
holds "three are there" [ "$(find /tmp/store/pai/office -type f | wc -l)" = 3 ]
sleep 1
holds "all but two are removed" said "/pai/office/tinyclaw-20" tinyclaw backup --keep 2
holds "there, too" [ "$(find /tmp/store/pai/office -type f | wc -l)" = 2 ]
newest="$(tinyclaw backup --list | sed -n 's/^s3://p' | tail -n 1)"
rm -f "/var/backups/tinyclaw/$newest"
holds "one is restored from the store" said "restored from" tinyclaw restore "s3:$newest" --overwrite
holds "what is no backup's name is refused" said "no name of a backup" tinyclaw restore s3:../x --overwrite
holds "a key of it stands nowhere in the clear" fails grep -rqF canary-of-the-store /etc /var/lib/tinyclaw /var/backups /var/log/journal
rm /etc/tinyclaw/backup.env
holds "the office answers after all that" within 90 answered "after the store"

echo "restored"
holds "over a state it is not restored by accident" said "there is a state already" tinyclaw restore /var/backups/tinyclaw/one.tar.gz
echo mine >/var/lib/tinyclaw/memory/mine 2>/dev/null || echo mine >/var/lib/tinyclaw/mine
as_desk sh -c 'echo mine >/var/lib/tinyclaw-desks/1/home/mine; echo kept >/var/lib/tinyclaw-desks/1/work/kept'
holds "it is restored" tinyclaw restore /var/backups/tinyclaw/one.tar.gz --overwrite
holds "what came after it is gone" [ ! -e /var/lib/tinyclaw/mine ]
holds "of desks, too" [ ! -e /var/lib/tinyclaw-desks/1/home/mine ]
holds "but for where they work" [ "$(cat /var/lib/tinyclaw-desks/1/work/kept)" = kept ]
holds "and all of it is theirs" [ -z "$(find /var/lib/tinyclaw-desks/1 ! -uid 20001 -print -quit)" ]
holds "what came before is there" grep -rqF "hello from the forum" /var/lib/tinyclaw/message-history.jsonl
ms holds "and the office answers" within 90 answered "after a restore"
echo "  after $ms ms"
holds "half a file is refused" said "is not whole" sh -c 'head -c 2000 /var/backups/tinyclaw/one.tar.gz >/tmp/half.gz; tinyclaw restore /tmp/half.gz --overwrite'

echo "one user again"
echo TINYCLAW_ENGINE_USERS=false >>/etc/tinyclaw/tinyclaw.env
systemctl restart tinyclaw-processor
holds "by a setting" within 90 answered "as one user"
holds "it is told" within 60 said "all desks are one user" tinyclaw doctor
sed -i '/TINYCLAW_ENGINE_USERS/d' /etc/tinyclaw/tinyclaw.env
systemctl restart tinyclaw-processor
holds "and many again" within 90 answered "as many users"
holds "which is told, too" within 60 said "is a user of its own" tinyclaw doctor

echo "the doctor"
holds "sees every service" said "every service of tinyclaw.target is active" tinyclaw doctor
holds "and that no backup is made by itself" said "none is made by itself" tinyclaw doctor
holds "the secrets are root's" said "encrypted, root's alone" tinyclaw doctor
chmod 0644 /etc/credstore.encrypted/telegram-bot-token
holds "one that others may read is told" said "telegram-bot-token is root's, mode 644" tinyclaw doctor
chmod 0600 /etc/credstore.encrypted/telegram-bot-token
mkdir -p /etc/systemd/system/tinyclaw-processor.service.d
printf '[Service]\nSystemCallFilter=\nSystemCallFilter=@file-system @basic-io\nIPAddressDeny=\n' >/etc/systemd/system/tinyclaw-processor.service.d/wrong.conf
systemctl daemon-reload
holds "a unit that filters Landlock away is told" said "filters Landlock" tinyclaw doctor
holds "and one that reaches the cloud's metadata" said "does not shut 169.254.169.254" tinyclaw doctor
rm -r /etc/systemd/system/tinyclaw-processor.service.d
systemctl daemon-reload
mv /var/lib/systemd/credential.secret /var/lib/systemd/credential.lost
holds "a key of this machine's that is lost is told" said "before it lost its key" tinyclaw doctor
mv /var/lib/systemd/credential.lost /var/lib/systemd/credential.secret
systemctl stop tinyclaw-dashboard
holds "so is a service that does not run" said "tinyclaw-dashboard.service is inactive" tinyclaw doctor
systemctl start tinyclaw-dashboard

echo "memory"
total=0
each=""
for it in processor telegram broker dashboard health; do
    rss="$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(systemctl show -P MainPID "tinyclaw-$it")/status")"
    total=$((total + ${rss:-0}))
    each="$each, $it $((${rss:-0} / 1024))"
done
rss="$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(warden)/status")"
total=$((total + rss))
each="$each, the warden $((rss / 1024))"
echo "  five units, idle: $((total / 1024)) MB (goal: 40): ${each#, }"
: >/out/done
