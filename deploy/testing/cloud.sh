#!/bin/sh
# A fresh machine of a cloud: cloud-init is given the user-data of the plan, with a package that is here and no tailnet, and makes an
# office of it. The volume comes later. Real ufw, real fail2ban, real sshd.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

echo "the first boot"
holds "pai-setup comes to its end" within 180 grep -qx "pai-setup: done" /var/log/pai-setup.log
holds "and may be run again" /usr/local/sbin/pai-setup
holds "while the volume is away no service runs" fails systemctl --quiet is-active tinyclaw-processor.service
holds "nor anything is written where it belongs" [ -z "$(ls -A /var/lib/tinyclaw/queue 2>/dev/null)" ]
grep -q TINYCLAW_ENGINE_KIND /etc/tinyclaw/tinyclaw.env || echo TINYCLAW_ENGINE_KIND=demo >>/etc/tinyclaw/tinyclaw.env

echo "the volume"
mkdir -p /mnt/pai-data
mount -t tmpfs -o mode=0755 pai-data /mnt/pai-data
# On a real machine the mount's own unit is waited for; a container has none for a device.
systemctl start tinyclaw-volume.service
systemctl start tinyclaw.target
holds "once it is there the office starts" within 90 systemctl --quiet is-active tinyclaw-processor.service
holds "and answers" within 90 answered "with a volume"
holds "its state is on the volume" [ -s /mnt/pai-data/tinyclaw/message-history.jsonl ]
holds "the memory is where the specification has it" [ "$(readlink /mnt/pai-data/memory)" = tinyclaw/memory ]

echo "what is open"
holds "the firewall is up and refuses what is not asked for" said "deny (incoming)" ufw status verbose
holds "SSH is open" said "22/tcp" ufw status
holds "passwords are not taken" said "passwordauthentication no" sshd -T
holds "fail2ban watches sshd" within 60 fail2ban-client status sshd
# A neighbour, on a wire of its own.
ip netns add neighbour
ip link add wire type veth peer name eth0 netns neighbour
ip addr add 192.0.2.1/24 dev wire
ip link set wire up
ip -n neighbour addr add 192.0.2.2/24 dev eth0
ip -n neighbour link set eth0 up
systemctl start ssh
neighbour() { ip netns exec neighbour timeout 5 bash -c "exec 3<>/dev/tcp/192.0.2.1/$1 && head -c 4 <&3"; }
holds "a neighbour finds SSH" within 30 said SSH neighbour 22
holds "and neither /health nor the dashboard" fails neighbour 7777
holds "nor that" fails neighbour 3100
fail2ban-client set sshd banip 192.0.2.2 >/dev/null 2>&1
holds "who is banned is shut out by a rule of ufw" said 192.0.2.2 ufw status
holds "and finds nothing any more" fails neighbour 22

echo "what it says"
holds "no secret of the office is in user-data" fails grep -rqE 'sk-ant|[0-9]{8}:[A-Za-z0-9_-]{30}' /var/lib/cloud/instance/user-data.txt
holds "the log is there" [ -s /var/log/pai-setup.log ]
[ ! -s /out/failures ] || { tail -n 30 /var/log/pai-setup.log; cloud-init status --long; }
: >/out/done
