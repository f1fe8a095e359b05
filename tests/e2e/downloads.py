#!/usr/bin/python3
"""job file download and storage file upload and download: whole directories, over restarts, and on from where they stopped."""
import os
import signal

from cli_surface import Terminal
from e2e import SHARE, Lab, World, check, main, wait_for_go, wait_until

AT = ["-g", "g", "-w", "w", "-e", "x", "-j", "j"]
ON_SHARE = ["-s", "s", "--account-name", "a"]


def _content(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def _tree(lab, big):
    tree = os.path.join(lab.root, "tree")
    os.makedirs(os.path.join(tree, "deep", "er"))
    for name, data in (("a.txt", b"a"), ("deep/empty", b""), ("deep/er/big.bin", big)):
        with open(os.path.join(tree, name), "wb") as file:
            file.write(data)
    return tree


def _same(tree, back):
    for name in ("a.txt", "deep/empty", "deep/er/big.bin"):
        check(_content(tree, name) == _content(back, name), f"{name} as it was")
    check(sorted(os.listdir(back)) == ["a.txt", "deep"] and os.listdir(os.path.join(back, "deep", "er")) == ["big.bin"], "nothing else")


def _parts(folder):
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".part")] if os.path.isdir(folder) else []


def _begun(folder):
    return any(os.path.getsize(part) > 1 << 20 for part in _parts(folder))


def jobs_directories():
    with Lab(nodes=2) as lab:
        world = World(lab)
        world.submit("j", command="mkdir -p $AZ_BATCHAI_OUTPUT_MODEL/m; echo one > $AZ_BATCHAI_OUTPUT_MODEL/m/x; echo two > $AZ_BATCHAI_OUTPUT_MODEL/y; echo said",
                     outputDirectories=[{"id": "MODEL", "pathPrefix": SHARE}])
        world.succeed("j")
        back = os.path.join(lab.root, "back")
        copies = lab.cli("job", "file", "download", *AT, "-d", "MODEL", "--dest", back, "-o", "json").json()
        check(sorted(c["destination"] for c in copies) == [f"{back}/m/x", f"{back}/y"], f"both files: {copies}")
        check(_content(back, "m", "x") == b"one\n" and _content(back, "y") == b"two\n", "what the job wrote")
        one = lab.cli("job", "file", "download", *AT, "-d", "MODEL", "-p", "m", "-f", "x", "--dest", os.path.join(lab.root, "z"), "-o", "json").json()
        check(one == {"contentLength": 4, "destination": os.path.join(lab.root, "z"), "name": "x"}, f"one file: {one}")
        logs = os.path.join(lab.root, "logs")
        lab.cli("job", "file", "download", *AT, "--dest", logs).ok()
        listed = lab.cli("job", "file", "list", *AT, "-o", "json").json()
        check(sorted(os.listdir(logs)) == sorted(f["name"] for f in listed) and _content(logs, "stdout.txt") == b"said\n", "the job's logs")
        lab.cli("job", "file", "download", *AT, "-f", "none.txt").failed("none.txt does not exist")
        lab.cli("job", "file", "download", *AT, "-d", "NONE").failed("NONE")


def on_from_where_it_stopped():
    """kill -9 of the command line, of the controller, of an agent: the next try, or the same one, brings the rest."""
    with Lab(nodes=2) as lab:
        World(lab)
        big = os.urandom(1 << 20) * 96
        tree = _tree(lab, big)
        made = lab.cli("storage", "file", "upload", "-p", "up", "--source", tree, *ON_SHARE, "-o", "json").json()
        check([m["path"] for m in made] == ["up/a.txt", "up/deep/empty", "up/deep/er/big.bin"], f"the directory: {made}")
        for end in ("command line", "controller", "agent"):
            back = os.path.join(lab.root, "back-" + end.replace(" ", "-"))
            part = os.path.join(back, "deep", "er")
            words = ["storage", "file", "download", "-p", "up", "--dest", back, *ON_SHARE]
            process = lab.cli_process(*words)
            wait_until(lambda: _begun(part), 20, "the download is under way", 0.001)
            check(process.poll() is None, f"the download not to be over before the {end} ends: a larger file is needed")
            if end == "command line":
                process.kill()
                process.wait()
                had = os.stat(_parts(part)[0])
                check(0 < had.st_size < len(big), f"a part of it: {had.st_size}")
                lab.cli(*words).ok()
                check(os.stat(os.path.join(part, "big.bin")).st_ino == had.st_ino, "the same file to have grown")
            else:
                lab.restart(end)
                check(process.wait(timeout=60) == 0, f"the download to go on over the {end}'s restart: {process.stderr.read()}")
            _same(tree, back)
            before = os.stat(os.path.join(part, "big.bin"))
            lab.cli(*words).ok()
            check(os.stat(os.path.join(part, "big.bin")).st_ino == before.st_ino, "what is here not to be copied again")


