#!/usr/bin/python3
"""File servers that Trainyard makes on a storage node: a real nfs-ganesha, written and read from other hosts by libnfs."""
import ipaddress
import json
import os
import shutil
import signal
import sys

from e2e import SKIPPED, Lab, check, main, wait_until

AT = ["-g", "g", "-w", "w"]
CREATE = ["-s", "Standard_DS2", "--generate-ssh-keys"]


class _Storage:
    """A lab whose node1 is a storage node."""

    def __init__(self, nodes=2, **settings):
        self.lab = Lab(nodes=nodes, start=False)
        lab = self.lab
        try:
            self.host = lab.network.hosts["node1"]
            self.directory = os.path.join(self.host.folder, "files")
            os.mkdir(self.directory)
            self.configure("node1", file_server_directory=self.directory, **settings)
            lab.start_controller()
            for node in lab.nodes:
                lab.start_agent(node, wait=False)
            lab.wait_reachable(nodes)
            lab.cli("group", "create", "-n", "g").ok()
            lab.cli("workspace", "create", *AT[:2], "-n", "w").ok()
        except BaseException:
            lab.down()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.lab.__exit__(*error)

    def configure(self, node, **values):
        path = os.path.join(self.lab.root, f"{node}.json")
        with open(path) as file:
            config = json.load(file)
        config.update(values)
        with open(path, "w") as file:
            json.dump(config, file)

    def create(self, name, *flags, gigabytes=1):
        return self.lab.cli("file-server", "create", *AT, "-n", name, *CREATE, "--disk-size", gigabytes, *flags, "-o", "json")

    def show(self, name):
        return self.lab.cli("file-server", "show", *AT, "-n", name, "-o", "json").json()

    def wait_state(self, name, state, deadline_s=30):
        wait_until(lambda: self.show(name)["provisioningState"] == state, deadline_s, f"{name} is {state}", 0.1)

    def wait_gone(self, name):
        wait_until(lambda: self.lab.cli("file-server", "show", *AT, "-n", name).rc != 0, 30, f"{name} is gone", 0.1)

    def nfs(self, host, program, *words):
        """Runs nfs-ls, nfs-cat or nfs-cp of libnfs on a host."""
        return self.lab.network.hosts[host].run([program, *words], timeout=60)

    @staticmethod
    def url(server, path=""):
        mount = server["mountSettings"]
        return f"nfs://{mount['fileServerInternalIp']}{mount['mountPoint']}{path}?version=4&nfsport={mount['port']}"

    def write(self, host, server, path, text):
        source = os.path.join(self.lab.root, "to-copy")
        with open(source, "w") as file:
            file.write(text)
        return self.nfs(host, "nfs-cp", source, self.url(server, path))

    def read(self, host, server, path):
        return self.nfs(host, "nfs-cat", self.url(server, path)).stdout

    def servers(self):
        return self.host.pids("ganesha.nfsd")

    def cgroups(self):
        parent = os.path.join(self.host.cgroup, "trainyard")
        return [name for name in os.listdir(parent) if name.startswith("file-server-")]

    def nothing_left(self):
        """Neither process, directory, cgroup nor spool."""
        check(self.servers() == [], f"no nfs-ganesha, there are {self.servers()}")
        check(os.listdir(self.directory) == [], f"no files, there are {os.listdir(self.directory)}")
        check(self.cgroups() == [], f"no cgroup, there are {self.cgroups()}")
        left = os.listdir(os.path.join(self.host.folder, "spool", "file-servers"))
        check(left == [], f"nothing in the agent's spool, there is {left}")


