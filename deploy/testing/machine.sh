#!/bin/sh
# What a whole machine is asked by deploy/testing/vm.py: a kernel of Debian's own, a disk that is attached while it runs, a second boot,
# and the disk taken away. It runs once in each boot; `wants THING` asks for what only somebody outside can do.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

mkdir -p /out /var/lib/selftest
exec >/dev/ttyS1 2>&1
# What did not hold is explained by what the services said.
explain() {
    [ ! -s "$failures" ] || journalctl --boot --no-pager --lines 60 --output cat --unit 'tinyclaw*' | cut -c1-200 | sed 's/^/  | /'
}
# Nothing but whole lines.
stty -F /dev/ttyS1 raw -echo 2>/dev/null || true
number="$(($(cat /var/lib/selftest/boot 2>/dev/null || echo 0) + 1))"
echo "$number" >/var/lib/selftest/boot

wants() {
    echo "WANTS $1"
}
is_mounted() { mountpoint -q /mnt/pai-data; }
disk=/dev/disk/by-id/scsi-0DO_Volume_pai-data
opened() { tinyclaw send --wait --timeout 180 "[demo: open $1]"; }

case "$number" in
    1)
        echo "the first boot, from $(uname -r)"
        holds "pai-setup comes to its end" within 1800 grep -qx "pai-setup: done" /var/log/pai-setup.log
        holds "while the volume is away no service runs" fails systemctl --quiet is-active tinyclaw-processor.service
        holds "and nothing can be written where it belongs" fails touch /mnt/pai-data/here
        holds "doctor names it" said "/mnt/pai-data" tinyclaw doctor
        grep -q TINYCLAW_ENGINE_KIND /etc/tinyclaw/tinyclaw.env || echo TINYCLAW_ENGINE_KIND=demo >>/etc/tinyclaw/tinyclaw.env

        echo "the volume is attached"
        wants volume
        holds "it has the name that the plan waits for" within 120 [ -b "$disk" ]
        holds "it is mounted by itself" within 120 is_mounted
        holds "the services that waited start by themselves" within 300 systemctl --quiet is-active tinyclaw-processor.service
        holds "and answer" within 600 answered "with a volume"
        holds "Claude cannot read threads.json, by this kernel's own Landlock" said "ermission denied" opened /var/lib/tinyclaw/threads.json
        group="/sys/fs/cgroup$(systemctl show -P ControlGroup tinyclaw-processor)"
        holds "the kernel holds the processor to its memory" [ "$(cat "$group/memory.max")" = "$(systemctl show -P MemoryMax tinyclaw-processor)" ]
        holds "and to its number of processes" [ "$(cat "$group/pids.max")" = "$(systemctl show -P TasksMax tinyclaw-processor)" ]
        explain
        systemctl --no-block reboot
        ;;
    2)
        echo "a second boot"
        holds "the volume is back by itself" within 300 is_mounted
        holds "the office answers, and nobody did anything" within 900 answered "after a reboot"
        holds "and knows what was said before" said "with a volume" tinyclaw logs --lines 50
        holds "the firewall is up" within 300 said "Status: active" ufw status

        echo "the volume is taken away while it runs"
        wants away
        gone() { [ ! -e "$disk" ]; }
        holds "its name is gone" within 120 gone
        red() { ! curl --silent --fail --max-time 20 http://127.0.0.1:7777/health; }
        holds "/health says that something is wrong" within 300 red
        # Nothing can be asked of a machine whose office has lost its disk but to start again.
        explain
        systemctl --no-block reboot
        ;;
    3)
        echo "a boot without the volume"
        multi_user() { systemctl --quiet is-active multi-user.target; }
        holds "the machine comes up all the same" within 900 multi_user
        holds "and lets its owner in" within 300 systemctl --quiet is-active ssh.service
        holds "no service runs" fails systemctl --quiet is-active tinyclaw-processor.service
        wants volume
        holds "once it is there the office answers" within 900 answered "with the volume again"
        holds "and knows what was said before" said "after a reboot" tinyclaw logs --lines 50
        explain
        wants off
        systemctl --no-block poweroff
        ;;
esac
