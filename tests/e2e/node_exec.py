#!/usr/bin/python3
"""cluster node exec and job node exec: commands on nodes through the agents, on pipes and on terminals, and ports that lead
there. Whatever ends a call, nothing of it is left."""
import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
import time

from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

AT_CLUSTER = ["-g", "g", "-w", "w", "-c", "c"]
AT_JOB = ["-g", "g", "-w", "w", "-e", "x", "-j", "j"]
# More than all the buffers between the two ends hold.
BIG = 48 * 1024 * 1024


def _on_node(lab, command, *more, **options):
    return lab.cli("cluster", "node", "exec", *AT_CLUSTER, "--exec", command, *more, **options)


def _in_job(lab, command, *more, **options):
    return lab.cli("job", "node", "exec", *AT_JOB, "--exec", command, *more, **options)


def _cgroups(lab, node):
    """Cgroups of commands on the node, in jobs and beside them."""
    found = []
    for folder, names, _ in os.walk(os.path.join(lab.network.hosts[node].cgroup, "trainyard")):
        found += [os.path.join(folder, name) for name in names if name.startswith("exec-")]
    return found


def _nothing_left(lab, *programs):
    def gone():
        return not any(_cgroups(lab, node) or any(lab.network.hosts[node].pids(program) for program in ("trainyard-exec", *programs))
                       for node in lab.nodes)

    wait_until(gone, 15, f"no cgroup, supervisor or {programs} on any node: { {n: _cgroups(lab, n) for n in lab.nodes} }")


def _running_job(world, nodes=2):
    world.submit("j", nodes=nodes, mpi=True, command=wait_for_go(), variables={"GREETING": "hello"},
                 preparation="echo 'export FROM_PREPARATION=seen' >> ~/.bashrc")
    world.wait_for("j", "running")
    for rank in range(nodes):
        world.wait_file(f"started.{rank}")


def commands_on_nodes():
    with Lab(nodes=2) as lab:
        World(lab)
        listed = lab.cli("cluster", "node", "list", *AT_CLUSTER, "-o", "json").json()
        check([n["nodeId"] for n in listed] == ["node1", "node2"] and listed[0]["ipAddress"] == lab.network.hosts["node1"].address,
              f"both nodes with their addresses: {listed}")
        table = lab.cli("cluster", "node", "list", *AT_CLUSTER, "-o", "table").ok()
        check(table.split("\n")[0].split() == ["ID", "IP", "SSH", "Port"], f"Batch AI's columns: {table}")
        check(_on_node(lab, "hostname; id -u; echo $TRAINYARD_NODE").ok() == "node1\n0\nnode1\n", "the first node, as root")
        check(_on_node(lab, "hostname", "-n", "node2").ok() == "node2\n", "another node")
        both = _on_node(lab, "echo out; echo err >&2; exit 7")
        check((both.rc, both.out, both.err) == (7, "out\n", "err\n"), f"both outputs and the exit code: {tuple(both)}")
        check(_on_node(lab, "kill -9 $$").rc == 137, "128 + 9 of a command that a signal ended")
        check(_on_node(lab, "tr a-z A-Z", stdin_text="from here\n").ok() == "FROM HERE\n", "standard input and its end")
        _on_node(lab, "hostname", "-n", "node9").failed("node9", "node1, node2")
        lab.cli("cluster", "node", "exec", "-g", "g", "-w", "w", "-c", "none", "--exec", "true").failed("none")
        lab.cli("cluster", "node", "exec", *AT_CLUSTER).failed("--exec", "-L")
        check("no ssh" in _on_node(lab, "true", "-k", "/root/.ssh/id_rsa").err, "what has no effect to be said")
        _on_node(lab, "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo started").ok()
        _nothing_left(lab, "sleep")


def commands_in_a_job():
    with Lab(nodes=3) as lab:
        world = World(lab)
        _running_job(world)
        nodes = world.job("j")["nodes"]
        listed = lab.cli("job", "node", "list", *AT_JOB, "-o", "json").json()
        check([n["nodeId"] for n in listed] == nodes, f"the job's nodes, head first: {listed} {nodes}")
        text = _in_job(lab, "echo $GREETING $FROM_PREPARATION; pwd; ls $AZ_BATCHAI_JOB_MOUNT_ROOT/s; hostname").ok().split("\n")
        check(text[0] == "hello seen" and "started.0" in text and nodes[0] in text, f"the job's environment, profile, mounts: {text}")
        check(_in_job(lab, "hostname", "-n", nodes[1]).ok().strip() == nodes[1], "its other node")
        lines = [line for line in lab.cli("job", "timeline", *world.at("j"), "-o", "json").json() if line["what"].startswith("exec on ")]
        check([(line["what"], line["why"]) for line in lines] ==
              [(f"exec on {nodes[0]}", "echo $GREETING $FROM_PREPARATION; pwd; ls $AZ_BATCHAI_JOB_MOUNT_ROOT/s; hostname"),
               (f"exec on {nodes[1]}", "hostname")] and all(line["who"] for line in lines), f"who ran what, in the job's timeline: {lines}")
        other = next(node for node in lab.nodes if node not in nodes)
        _in_job(lab, "hostname", "-n", other).failed(other, nodes[0])
        # It ends with the job, and the job does not wait for it.
        sleeper = lab.cli_process("job", "node", "exec", *AT_JOB, "--exec", f"touch {SHARE}/asleep; sleep 1000")
        world.wait_file("asleep")
        world.touch("go")
        world.succeed("j")
        check(sleeper.wait(timeout=20) in (137, 143), f"the command to be killed with the job: {sleeper.returncode} {sleeper.stderr.read()}")
        _nothing_left(lab, "sleep")
        _in_job(lab, "true").failed("j", "only while it runs")
        check(lab.cli("job", "node", "list", *AT_JOB, "-o", "json").json() == [], "no node any more")


