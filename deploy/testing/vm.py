#!/usr/bin/env python3
"""A whole machine, made by cloud-init as the plan fills it in, with a kernel of its own: emulated, so no /dev/kvm is needed.

    vm.py ROOT PACKAGE USER-DATA

ROOT is a Debian with a kernel, PACKAGE the deb to install, USER-DATA what cloud-init is given (deploy/testing/vm.sh makes all
three). The machine has no network and sees nothing of this one; what it is asked stands in machine.sh, and what it says comes over a
serial line, which is all that is believed of it. Exit codes: 0 all held, 1 something did not.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
# An emulated processor is some twenty times slower, and may have others beside it.
PATIENCE = float(os.environ.get("TINYCLAW_VM_PATIENCE", 3600))


def make_disk(path, size, root=None):
    subprocess.run(["truncate", "--size", size, path], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", *(["-d", root] if root else []), path], check=True)


def make_seed(folder, package, user_data):
    """The disk that cloud-init looks for; the package and the questions are on it, too."""
    files = os.path.join(folder, "seed")
    os.mkdir(files)
    shutil.copy(user_data, os.path.join(files, "user-data"))
    with open(os.path.join(files, "meta-data"), "w") as out:
        out.write("instance-id: one\nlocal-hostname: pai-prod\n")
    for it in [os.path.join(HERE, "machine.sh"), os.path.join(HERE, "holds.sh"), package]:
        shutil.copy(it, files)
    iso = os.path.join(folder, "seed.iso")
    subprocess.run(["genisoimage", "-quiet", "-output", iso, "-volid", "cidata", "-joliet", "-rock", files], check=True)
    return iso


class Machine:
    """One run of the emulator, over all boots of the machine in it."""

    def __init__(self, folder, root, seed):
        self.monitor_path = os.path.join(folder, "monitor")
        said_path = os.path.join(folder, "said")
        disk, volume = os.path.join(folder, "disk"), os.path.join(folder, "volume")
        make_disk(disk, "4G", root)
        make_disk(volume, "256M")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(said_path)
        listener.listen(1)
        self.emulator = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none", "-nic", "none",
                "-kernel", os.path.join(root, "vmlinuz"), "-initrd", os.path.join(root, "initrd.img"),
                "-append", "root=/dev/vda rw console=ttyS0 systemd.wants=selftest.service",
                "-drive", f"file={disk},format=raw,if=virtio",
                "-drive", f"file={seed},format=raw,if=virtio,readonly=on",
                "-blockdev", f"driver=raw,node-name=volume,file.driver=file,file.filename={volume}",
                "-device", "virtio-scsi-pci,id=scsi",
                "-serial", f"file:{os.path.join(folder, 'console')}", "-serial", f"unix:{said_path}",
                "-monitor", f"unix:{self.monitor_path},server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        listener.settimeout(30)
        self.said, _ = listener.accept()
        listener.close()

    def lines(self):
        with self.said.makefile("r", errors="replace") as it:
            for line in it:
                yield line.rstrip("\r\n")

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(self.monitor_path)
            monitor.settimeout(30)
            answer = b""
            for it in [None, command]:
                if it:
                    answer = b""
                    monitor.sendall(it.encode() + b"\n")
                while not answer.endswith(b"(qemu) "):
                    answer += monitor.recv(4096)

    def end(self):
        self.emulator.kill()
        self.emulator.wait()


def main():
    root, package, user_data = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder, root, make_seed(folder, package, user_data))
        patience = threading.Timer(PATIENCE, machine.end)
        patience.daemon = True
        patience.start()
        failures, ended = 0, False
        for line in machine.lines():
            what = line.removeprefix("WANTS ")
            if what == line:
                print(line, flush=True)
                failures += line.startswith("  FAILED: ")
            elif what == "volume":
                machine.tell("device_add scsi-hd,id=volume,drive=volume,bus=scsi.0,vendor=DO,product=Volume,serial=pai-data")
            elif what == "away":
                machine.tell("device_del volume")
            elif what == "off":
                ended = True
        machine.end()
        if not ended:
            print("  FAILED: the machine did not come to its end; the last of its console:")
            with open(os.path.join(folder, "console"), errors="replace") as console:
                print("".join(f"  | {it}" for it in console.readlines()[-40:]))
        sys.exit(1 if failures or not ended else 0)


if __name__ == "__main__":
    main()
