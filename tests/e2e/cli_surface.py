#!/usr/bin/python3
"""The command line as people use it: defaults, output formats, queries, questions, progress and Ctrl-C on a terminal,
completion in a live shell, old spellings, whole directories on a share. With the real controller and agents."""
import csv
import fcntl
import io
import json
import pty
import re
import select
import signal
import subprocess
import termios
import time

from e2e import SHARE, Lab, LabError, World, check, main, os, wait_for_go, wait_until
from hosts import join_cgroup


class Terminal:
    """`trainyard ARGS`, or any program of the head's, on a pseudo terminal that is its controlling one: Ctrl-C works."""

    def __init__(self, lab, *args, argv=None, env=None):
        head = lab.network.hosts["head"]
        self.ours, theirs = pty.openpty()

        def begin():
            join_cgroup(head.cgroup)()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the test itself runs in the background of a script

        argv = argv or [os.path.join(lab.root, "bin", "trainyard"), *map(str, args)]
        self.process = subprocess.Popen(head.command(argv, ["-n", "-m"]), stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=begin,
                                        env={**lab.environment("head"), "TERM": "xterm", **(env or {})})
        os.close(theirs)
        self.text = ""

    def read(self, deadline_s):
        """More text; False at the end."""
        ready, _, _ = select.select([self.ours], [], [], deadline_s)
        if not ready:
            raise LabError(f"nothing more within {deadline_s} s; so far: {self.text!r}")
        try:
            more = os.read(self.ours, 4096)
        except OSError:  # the other side is closed
            more = b""
        self.text += more.decode(errors="replace")
        return bool(more)

    def until(self, words, deadline_s=30):
        while words not in self.text:
            check(self.read(deadline_s), f"{words!r} on the terminal: {self.text!r}")
        return self

    def send(self, text):
        os.write(self.ours, text.encode())
        return self

    def end(self, deadline_s=60):
        """The exit code; .text is all that was written."""
        while self.read(deadline_s):
            pass
        os.close(self.ours)
        return self.process.wait(timeout=deadline_s)


def defaults():
    """configure: no -g, -w, -e any more; what wins; interactive on a terminal; nothing secret is kept."""
    with Lab(nodes=1) as lab:
        cli = lab.cli
        cli("group", "create", "-n", "g").ok()
        check(cli("configure", "--defaults", "group=g", "workspace=w", "experiment=x").ok() == "", "no words about it")
        cli("workspace", "create", "-n", "w").ok()
        cli("experiment", "create", "-n", "x").ok()
        check(cli("job", "list").json() == [], "the jobs of the default experiment")
        check(cli("experiment", "show", "-n", "x").json()["resourceGroup"] == "g", "the experiment")
        path = os.path.join(lab.root, "home", ".config", "trainyard", "config")
        check(open(path).read() == "[defaults]\nexperiment = x\nworkspace = w\ngroup = g\n", f"the file: {open(path).read()}")
        check(os.stat(path).st_mode & 0o777 == 0o600, "only its owner reads it")
        listed = {d["name"]: (d["value"], d["source"]) for d in cli("configure", "--list-defaults").json()}
        check(listed["group"] == ("g", path) and listed["controller"] == (lab.controller, "$TRAINYARD_CONTROLLER"), f"where from: {listed}")
        # A flag wins over the environment, that over the file.
        cli("group", "create", "-n", "g2").ok()
        cli("workspace", "create", "-g", "g2", "-n", "w").ok()
        shown = ["workspace", "show", "-n", "w", "--query", "resourceGroup", "-o", "tsv"]
        check(cli(*shown).ok() == "g\n", "the file's")
        check(cli(*shown, env={"TRAINYARD_GROUP": "g2"}).ok() == "g2\n", "the environment's")
        check(cli(*shown, "-g", "g", env={"TRAINYARD_GROUP": "g2"}).ok() == "g\n", "the flag's")
        check(cli("job", "list", "-e", "none").rc == 3, "a flag over the file")
        cli("configure", "--defaults", "key=-----BEGIN PRIVATE KEY-----").failed("never kept")
        _asked_for_defaults(lab, path)