def big_output_both_ways():
    with Lab(nodes=1) as lab:
        World(lab)
        data = os.urandom(1 << 20) * (BIG >> 20)
        path = os.path.join(lab.root, "big")
        with open(path, "wb") as file:
            file.write(data)
        with open(path, "rb") as source:
            there = _on_node(lab, "sha256sum", stdin=source).ok().split()[0]
        check(there == hashlib.sha256(data).hexdigest(), "every byte there")
        back = os.path.join(lab.root, "back")
        with open(back, "wb") as target, open(path, "rb") as source:
            process = lab.cli_process("cluster", "node", "exec", *AT_CLUSTER, "--exec", "cat; echo over >&2; exit 3", stdin=source, stdout=target)
            check(process.wait(timeout=120) == 3 and process.stderr.read() == "over\n", "its end after all of its output")
        with open(back, "rb") as file:
            check(file.read() == data, "every byte back")
        # Nobody reads: the command is held up, and what waits on the way stays small.
        process = lab.cli_process("cluster", "node", "exec", *AT_CLUSTER, "--exec", "yes")
        agent = lab.agent_pid("node1")
        before = _resident_kb(agent)
        wait_until(lambda: _is_quiet(lab, "yes"), 20, "the command waits for its reader", 0.2)
        check(_resident_kb(agent) - before < 40_000, f"the agent to keep little: {before} -> {_resident_kb(agent)} kB")
        process.kill()
        _nothing_left(lab, "yes")


def _resident_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def _is_quiet(lab, program):
    """Whether the program's processor time stands still."""
    def ticks():
        pids = lab.network.hosts["node1"].pids(program)
        if not pids:
            return None
        with open(f"/proc/{pids[0]}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[11:13]

    first = ticks()
    time.sleep(0.3)  # over which it is measured
    return first is not None and ticks() == first


class _Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, lab, *words, rows=33, columns=99):
        self.master, slave = pty.openpty()
        self.text = ""
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = lab.cli_process(*words, stdin=slave, stdout=slave, stderr=slave, env={"TERM": "xterm-256color"})
        os.set_blocking(self.master, False)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read_until(self, words, deadline_s=20):
        def seen():
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except BlockingIOError:
                pass
            return words in self.text

        try:
            wait_until(seen, deadline_s, "")
        except Exception:
            raise AssertionError(f"{words!r} on the terminal, got {self.text!r}") from None
        self.text = self.text.split(words, 1)[1]


def on_a_terminal():
    with Lab(nodes=1) as lab:
        World(lab)
        terminal = _Terminal(lab, "cluster", "node", "exec", *AT_CLUSTER, "--exec", "PS1='ready> ' bash --norc -i")
        terminal.read_until("ready> ")
        terminal.type("tty; stty size; echo $TERM\n")
        terminal.read_until("/dev/pts/")
        terminal.read_until("33 99")
        terminal.read_until("xterm-256color")
        terminal.resize(44, 111)
        os.kill(terminal.process.pid, signal.SIGWINCH)  # there is no controlling terminal here to do it
        wait_until(lambda: _says(terminal, "stty size\n", "44 111"), 20, "the new size", 0.2)
        terminal.type("echo before; sleep 1000; echo never\n")
        terminal.read_until("before\r\n")
        wait_until(lambda: lab.network.hosts["node1"].pids("sleep"), 10, "sleep runs")
        terminal.type("\x03")  # Ctrl-C ends what runs there, not the command line
        terminal.read_until("ready> ")
        check(not lab.network.hosts["node1"].pids("sleep") and terminal.process.poll() is None, "only sleep to be ended")
        check(not termios.tcgetattr(terminal.slave)[3] & termios.ECHO, "a raw terminal meanwhile")
        terminal.type("exit 5\n")
        check(terminal.process.wait(timeout=20) == 5, "the shell's exit code")
        check(termios.tcgetattr(terminal.slave) == terminal.before, "the terminal as it was")
        _nothing_left(lab, "bash")


