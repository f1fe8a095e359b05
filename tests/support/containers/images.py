"""Images for tests, made here: a Debian with Open MPI and Python (mmdebstrap, once per build directory), as OCI layouts that
skopeo pushes. Versions of an image share that layer and differ in a small one."""
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netlab"))
from lab import build_directory  # noqa: E402

PACKAGES = "openmpi-bin,python3-minimal,python3-mpi4py"


class ImageError(RuntimeError):
    pass


def missing_tools():
    return [tool for tool in ("mmdebstrap", "skopeo", "docker-registry", "htpasswd", "podman", "dockerd", "ch-run")
            if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]


def _cache():
    path = os.path.join(build_directory(), "containers")
    os.makedirs(path, exist_ok=True)
    return path


def base_tar():
    """The root file system; the first call of a build directory makes it."""
    path = os.path.join(_cache(), hashlib.sha256(PACKAGES.encode()).hexdigest()[:12] + ".tar")
    if os.path.exists(path):
        return path
    exclude = [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")]
    new = path.removesuffix(".tar") + ".new.tar"  # the ending says what is made
    made = subprocess.run(["mmdebstrap", "--variant=minbase", "--quiet", f"--include={PACKAGES}", *exclude, "bookworm", new],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise ImageError(f"mmdebstrap: {made.stderr[-500:]}")
    os.rename(new, path)
    return path


def _blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    path = os.path.join(layout, "blobs", "sha256", digest)
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def _base_layer(layout):
    """The compressed layer, made once; layouts link to it."""
    plain, packed = base_tar(), base_tar() + ".gz"
    about = packed + ".json"
    if not os.path.exists(about):
        with open(plain, "rb") as source:
            data = source.read()
        with open(packed, "wb") as target:
            target.write(gzip.compress(data, 1, mtime=0))
        with open(packed, "rb") as source:
            digest = hashlib.sha256(source.read()).hexdigest()
        with open(about + ".new", "w") as file:
            json.dump({"digest": digest, "size": os.path.getsize(packed), "diff": hashlib.sha256(data).hexdigest()}, file)
        os.rename(about + ".new", about)
    with open(about) as file:
        known = json.load(file)
    os.link(packed, os.path.join(layout, "blobs", "sha256", known["digest"]))
    return {"digest": f"sha256:{known['digest']}", "size": known["size"]}, f"sha256:{known['diff']}"


def oci_layout(folder, version, base=True, filler_mb=0):
    """An image whose /image-version says `version`, with a file of so many MB of nothing. Without `base` it has nothing else.
    Returns its skopeo name."""
    layout = os.path.join(folder, f"oci-{version}")
    os.makedirs(os.path.join(layout, "blobs", "sha256"))
    layers, diffs = [], []
    if base:
        layer, diff = _base_layer(layout)
        layers.append(layer)
        diffs.append(diff)
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w") as tar:
        entry = tarfile.TarInfo("image-version")
        entry.size, entry.mode = len(version) + 1, 0o644
        tar.addfile(entry, io.BytesIO(version.encode() + b"\n"))
        if filler_mb:
            entry = tarfile.TarInfo("filler-" + version)
            entry.size, entry.mode = filler_mb << 20, 0o644
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    layers.append(_blob(layout, gzip.compress(text.getvalue(), 1, mtime=0)))
    diffs.append("sha256:" + hashlib.sha256(text.getvalue()).hexdigest())
    environment = ["PATH=/opt/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FROM_IMAGE=" + version]
    config = _blob(layout, json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": environment, "Entrypoint": ["/bin/false"]},
                                       "rootfs": {"type": "layers", "diff_ids": diffs}}).encode())
    media = "application/vnd.oci.image."
    manifest = _blob(layout, json.dumps({
        "schemaVersion": 2, "mediaType": media + "manifest.v1+json", "config": {"mediaType": media + "config.v1+json", **config},
        "layers": [{"mediaType": media + "layer.v1.tar+gzip", **layer} for layer in layers]}).encode())
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [{"mediaType": media + "manifest.v1+json", **manifest,
                                                      "annotations": {"org.opencontainers.image.ref.name": "1"}}]}, file)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    return f"oci:{layout}:1"


def unpacked(folder):
    """The base as a directory, for charliecloud."""
    os.makedirs(folder)
    subprocess.run(["tar", "-C", folder, "-xf", base_tar(), "--exclude=./dev/*"], check=True)
    with open(os.path.join(folder, "image-version"), "w") as file:
        file.write("unpacked\n")