def _asked_for_defaults(lab, path):
    lab.cli("configure").failed("no terminal", "--defaults")
    terminal = Terminal(lab, "configure")
    for prompt, answer in (("(-g) [g]: ", "g2"), ("(-w) [w]: ", ""), ("(-e) [x]: ", "-"), ("controller [none]: ", ""), ("CA certificate [none]: ", ""),
                           ("certificate [none]: ", ""), ("key [none]: ", ""), ("format (-o) [none]: ", "xml"), ("must be json", "yaml")):
        terminal.until(prompt)
        terminal.text = ""
        terminal.send(answer + "\n")
    check(terminal.end() == 0, f"a good end: {terminal.text}")
    check(open(path).read() == "[defaults]\noutput = yaml\nworkspace = w\ngroup = g2\n", f"the file: {open(path).read()}")
    check(lab.cli("workspace", "show", "-n", "w").ok().startswith("creationTime: '20"), "yaml is the default now")


def outputs_and_queries():
    """One list in every format, and queries over it."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        for name, code in (("b", 0), ("a", 3)):
            world.submit(name, command=f"exit {code}")
            world.wait_end(name)
        listing = ["job", "list", "-g", "g", "-w", "w", "-e", "x"]

        def show(*more):
            return lab.cli(*listing, *more).ok()

        rows = [re.split(r"\s{2,}", line.strip()) for line in show("-o", "table").splitlines()]
        check(rows[0] == ["Name", "Cluster", "Cluster RG", "Cluster Workspace", "Tool", "Nodes", "State", "Exit code"], f"the columns: {rows[0]}")
        check(sorted(rows[2:]) == [["a", "c", "g", "w", "custom", "1", "failed", "3"], ["b", "c", "g", "w", "custom", "1", "succeeded", "0"]], f"rows: {rows}")
        jobs = json.loads(show())
        check(list(jobs[0]) == sorted(jobs[0]), "fields in order")
        check(show("-o", "jsonc") == show(), "no colours but on a terminal")
        check(show("-o", "none") == "", "nothing")
        _yaml_is_the_same(show("-o", "yaml"), jobs)
        query = "sort_by([?executionInfo.exitCode==`3` || name=='b'], &name)[].{name: name, code: executionInfo.exitCode}"
        check(json.loads(show("--query", query)) == [{"code": 3, "name": "a"}, {"code": 0, "name": "b"}], "a query with functions")
        check(show("--query", query, "-o", "tsv") == "a\t3\nb\t0\n", "tsv in the query's order")
        check(show("--query", query, "-o", "table") == "Name      Code\n------  ------\na            3\nb            0\n", show("--query", query, "-o", "table"))
        check(show("--query", "length(@)", "-o", "tsv") == "2\n", "a number")
        check(show("--query", "[?starts_with(name, 'a')].nodes[]", "-o", "yaml") in ("- node1\n", "- node2\n"), "a list in yaml")
        check(show("--query", "[0].missing", "-o", "tsv") == "", "nothing for null")
        wrong = lab.cli(*listing, "--query", "[?name='a']")
        check(wrong.rc == 2 and "character 7" in wrong.err and "==" in wrong.err, f"a wrong query: {wrong.err}")
        late = lab.cli(*listing, "--query", "[].sum(name)")
        check(late.rc == 2 and "sum(): argument 1 must be an array of numbers, not a string" in late.err, f"a wrong type: {late.err}")
        coloured = Terminal(lab, *listing, "-o", "jsonc")
        check(coloured.end() == 0 and '\x1b[94m"name"\x1b[0m: \x1b[33m"a"\x1b[0m' in coloured.text, f"colours: {coloured.text[:200]!r}")
        plain = re.sub(r"\x1b\[\d+m", "", coloured.text)
        check(json.loads(plain) == jobs, "the same behind the colours")
        without = Terminal(lab, *listing, "-o", "jsonc", env={"NO_COLOR": "1"})
        check(without.end() == 0 and "\x1b[" not in without.text, "NO_COLOR")
        table = list(csv.reader(io.StringIO(show("--query", "[].[name, nodes, constraints, requeues]", "-o", "tsv")), delimiter="\t"))
        check(all(len(row) == 4 and row[1] == "1" and row[2] == "" for row in table), f"as many columns whatever is in them: {table}")


def _yaml_is_the_same(text, jobs):
    try:
        import yaml
    except ImportError:
        print("python3-yaml is not installed: yaml is not parsed")
        return
    check(yaml.safe_load(text) == jobs, "the same in yaml")
    check(yaml.safe_dump(jobs, default_flow_style=False, allow_unicode=True, width=1000000) == text, "yaml as PyYAML writes it")


def questions_and_waiting():
    """Deletes and terminates ask, wait, and say on a terminal what for; Ctrl-C ends the waiting, not the delete."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        stubborn = f"trap '' TERM; touch {SHARE}/started.$N; while [ ! -e {SHARE}/never ]; do sleep 0.05; done"

        def start(name):
            world.submit(name, command=stubborn, variables={"N": name}, recovery={"grace": "PT3S"})
            world.wait_file(f"started.{name}")

        at = ["-g", "g", "-w", "w", "-e", "x", "-n"]
        start("a")
        lab.cli("job", "terminate", *at, "a").failed("no terminal to ask on", "-y")
        said_no = Terminal(lab, "job", "terminate", *at, "a").until("(y/n): ").send("n\n")
        check(said_no.end() == 1 and "nothing was changed" in said_no.text, f"a no: {said_no.text}")
        check(world.state("a") == "running", "it runs on")
        said_yes = Terminal(lab, "job", "terminate", *at, "a", "-o", "none").until("(y/n): ").send("y\n").until("waiting for job a to end: terminating")
        check(said_yes.end() == 0 and said_yes.text.endswith("\r\x1b[K"), f"the line is gone in the end: {said_yes.text!r}")
        check(world.state("a") == "failed", "waited until it had ended")
        check(lab.cli("job", "wait", *at, "a").rc == 255, "no exit code of its own: 255")
        start("b")
        quiet = lab.cli("job", "terminate", *at, "b", "-y", "--query", "executionState", "-o", "tsv")
        check((quiet.ok(), quiet.err) == ("failed\n", ""), f"no progress without a terminal: {quiet.out}{quiet.err}")
        start("c")
        started = time.monotonic()
        lab.cli("job", "delete", *at, "c", "-y", "--no-wait").ok()
        check(time.monotonic() - started < 2, "--no-wait to return at once")
        wait_until(lambda: lab.cli("job", "show", *at, "c").rc == 3, 30, "the job is gone")
        _interrupted(lab, world, at, start)


