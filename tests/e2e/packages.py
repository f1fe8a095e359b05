#!/usr/bin/python3
"""The Debian packages: made, installed on a Debian that has nothing but itself, and run there. Skipped where no such Debian can
be made (mmdebstrap and a package mirror)."""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

from e2e import CHECKOUT, SKIPPED, build_directory, check, main

IN_THE_ROOT = r"""
set -e
mount -t proc proc /proc; umount -l /.old; rmdir /.old; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm 2>/dev/null || true
mkdir -p /tmp/cgroup; mount -t cgroup2 cgroup2 /tmp/cgroup
trainyard-controller --listen 127.0.0.1:7470 --state-dir /var/lib/trainyard/controller --config /etc/trainyard/controller.json 2>/tmp/controller.log &
controller=$!
for i in $(seq 100); do trainyard group list -o none 2>/dev/null && break; done
trainyard-agent --node-name bare --flavour STANDARD_NC6 2>/tmp/agent.log &
agent=$!
trainyard group create -n g -o none
trainyard workspace create -g g -n w -o none
trainyard experiment create -g g -w w -n x -o none
trainyard cluster create -g g -w w -n c --vm-size STANDARD_NC6 --target 1 -o none
trainyard storage account create -g g -n a -o none
trainyard storage share create -n s --account-name a -o none
cat >/tmp/job.json <<'JOB'
{"properties": {"nodeCount": 1, "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/s", "customToolkitSettings": {"commandLine": "echo trained on $TRAINYARD_NODE"},
  "mountVolumes": {"azureFileShares": [{"azureFileUrl": "https://a.file.core.windows.net/s", "relativeMountPath": "s"}]}}}
JOB
trainyard job create -g g -w w -e x -n j -c c -f /tmp/job.json -o none
trainyard job wait -g g -w w -e x -n j >/dev/null
trainyard job file stream -g g -w w -e x -j j -f stdout.txt
trainyard-agent doctor --node-name bare | grep -E "^(BROKEN|ok +(programs|controller|health checks))"  || true
trainyard node check -g g -w w -c c --share a/s --cpu -o json
kill $agent $controller; wait
"""


def _run(what, argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    check(done.returncode == 0, f"{what}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return done.stdout


def _bare_debian(root):
    made = subprocess.run(["mmdebstrap", "--variant=minbase", "--quiet", "bookworm", root], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        print(f"skipped: no bare Debian can be made here: {made.stderr[-300:]}")
        sys.exit(SKIPPED)


def installed_on_a_bare_machine():
    if not shutil.which("mmdebstrap"):
        print("skipped: mmdebstrap is not installed")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="typackages-") as folder:
        root = os.path.join(folder, "root")
        packages = _run("deploy/package", [os.path.join(CHECKOUT, "deploy", "package"), os.path.join(folder, "packages")],
                        env={**os.environ, "TRAINYARD_BUILD_DIR": build_directory()}).split("\n")
        names = sorted(os.path.basename(p).split("_")[0] for p in packages if p.endswith(".deb"))
        check(names == ["trainyard", "trainyard-agent", "trainyard-controller"], f"three packages: {names}")
        _bare_debian(root)
        for package in glob.glob(os.path.join(folder, "packages", "*.deb")):
            shutil.copy(package, os.path.join(root, "tmp"))
        said = _run("apt-get install", ["chroot", root, "sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends /tmp/*.deb openmpi-bin"],
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})
        check("copy /usr/share/doc/trainyard-agent/examples/agent.json" in said, f"what to do next to be said: {said[-500:]}")
        with open(os.path.join(root, "etc/passwd")) as users:
            check("trainyard:" in users.read(), "a user for the controller")
        os.makedirs(os.path.join(root, "srv/shares"), exist_ok=True)
        with open(os.path.join(root, "etc/trainyard/controller.json"), "w") as config:
            config.write('{"storage": [{"account": "*", "local": "/srv/shares"}]}')
        with open(os.path.join(root, "run.sh"), "w") as script:
            script.write(IN_THE_ROOT)
        out = _run("a job by the packages", ["unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--kill-child=SIGKILL", "sh", "-c", "ip link set lo up; mount --bind $0 $0; cd $0; mkdir .old; pivot_root . .old; exec chroot . bash /run.sh", root],
                   env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, timeout=120)
        check("trained on bare" in out, f"a job to run: {out}")
        check("ok       health checks" in out and "memoryGBps" in out, f"the node to be measured: {out}")
        check("BROKEN" not in out and "ok       programs" in out, f"the doctor to be content: {out}")
        removed = _run("apt-get remove", ["chroot", root, "apt-get", "remove", "-y", "-qq", "trainyard", "trainyard-agent", "trainyard-controller"],
                       env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})
        check(not glob.glob(os.path.join(root, "usr/bin/trainyard*")), f"no program left: {removed[-300:]}")


if __name__ == "__main__":
    main(globals())
