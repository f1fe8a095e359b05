#!/usr/bin/python3
"""No TLS, no start on a network address; with TLS only the operator's certificates count, each for what it is for."""
import json
import subprocess
import time

from e2e import Lab, check, main, os, wait_until


class _Authority:
    """A certificate authority made with openssl, as README says an operator does."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")

    def _openssl(self, *words):
        done = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, text=True)
        check(done.returncode == 0, done.stderr)

    def issue(self, name, san):
        with open(os.path.join(self.folder, name + ".ext"), "w") as file:
            file.write(f"subjectAltName={san}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", name + ".key", "-out", name + ".csr")
        self._openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", name + ".crt",
                      "-extfile", name + ".ext")

    def file(self, name):
        return os.path.join(self.folder, name)


def _rewrite(lab, name, **changes):
    path = os.path.join(lab.root, name)
    config = {**json.load(open(path)), **changes}
    with open(path, "w") as file:
        json.dump(config, file)


def _ends(lab, host):
    wait_until(lambda: lab.processes[host].poll() is not None, 10, f"{host}'s program ends")
    check(lab.processes[host].returncode != 0, "a failure")
    return lab.log_of(host)


def refuses_without_tls():
    with Lab(nodes=1, start=False) as lab:
        _rewrite(lab, "controller.json", insecure_lab=False)
        lab.start_controller(wait=False)
        log = _ends(lab, "head")
        check("tls" in log.lower() and "insecure-lab" in log, f"what to do about it: {log}")
        _rewrite(lab, "node1.json", insecure_lab=False)
        lab.start_agent("node1", wait=False)
        log = _ends(lab, "node1")
        check("tls" in log.lower() and "insecure-lab" in log, f"what to do about it: {log}")


def loopback_needs_none():
    with Lab(nodes=1, start=False) as lab:
        _rewrite(lab, "controller.json", insecure_lab=False, listen="127.0.0.1:7470")
        lab.start_controller(wait=False)
        lab.controller = "127.0.0.1:7470"
        wait_until(lambda: lab.cli("group", "list", "-o", "json").rc == 0, 10, "the controller answers on loopback")


def _user(lab, name, authority):
    return {"TRAINYARD_CA": authority.file("ca.crt"), "TRAINYARD_CERT": authority.file(name + ".crt"), "TRAINYARD_KEY": authority.file(name + ".key")}


def certificates():
    with Lab(nodes=2, start=False) as lab:
        ours, theirs = _Authority(os.path.join(lab.root, "ca")), _Authority(os.path.join(lab.root, "other-ca"))
        address = lab.network.hosts["head"].address
        ours.issue("controller", f"IP:{address}")
        ours.issue("node1", "URI:spiffe://trainyard/node/node1")
        ours.issue("anna", "URI:spiffe://trainyard/user/anna")
        theirs.issue("anna", "URI:spiffe://trainyard/user/anna")
        _rewrite(lab, "controller.json", insecure_lab=False,
                 tls={"certificate": ours.file("controller.crt"), "key": ours.file("controller.key"), "client_ca": ours.file("ca.crt")})
        for node, certificate in (("node1", "node1"), ("node2", "anna")):
            _rewrite(lab, f"{node}.json", insecure_lab=False,
                     tls={"certificate": ours.file(certificate + ".crt"), "key": ours.file(certificate + ".key"), "ca": ours.file("ca.crt")})
        lab.start_controller(wait=False)
        anna = _user(lab, "anna", ours)
        wait_until(lambda: lab.cli("group", "list", "-o", "json", env=anna).rc == 0, 15, "a user with a certificate is served")
        lab.start_agent("node1", wait=False)
        lab.start_agent("node2", wait=False)

        def names():
            return [n["name"] for n in lab.cli("node", "list", "-o", "json", env=anna).json() if n["reachable"]]

        wait_until(lambda: names() == ["node1"], 15, "the node with a node's certificate joins")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:  # and stays the only one
            check(names() == ["node1"], "a user's certificate not to join a node")
            time.sleep(0.2)
        lab.cli("group", "create", "-n", "g", "--retry-for", 1, env=_user(lab, "node1", ours)).failed()
        lab.cli("group", "create", "-n", "g", "--retry-for", 1, env=_user(lab, "anna", theirs)).failed()
        lab.cli("group", "create", "-n", "g", "--retry-for", 1).failed()
        lab.cli("group", "create", "-n", "g", env=anna).ok()


if __name__ == "__main__":
    main(globals())
