"""A registry with passwords, and an engine for each pretend host with a store of its own, set up as an operator would: the
engine's configuration trusts the registry, the agent finds the engine's socket in its usual place."""
import http.client
import json
import os
import resource
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netlab"))
from lab import LabError, wait_until  # noqa: E402

SOCKETS = {"podman": "/run/podman/podman.sock", "docker": "/run/docker.sock"}
V1_API = "/v1.41"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class Engine:
    """podman's service or dockerd on one host."""

    def __init__(self, lab, node, kind, registry):
        self.lab, self.node, self.kind, self.process = lab, node, kind, None
        self.folder = os.path.join(lab.network.hosts[node].folder, kind)
        os.makedirs(self.folder, exist_ok=True)
        self._configure(registry)

    def _configure(self, registry):
        if self.kind == "docker":
            with open(os.path.join(self.folder, "daemon.json"), "w") as file:
                json.dump({"bridge": "none", "iptables": False, "ip6tables": False, "data-root": os.path.join(self.folder, "data"),
                           "exec-root": "/run/docker-exec", "pidfile": "/run/dockerd.pid", "hosts": ["unix://" + SOCKETS["docker"]],
                           "insecure-registries": [registry], "live-restore": True}, file)
            return
        files, processes = (min(most, resource.getrlimit(which)[1] % 2**63) for which, most in
                            ((resource.RLIMIT_NOFILE, 1048576), (resource.RLIMIT_NPROC, 32768)))
        with open(os.path.join(self.folder, "containers.conf"), "w") as file:
            file.write(f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
                       '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n')
        with open(os.path.join(self.folder, "registries.conf"), "w") as file:
            file.write(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')

    def _environment(self):
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.join(self.lab.root, "home"),
                "CONTAINERS_CONF": os.path.join(self.folder, "containers.conf"),
                "CONTAINERS_REGISTRIES_CONF": os.path.join(self.folder, "registries.conf")}

    def _podman_argv(self, *words):
        return ["podman", "--root", os.path.join(self.folder, "store"), "--runroot", "/run/containers", "--tmpdir", "/run/libpod", *words]

    def podman(self, *words):
        """podman's command line on this host's store."""
        done = self.lab.network.hosts[self.node].run(self._podman_argv(*words), env=self._environment(), timeout=300)
        if done.returncode != 0:
            raise LabError(f"podman {words[0]}: {done.stderr}")
        return done.stdout

    def start(self):
        host = self.lab.network.hosts[self.node]
        host.run(["mkdir", "-p", os.path.dirname(SOCKETS["podman"])])
        argv = ["/usr/sbin/dockerd", "--config-file", os.path.join(self.folder, "daemon.json")] if self.kind == "docker" else \
            self._podman_argv("system", "service", "--time=0", "unix://" + SOCKETS["podman"])
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = host.start(argv, stdout=log, stderr=log, env=self._environment())
        return self

    def wait(self):
        wait_until(self._answers, 30, f"{self.kind} on {self.node} answers", 0.05)

    def _answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "log"), errors="replace") as log:
                raise LabError(f"{self.kind} on {self.node} ended: {log.read()[-1000:]}")
        try:
            return self.ask("GET", "/_ping") is not None
        except OSError:
            return False

    def _socket(self):
        # The host's /run, seen from here.
        return f"/proc/{self.lab.network.hosts[self.node].pid}/root{SOCKETS[self.kind]}"

    def ask(self, method, target):
        connection = _UnixConnection(self._socket())
        connection.request(method, V1_API + target)
        answer = connection.getresponse()
        text = answer.read()
        try:
            return json.loads(text)
        except ValueError:
            return text.decode(errors="replace")

    def containers(self):
        return [name for container in self.ask("GET", "/containers/json?all=1") for name in container["Names"]]

    def kill(self):
        """kill -9 of the daemon, and nothing else."""
        program = "dockerd" if self.kind == "docker" else "podman"
        for pid in self.lab.network.hosts[self.node].pids(program):
            os.kill(pid, 9)
        self.process.wait(timeout=10)

    def restart(self):
        # What a service manager does before a start after a crash: pid files of another life name other processes.
        run = f"/proc/{self.lab.network.hosts[self.node].pid}/root/run/"
        for left in ("dockerd.pid", "docker-exec/containerd/containerd.pid"):
            if os.path.exists(run + left):
                os.unlink(run + left)
        self.start().wait()


class Registry:
    """docker-registry with htpasswd, on the lab's head."""

    def __init__(self, lab, user, password, port=5000):
        self.lab, self.user, self.password = lab, user, password
        self.address = f"{lab.network.hosts['head'].address}:{port}"
        folder = os.path.join(lab.root, "registry")
        os.makedirs(os.path.join(folder, "data"))
        with open(os.path.join(folder, "passwords"), "w") as file:
            file.write(subprocess.run(["htpasswd", "-Bni", user], input=password, capture_output=True, check=True, text=True).stdout)
        with open(os.path.join(folder, "config.yml"), "w") as file:
            file.write(f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "{self.address}", secret: tests}}
auth: {{htpasswd: {{realm: lab, path: {folder}/passwords}}}}
""")
        with open(os.path.join(folder, "log"), "ab") as log:
            lab.network.hosts["head"].start(["docker-registry", "serve", os.path.join(folder, "config.yml")], stdout=log, stderr=log)
        wait_until(self._answers, 15, "the registry answers", 0.05)

    def _answers(self):
        host, port = self.address.split(":")
        return self.lab.network.hosts["head"].run(["bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}"]).returncode == 0

    def push(self, layout, name):
        """Returns the image's full name."""
        image = f"{self.address}/{name}"
        pushed = self.lab.network.hosts["head"].run(
            ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"{self.user}:{self.password}",
             layout, "docker://" + image])
        if pushed.returncode != 0:
            raise LabError(f"skopeo: {pushed.stderr}")
        return image
