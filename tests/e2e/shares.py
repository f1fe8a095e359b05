#!/usr/bin/python3
"""storage share show, exists and delete: a share goes with all its files and nothing else, never while something mounts it; a
delete that was broken off leaves a share that nothing can use, and is repeated."""
import os

from cli_surface import Terminal
from e2e import Lab, World, check, main, wait_for_go


def _storage(lab, *words, **options):
    return lab.cli("storage", *words, "--account-name", "a", **options)


def _names(lab):
    return {share["name"]: share["provisioningState"] for share in _storage(lab, "share", "list", "-o", "json").json()}


def _fill(folder, *names):
    for name in names:
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "w") as file:
            file.write("x")


def a_share_goes_with_all_its_files():
    with Lab(nodes=2) as lab:
        world = World(lab)
        _storage(lab, "share", "create", "-n", "other").ok()
        other, outside = os.path.join(lab.storage, "a", "other"), os.path.join(lab.root, "outside")
        _fill(other, "precious")
        _fill(outside, "precious")
        _fill(world.share, "a/b/c/file", ".hidden/file", "top")
        os.symlink(outside, os.path.join(world.share, "a", "link"))
        os.symlink(os.path.join(other, "precious"), os.path.join(world.share, "link"))
        shown = _storage(lab, "share", "show", "-n", "S", "-o", "json").json()
        check((shown["name"], shown["account"], shown["provisioningState"]) == ("s", "a", "succeeded"), f"the share: {shown}")
        check(_storage(lab, "share", "show", "-n", "none").rc == 3, "no such share")
        # Mounted by a job that runs, then by one that has ended.
        world.submit("j", command=wait_for_go())
        world.wait_file("started.0")
        _storage(lab, "share", "delete", "-n", "s").failed("is mounted by job g/w/x/j", "nothing was removed")
        check(_names(lab)["s"] == "succeeded" and os.path.exists(os.path.join(world.share, "top")), "nothing happened")
        world.touch("go")
        world.succeed("j")
        said_no = Terminal(lab, "storage", "share", "delete", "-n", "s", "--account-name", "a").until("(y/n): ").send("n\n")
        check(said_no.end() == 1 and "nothing was changed" in said_no.text, f"a no: {said_no.text}")
        # Scripts of Azure's users say no -y, and have no terminal.
        check(_storage(lab, "share", "delete", "-n", "s", "-o", "json").json() == {"deleted": True}, "as Azure's command line answers")
        check(_names(lab) == {"other": "succeeded"}, f"the other one is left: {_names(lab)}")
        check(os.listdir(os.path.join(lab.storage, "a")) == ["other"], "its directory is gone, the account's place is not")
        check(os.listdir(other) == ["precious"] and os.listdir(outside) == ["precious"], "what links led to is as it was")
        check(_storage(lab, "share", "delete", "-n", "s", "-o", "json").json() == {"deleted": False}, "there is none")
        check(_storage(lab, "share", "delete", "-n", "s", "--fail-not-exist").rc == 3, "not found, when asked for")
        check(_storage(lab, "share", "exists", "-n", "s", "-o", "json").json() == {"exists": False}, "gone")
        # Looking for the old job's files does not bring its directory back.
        check(lab.cli("job", "file", "list", "-g", "g", "-w", "w", "-e", "x", "-j", "j", "-o", "json").json() == [], "its files are gone")
        check(os.listdir(os.path.join(lab.storage, "a")) == ["other"], "nothing is made by looking")
        _storage(lab, "share", "create", "-n", "s").ok()
        check(_storage(lab, "file", "list", "-s", "s", "-o", "json").json() == [], "a new share of the name is empty")


def a_delete_that_was_broken_off():
    """Half-way it meets a mount: the share stays listed, nothing can use it, also after a kill of the controller; then it goes."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        outside = os.path.join(lab.root, "outside")
        _fill(outside, "precious")
        _fill(world.share, "mnt/x", *[f"{name}/file" for name in "abcdefgh"])
        mounted = os.path.join(world.share, "mnt")
        for node in lab.nodes:
            check(lab.network.hosts[node].run(["mount", "--bind", outside, mounted]).returncode == 0, "the mount")
        _storage(lab, "share", "delete", "-n", "s", "-y").failed("something is mounted at " + mounted, "delete it again to go on")
        check(_names(lab)["s"] == "deleting", f"it is still listed: {_names(lab)}")
        world.create("j", world.body(command="true")).failed("azureFileShares[0]", "share s of storage account a is being deleted")
        lab.kill_controller()
        lab.start_controller()
        lab.wait_reachable(2)
        world.create("j", world.body(command="true")).failed("is being deleted")
        check(world.lab.cli("job", "show", *world.at("j")).rc == 3, "no job was made")
        _storage(lab, "file", "list", "-s", "s").failed("is being deleted")
        _storage(lab, "share", "create", "-n", "s").failed("is being deleted")
        for node in lab.nodes:
            check(lab.network.hosts[node].run(["umount", mounted]).returncode == 0, "the end of the mount")
        check(_storage(lab, "share", "delete", "-n", "s", "-y", "-o", "json").json() == {"deleted": True}, "it goes on")
        check(_names(lab) == {} and not os.path.exists(world.share), "all of it is gone")
        check(os.listdir(outside) == ["precious"], "what was mounted is as it was")
        _storage(lab, "share", "create", "-n", "s").ok()
        world.submit("k", command="echo again")
        world.succeed("k")


def over_restarts():
    """kill -9 of the controller and of agents while many files go: the command does not notice."""
    with Lab(nodes=2) as lab:
        world = World(lab)
        for ended in ("controller", "agents"):
            folder = os.path.join(world.share, "many")
            os.makedirs(folder)
            for i in range(60_000):
                os.mknod(os.path.join(folder, str(i)))
            delete = lab.cli_process("storage", "share", "delete", "-n", "s", "-y", "--account-name", "a")
            while delete.poll() is None and not _has_begun(folder):
                pass
            check(delete.poll() is None, f"the delete not to be over before the {ended} end: more files are needed")
            lab.restart(ended)
            check(delete.wait(timeout=60) == 0, f"the delete to go on over the {ended}' restart: {delete.stderr.read()}")
            check(_names(lab) == {} and not os.path.exists(world.share), "all of it is gone")
            _storage(lab, "share", "create", "-n", "s").ok()


def _has_begun(folder):
    """Some files are gone; the first and the last to be listed are looked for, whatever their order is."""
    return not all(os.path.exists(os.path.join(folder, str(i))) for i in range(0, 60_000, 500))


if __name__ == "__main__":
    main(globals())
