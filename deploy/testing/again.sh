#!/bin/sh
# The same machine after it was started again; then everything is removed.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

echo "started again"
holds "the office is up by itself" within 60 systemctl --quiet is-active tinyclaw.target
holds "and answers" within 60 answered "after the boot"

echo "two offices"
printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >/etc/systemd/system/tinyclaw.service
systemctl daemon-reload
systemctl start tinyclaw.service
holds "Docker's office ends this one" within 60 fails systemctl --quiet is-active tinyclaw-processor.service
systemctl start tinyclaw.target
holds "and this one Docker's" fails systemctl --quiet is-active tinyclaw.service
rm /etc/systemd/system/tinyclaw.service
systemctl daemon-reload

echo "removed"
tinyclaw send "until it is removed [demo: slow 120s]" >/dev/null
working() { pgrep -u "$(seq -s, 20001 20040)"; }
holds "a desk is at work" within 60 working
holds "purge says what stays" said "what it knew stays" dpkg --purge tinyclaw
holds "nothing runs any more" fails pgrep -f /usr/lib/tinyclaw
holds "no desk's, either" fails working
holds "and no unit is left" [ -z "$(systemctl list-unit-files --no-legend 'tinyclaw*')" ]
holds "the state is there" [ -s /var/lib/tinyclaw/message-history.jsonl ]
: >/out/done