def _uploads(folder):
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(".trainyard-upload-")]


def _upload_begun(folder):
    try:
        return any(os.path.getsize(path) > 1 << 20 for path in _uploads(folder))
    except FileNotFoundError:  # became the file, or went
        return False


def uploads_over_restarts():
    """kill -9 of the controller and of agents: the upload begins anew by itself. Until a version is whole, the one before stays."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        here, there = os.path.join(lab.root, "big.bin"), os.path.join(world.share, "big.bin")
        words = ["storage", "file", "upload", "-p", "big.bin", "--source", here, *ON_SHARE]
        version = b"the first one"
        with open(here, "wb") as file:
            file.write(version)
        lab.cli(*words).ok()
        for ended in ("controller", "agents", "command line"):
            before, version = version, os.urandom(1 << 20) * 96
            with open(here, "wb") as file:
                file.write(version)
            process = lab.cli_process(*words)
            wait_until(lambda: _upload_begun(world.share), 20, "the upload is under way", 0.001)
            if ended == "command line":
                process.send_signal(signal.SIGSTOP)  # or it has sent all before we have looked
            check(process.poll() is None, f"the upload not to be over before the {ended} end: a larger file is needed")
            check(_content(there) == before, "the version before, for as long as the new one is not whole")
            if ended == "command line":
                process.kill()
            else:
                lab.restart(ended)
            check((process.wait(timeout=60) == 0) == (ended != "command line"), f"the upload to go on over the {ended}' restart: {process.stderr.read()}")
            wait_until(lambda: not _uploads(world.share), 20, "no unfinished upload is left")
            check(_content(there) == (before if ended == "command line" else version), f"a whole version after the {ended}' end")
        _progress(lab, world, words, len(version))


def _progress(lab, world, words, size):
    """On a terminal an upload of more than a second says how far it is."""
    shown = Terminal(lab, *words)
    wait_until(lambda: _upload_begun(world.share), 20, "the upload is under way", 0.001)
    agents = [lab.agent_pid(node) for node in lab.nodes]
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    shown.until(f" of {size / 1e6:.1f} MB sent (")
    for pid in agents:
        os.kill(pid, signal.SIGCONT)
    check(shown.end() == 0, f"then it ends well: {shown.text[-300:]!r}")


def streams_from_any_offset():
    with Lab(nodes=1) as lab:
        world = World(lab)
        world.submit("j", command="echo 0123456789; " + wait_for_go() + "echo more")
        world.wait_file("started.0")
        wait_until(lambda: world.output("j") == "0123456789\n", 20, "the first line is there")
        from_five = lab.cli_process("job", "file", "stream", *AT, "-f", "stdout.txt", "--offset", "5")
        last_three = lab.cli_process("job", "file", "stream", *AT, "-f", "stdout.txt", "--offset", "-3")
        check(from_five.stdout.readline() == "56789\n", "from the fifth byte")
        check(last_three.stdout.readline() == "89\n", "the last three bytes")
        lab.kill_controller()
        lab.start_controller()
        lab.wait_reachable(1)
        world.touch("go")
        world.succeed("j")
        for stream in (from_five, last_three):
            check(stream.stdout.read() == "more\n" and stream.wait(timeout=20) == 0, f"then what comes, to the end: {stream.stderr.read()}")


if __name__ == "__main__":
    main(globals())
