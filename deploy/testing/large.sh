#!/bin/sh
# An office that has been in use for long: 221 MB in 5,000 files. How long a backup takes, and restoring it until there is an answer.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

echo "a large office"
dpkg --install /in/now/*.deb >/tmp/dpkg 2>&1 || cat /tmp/dpkg
echo TINYCLAW_ENGINE_KIND=demo >>/etc/tinyclaw/tinyclaw.env
systemctl enable --quiet --now tinyclaw.target
holds "it answers" within 90 answered first
# Text as a transcript is: a third of it goes when it is packed.
python3 - <<'END'
import base64, os
text = base64.b64encode(os.urandom(4_000_000))
for n in range(5000):
    folder = f"/var/lib/tinyclaw-home/.claude/projects/{n % 50}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{n}.jsonl", "wb") as file:
        file.write(text[n * 997 : n * 997 + 44_200])
END
chown -R tinyclaw:tinyclaw /var/lib/tinyclaw-home
sync
ms holds "it is backed up" tinyclaw backup /var/backups/tinyclaw/large.tar.gz
echo "  backup of $(du -sm /var/lib/tinyclaw-home | cut -f1) MB took $ms ms (goal: 10000), $(du -m /var/backups/tinyclaw/large.tar.gz | cut -f1) MB"
restored() { tinyclaw restore /var/backups/tinyclaw/large.tar.gz --overwrite && within 90 answered "after a restore"; }
ms holds "it is restored, and answers" restored
echo "  restore to an answer took $ms ms (goal: 10000)"
holds "every file is there" [ "$(find /var/lib/tinyclaw-home/.claude/projects -name '*.jsonl' | wc -l)" = 5000 ]
: >/out/done