def created_used_and_deleted():
    with _Storage() as storage:
        lab = storage.lab
        made = storage.create("nfs").json()
        mount = made["mountSettings"]
        check(made["provisioningState"] == "succeeded" and made["node"] == "node1" and made["reason"] is None, f"it serves: {made}")
        check(mount["fileServerInternalIp"] == storage.host.address and mount["port"] == 2049, f"mount settings: {mount}")
        check(mount["mountPoint"].startswith(storage.directory), f"an export below the agent's directory: {mount}")
        copied = storage.write("node2", made, "/greeting", "hello from node2\n")
        check(copied.returncode == 0, f"node2 writes: {copied}")
        check(storage.read("head", made, "/greeting") == "hello from node2\n", "another host reads it")
        check("greeting" in storage.nfs("node2", "nfs-ls", storage.url(made)).stdout, "nfs-ls lists it")

        second = storage.create("scratch").json()
        check(second["mountSettings"]["port"] == 2050, f"the next one has a port of its own: {second['mountSettings']}")
        check(storage.read("node2", second, "/greeting") == "", "and files of its own")
        again = storage.create("nfs").json()
        check(again["id"] == made["id"] and len(storage.servers()) == 2, "the same creation again makes nothing")
        lines = lab.cli("file-server", "list", *AT, "-o", "table").ok().splitlines()
        check(any("nfs" in line and storage.host.address in line and mount["mountPoint"] in line for line in lines), f"the table: {lines}")

        lab.cli("file-server", "delete", *AT, "-n", "nfs").failed("confirmation", "-y")
        lab.cli("file-server", "delete", *AT, "-n", "nfs", "-y").ok()
        lab.cli("file-server", "show", *AT, "-n", "nfs").failed("nfs")
        check(len(storage.servers()) == 1, "the other one goes on")
        lab.cli("file-server", "delete", *AT, "-n", "scratch", "-y").ok()
        storage.nothing_left()
        third = storage.create("nfs").json()
        check(storage.nfs("node2", "nfs-cat", storage.url(third, "/greeting")).returncode != 0, "of the same name: new and empty")


def killed_servers_and_agents():
    with _Storage() as storage:
        lab = storage.lab
        made = storage.create("nfs").json()
        storage.write("node2", made, "/kept", "still here\n")
        [server] = storage.servers()

        lab.kill_agent("node1")
        check(storage.read("node2", made, "/kept") == "still here\n", "it serves without the agent")
        lab.start_agent("node1")
        storage.wait_state("nfs", "succeeded")
        check(storage.servers() == [server], "a restarted agent takes up the server that runs")
        lab.kill_controller()
        lab.start_controller()
        storage.wait_state("nfs", "succeeded")
        check(storage.servers() == [server], "nor does the controller's restart end it")

        os.kill(server, signal.SIGKILL)
        wait_until(lambda: storage.servers() and storage.servers() != [server], 30, "a new server runs", 0.05)
        # Clients that opened files have the time of a lease to say so, and others wait for them.
        wait_until(lambda: storage.read("node2", made, "/kept") == "still here\n", 60, "the files are served again", 0.2)
        storage.wait_state("nfs", "succeeded")
        check(storage.show("nfs")["mountSettings"] == made["mountSettings"], "at the same address")
        history = [f for f in lab.log_of("node1").splitlines() if "ended by signal 9" in f]
        check(len(history) == 1, f"the agent says once why: {history}")

        lab.crash("node1")
        lab.boot("node1")
        wait_until(lambda: storage.servers() not in ([], [server]), 30, "a reboot starts it again", 0.05)
        # Looking needs no grace.
        wait_until(lambda: "kept" in storage.nfs("node2", "nfs-ls", storage.url(made)).stdout, 30, "with its files", 0.1)
        storage.wait_state("nfs", "succeeded")
        check(storage.show("nfs")["mountSettings"] == made["mountSettings"], "at the same address")
        lab.cli("file-server", "delete", *AT, "-n", "nfs", "-y").ok()
        storage.nothing_left()


def deleted_while_the_node_is_away():
    with _Storage() as storage:
        lab = storage.lab
        storage.create("one").json()
        storage.create("two").json()
        lab.crash("node1")
        lab.wait_node("node1", "unreachable")
        lab.cli("file-server", "delete", *AT, "-n", "one", "-y", "--no-wait").ok()
        shown = storage.show("one")
        check(shown["provisioningState"] == "deleting" and "does not answer since" in shown["reason"], f"it says what it waits for: {shown}")
        storage.create("one").failed("being deleted")
        lab.cli("workspace", "delete", *AT[:2], "-n", "w", "-y", "--no-wait").ok()
        check(storage.show("two")["provisioningState"] == "deleting", "the workspace takes them along")
        lab.kill_controller()
        lab.start_controller()
        lab.boot("node1")
        wait_until(lambda: lab.cli("workspace", "show", *AT[:2], "-n", "w").rc != 0, 30, "the workspace is gone", 0.1)
        storage.nothing_left()