def _interrupted(lab, world, at, start):
    start("d")
    words = " ".join(["trainyard", "job", "delete", *at, "d", "-y"])
    shell = Terminal(lab, argv=["bash", "-c", f"trap : INT; {words}; echo rc=$?"]).until("waiting for job d to be gone")
    shell.send("\x03")
    shell.end()
    check("rc=130" in shell.text and "interrupted; what was asked of the controller goes on" in shell.text, f"130 and a word: {shell.text!r}")
    wait_until(lambda: lab.cli("job", "show", *at, "d").rc == 3, 30, "the delete went on")


def exit_codes():
    """0, 1, 2, 3, 4 as --help says; job wait as the job did."""
    with Lab(nodes=1) as lab:
        world = World(lab)
        codes = lab.cli("--help").ok()
        check(all(word in codes for word in ("Exit codes:", "3    not found", "130  interrupted")), "they are in the help")
        world.submit("good", command="true")
        world.submit("bad", command="exit 7")
        check(lab.cli("job", "wait", *world.at("good"), "--interval", "1").rc == 0, "0 of a job that succeeded")
        check(lab.cli("job", "wait", *world.at("bad")).rc == 7, "the job's own")
        check(lab.cli("job", "wait", *world.at("none")).rc == 3, "not found")
        check(lab.cli("job", "shwo", *world.at("bad")).rc == 2, "a wrong word")
        check(lab.cli("cluster", "create", "-g", "g", "-w", "w", "-n", "c", "-s", "X", "-t", "1").rc == 1, "refused: there is one with another body")
        check(lab.cli("group", "list", "--controller", "127.0.0.1:1", "--retry-for", "0").rc == 4, "unreachable; a flag wins over the environment")
        check((lab.cli("group", "exists", "-n", "g").ok(), lab.cli("group", "exists", "-n", "none").ok()) == ("true\n", "false\n"), "exists")