def _says(terminal, typed, expected):
    terminal.type(typed)
    try:
        terminal.read_until(expected, 1)
        return True
    except AssertionError:
        return False


def ports_that_lead_there():
    """As for TensorBoard or Jupyter: a web server in the job, seen from here, and only from here."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        _running_job(world)
        page = os.path.join(world.share, "page.txt")
        with open(page, "w") as file:
            file.write("x" * 3_000_000)
        serve = f"cd {SHARE}; exec python3 -u -m http.server 9000 --bind 127.0.0.1"
        forward = lab.cli_process("job", "node", "exec", *AT_JOB, "--exec", serve, "-L", "0:localhost:9000")
        said = forward.stderr.readline()
        check("leads to localhost:9000 on node" in said, f"where it listens: {said}")
        port = said.split("127.0.0.1:")[1].split()[0]
        head = lab.network.hosts["head"]

        wait_until(lambda: _fetch(head, "127.0.0.1", port).stdout == "x" * 3_000_000, 30, "the page through the port", 0.3)
        check(_fetch(head, head.address, port).stdout == "", "nobody listening on other addresses")
        several = [head.start(_fetch_command("127.0.0.1", port), stdout=subprocess.PIPE, text=True) for _ in range(8)]
        check(all(len(process.communicate(timeout=60)[0]) == 3_000_000 for process in several), "eight connections at once")
        alone = lab.cli_process("job", "node", "exec", *AT_JOB, "-L", "0:127.0.0.1:9000", "-L", "0:localhost:1")
        ports = [alone.stderr.readline().split("127.0.0.1:")[1].split()[0] for _ in range(2)]
        check(len(_fetch(head, "127.0.0.1", ports[0]).stdout) == 3_000_000, "only -L: forwards until Ctrl-C")
        check(_fetch(head, "127.0.0.1", ports[1]).stdout == "", "no answer where nobody listens")
        check("cannot connect to localhost:1: Connection refused" in alone.stderr.readline(), "the node's own reason")
        alone.send_signal(signal.SIGINT)
        check(alone.wait(timeout=10) == 0, "a good end by Ctrl-C")
        lab.cli("job", "node", "exec", *AT_JOB, "-L", "x:localhost:1").failed("-L", "LOCAL:HOST:PORT")
        world.touch("go")
        world.succeed("j")
        check(forward.wait(timeout=20) in (137, 143), "the server to end with its job")
        _nothing_left(lab, "python3.11")


def _fetch_command(address, port):
    script = (f"import urllib.request, sys; sys.stdout.write(urllib.request.urlopen('http://{address}:{port}/page.txt', timeout=20).read().decode())")
    return ["/usr/bin/python3", "-c", script]


def _fetch(host, address, port):
    return host.run(_fetch_command(address, port))


def killed_callers_leave_nothing():
    with Lab(nodes=2) as lab:
        world = World(lab)
        _running_job(world)
        # What is killed: a command that does not listen to signals, and what it started in a session of its own.
        stubborn = "trap '' HUP TERM INT; setsid tail -f /dev/null & tail -f /dev/null"
        for end in ("command line", "controller", "agent"):
            job = lab.cli_process("job", "node", "exec", *AT_JOB, "--exec", stubborn)
            node = lab.cli_process("cluster", "node", "exec", *AT_CLUSTER, "-n", world.job("j")["nodes"][0], "--exec", stubborn)
            wait_until(lambda: sum(len(lab.network.hosts[n].pids("tail")) for n in lab.nodes) == 4, 20, f"both commands run before the {end} ends")
            _end(lab, end, world.job("j")["nodes"][0])
            _nothing_left(lab, "tail")
            check(job.wait(timeout=20) != 0 and node.wait(timeout=20) != 0, f"both calls to have failed with the {end}")
            if end == "controller":
                lab.start_controller()
                lab.wait_reachable(2)
            if end == "agent":
                lab.start_agent(world.job("j")["nodes"][0])
        check(world.state("j") == "running", "the job not to have noticed")
        check(_in_job(lab, "echo again").ok() == "again\n", "commands to run again")
        world.touch("go")
        world.succeed("j")


def _end(lab, what, node):
    if what == "command line":
        for pid in lab.network.hosts["head"].pids("trainyard"):
            os.kill(pid, signal.SIGKILL)
    elif what == "controller":
        lab.kill_controller()
    else:
        lab.kill_agent(node)


def jobs_that_do_not_run():
    """A job that is not there, and one that waits: refused with the reason."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        _in_job(lab, "true").failed("j")
        world.submit("first", command=wait_for_go())
        world.wait_file("started.0")
        world.submit("j", command="true")
        _in_job(lab, "true").failed("j is queued", "only while it runs")
        lab.cli("job", "node", "exec", *AT_JOB, "-L", "0:localhost:1").failed("runs on no node")
        world.touch("go")
        world.succeed("j")


if __name__ == "__main__":
    main(globals())