def an_agent_ends_what_is_not_ordered():
    """Its controller has lost its database: the servers end, and the files stay."""
    with _Storage() as storage:
        lab = storage.lab
        made = storage.create("nfs").json()
        storage.write("node2", made, "/precious", "not deleted\n")
        lab.kill_controller()
        shutil.rmtree(lab.state_dir)
        lab.start_controller()
        wait_until(lambda: storage.servers() == [] and storage.cgroups() == [], 30, "nothing runs", 0.05)
        with open(os.path.join(made["mountSettings"]["mountPoint"], "precious")) as file:
            check(file.read() == "not deleted\n", "the files are there")


def what_cannot_be_made():
    with _Storage() as storage:
        lab = storage.lab
        storage.create("huge", "--disk-count", "1000", gigabytes=1_000_000).failed("no room", "free", "diskSizeInGB")
        check(storage.show("huge")["provisioningState"] == "failed", "it is there, and failed")
        check(storage.show("huge")["mountSettings"] is None, "without mount settings")
        lab.cli("file-server", "delete", *AT, "-n", "huge", "-y").ok()
        storage.nothing_left()
        storage.create("fast", "--caching-type", "sometimes").failed("cachingType", "none, readonly, readwrite")

        path = os.path.join(lab.root, "nfs.json")
        with open(path, "w") as file:
            json.dump({"properties": {"vmSize": "STANDARD_D2", "dataDisks": {"diskSizeInGB": 1, "diskCount": 2, "storageAccountType": "Standard_LRS"},
                                      "sshConfiguration": {"userAccountSettings": {"adminUserName": "ada", "adminUserPassword": "p"}}, "shape": 1}}, file)
        asked = lab.cli("file-server", "create", *AT, "-n", "filed", "-f", path, "--no-wait", "-o", "json")
        made = asked.json()
        check(made["provisioningState"] in ("creating", "succeeded") and made["dataDisks"]["diskCount"] == 2, f"of the file: {made}")
        check("shape" in asked.err and "adminUserPassword" in asked.err, f"what is ignored is said: {asked.err}")
        storage.wait_state("filed", "succeeded")

        # The storage node loses its software, or its disk: what is asked then says so.
        lab.stop_agent("node1")
        os.rename(storage.directory, storage.directory + ".unmounted")
        lab.start_agent("node1")
        storage.wait_state("filed", "failed")
        check("is its disk mounted?" in storage.show("filed")["reason"], f"the reason: {storage.show('filed')['reason']}")
        storage.create("more").failed("node1: its file_server_directory", "is not there", "file_servers")
        os.rename(storage.directory + ".unmounted", storage.directory)
        storage.wait_state("filed", "succeeded")


def only_the_clusters_network():
    with _Storage(nodes=3) as storage:
        lab = storage.lab
        inside, outside = lab.network.hosts["node2"], lab.network.hosts["node3"]
        network = ipaddress.ip_network(storage.host.address + "/32")
        while ipaddress.ip_address(inside.address) not in network:
            network = network.supernet()
        check(ipaddress.ip_address(outside.address) not in network, f"{outside.address} outside of {network}")
        lab.stop_agent("node1")
        storage.configure("node1", network_cidr=str(network))
        lab.start_agent("node1")
        made = storage.create("nfs").json()
        check(storage.write("node2", made, "/f", "x").returncode == 0, "a host of the network writes")
        refused = storage.write("node3", made, "/g", "y")
        check(refused.returncode != 0, f"another host does not: {refused}")
        check(storage.read("node3", made, "/f") == "", "nor does it read")
        listening = storage.host.run(["ss", "-ltnH"]).stdout
        addresses = [line.split()[3] for line in listening.splitlines()]
        check(any(storage.host.address in a and a.endswith(":2049") for a in addresses), f"it listens on its address: {addresses}")
        check(not any(a in ("*:2049", "0.0.0.0:2049", "[::]:2049") or a.endswith(":111") for a in addresses), f"and on no other: {addresses}")


if __name__ == "__main__":
    if not all(shutil.which(program) for program in ("ganesha.nfsd", "nfs-cp")):
        print("needs nfs-ganesha, nfs-ganesha-vfs and libnfs-utils")
        sys.exit(SKIPPED)
    main(globals())