def completion_in_a_shell():
    """A live bash on a terminal: Tab completes commands, options and values."""
    with Lab(nodes=1) as lab:
        shell = Terminal(lab, argv=["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "INPUTRC": "/dev/null"})
        shell.until("$ ").send("source <(trainyard completion bash); bind 'set enable-bracketed-paste off'; echo rea''dy\n").until("ready\r\n")
        shell.send("trainyard job fi\tli\t--expe\tx -o yam\t").until("trainyard job file list --experiment x -o yaml ")
        shell.text = ""
        shell.send("--help\n").until("trainyard job file list -g mygroup")
        shell.send("exit\n")
        shell.end()


def older_spellings():
    """Lines of the older command line and its documentation."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        lab.cli("configure", "--defaults", "group=g", "workspace=w", "experiment=x").ok()
        body = os.path.join(lab.root, "old.json")
        with open(body, "w") as file:
            json.dump(world.body(nodes=2, command=wait_for_go(rank="0") + "echo out"), file)
        created = lab.cli("job", "create", "-r", "c", "-n", "old", "-c", body, "-l", "eastus")
        created.ok()
        check("--location has no effect" in created.err, f"said: {created.err}")
        world.wait_file("started.0")
        of_job = [n["nodeId"] for n in lab.cli("job", "list-nodes", "-n", "old").json()]
        check(of_job == world.job("old")["nodes"], f"in the order of the ranks: {of_job}")
        world.touch("go")
        world.succeed("old")
        names = [f["name"] for f in lab.cli("job", "list-files", "--name", "old", "--output-directory-id", "stdouterr").json()]
        check("stdout.txt" in names, f"the files: {names}")
        check(lab.cli("job", "stream-file", "--job-name", "old", "-d", "stdouterr", "-n", "stdout.txt").ok() == "out\n", "the output")
        addresses = {name: lab.network.hosts[name].address for name in lab.nodes}
        for words in (["cluster", "list-nodes", "-n", "c"], ["cluster", "node", "list", "-c", "c"]):
            listed = {n["nodeId"]: n["ipAddress"] for n in lab.cli(*words).json()}
            check(listed == addresses, f"{words}: {listed}")
        head = lab.cli("cluster", "node", "list", "-c", "c", "-o", "table").ok().splitlines()[0]
        check(re.split(r"\s{2,}", head.strip()) == ["ID", "IP", "SSH Port"], f"the columns: {head}")


def whole_directories():
    """upload-batch, download-batch, delete-batch, and what exists."""
    with Lab(nodes=1) as lab:
        World(lab)
        files = {"a.py": b"print(1)\n", "data/x.bin": os.urandom(700000), "data/deep/er/y.bin": b"", "data/z.log": b"log"}
        here = os.path.join(lab.root, "tree")
        for name, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(here, name)), exist_ok=True)
            with open(os.path.join(here, name), "wb") as file:
                file.write(content)

        def storage(*words):
            return lab.cli("storage", *words, "--account-name", "a")

        planned = storage("file", "upload-batch", "-s", here, "-d", "s/set", "--dryrun").json()
        check(planned == sorted(f"set/{name}" for name in files), f"what would be done: {planned}")
        check(storage("file", "exists", "-s", "s", "-p", "set/a.py").json() == {"exists": False}, "nothing was done")
        check(storage("file", "upload-batch", "-s", here, "-d", "s/set").json() == planned, "done")
        check(storage("file", "exists", "-s", "s", "-p", "set/data/x.bin").json() == {"exists": True}, "a file")
        check(storage("directory", "exists", "-s", "s", "-n", "set/data/deep").json() == {"exists": True}, "a directory")
        check(storage("directory", "exists", "-s", "s", "-n", "set/a.py").json() == {"exists": False}, "a file is no directory")
        check([d["name"] for d in storage("directory", "list", "-s", "s", "-n", "set").json()] == ["data"], "directories only")
        check([storage("share", "exists", "-n", name).json()["exists"] for name in ("s", "none")] == [True, False], "shares")
        back = os.path.join(lab.root, "back")
        os.mkdir(back)
        storage("file", "download-batch", "-s", "s/set", "-d", back, "--pattern", "data/*").ok()
        found = {os.path.relpath(os.path.join(folder, n), back): open(os.path.join(folder, n), "rb").read() for folder, _, names in os.walk(back) for n in names}
        check(found == {name: content for name, content in files.items() if name.startswith("data/")}, f"the same back: {sorted(found)}")
        check(storage("file", "delete-batch", "-s", "s/set", "--pattern", "*.log", "-y").json() == ["set/data/z.log"], "one deleted")
        storage("directory", "delete", "-s", "s", "-n", "set/data", "-y").failed("set/data")
        storage("directory", "delete", "-s", "s", "-n", "set/none", "-y").failed("no directory")
        storage("file", "delete-batch", "-s", "s/set/data/deep", "-y").ok()
        storage("directory", "delete", "-s", "s", "-n", "set/data/deep/er", "-y").ok()
        check(storage("directory", "exists", "-s", "s", "-n", "set/data/deep/er").json() == {"exists": False}, "gone")
        storage("file", "download-batch", "-s", "s/none", "-d", back).failed("none")


if __name__ == "__main__":
    main(globals())
