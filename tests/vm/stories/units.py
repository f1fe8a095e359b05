"""Our units under a real systemd: what is restarted, killed or upgraded while a job runs, and that nobody takes the jobs' controllers away."""
import glob
import os
import pwd

from machine import AGENT, CGROUPS, CONTROLLER, SHARE, Machine, World, check, holding, note, nothing_left, program, property_of, read, run, wait_until

BEAT = f"echo began >> {SHARE}/begun; touch {SHARE}/up; until [ -e {SHARE}/go ]; do sleep 0.2; done; echo ended"
CONTROLLERS = {"cpu", "cpuset", "io", "memory", "pids"}


def _enabled(cgroup):
    return set(read(cgroup + "/cgroup.subtree_control").split())


def _shells(world):
    """The job's shell, and nothing that it starts again and again."""
    return sorted(pid for pid in world.job_pids("vm") if program(pid) == "bash")


def _wait_restart(unit, pid):
    wait_until(lambda: property_of(unit, "ActiveState") == "active" and property_of(unit, "MainPID") not in ("0", pid), 20, f"{unit} runs again")


def a_job_under_the_units():
    """Both units on one machine; a job runs in a cgroup with all controllers, outside of the agent's unit, and leaves nothing."""
    with Machine() as machine:
        world = World(machine)
        check((property_of(AGENT, "Delegate"), property_of(AGENT, "KillMode")) == ("yes", "process"), "the unit to be ours")
        world.submit("j", command=f"cat /proc/self/cgroup; id -u; {BEAT}")
        world.wait_file("up")
        check(CONTROLLERS <= _enabled(CGROUPS), f"v2's controllers: {_enabled(CGROUPS)}")
        check(world.job_pids("vm"), "the job's processes in its cgroup")
        # One directory for both: neither unit may give the other's files away.
        owners = {name: pwd.getpwuid(os.stat("/var/lib/trainyard/" + name).st_uid).pw_name for name in ("spool", "work", "controller")}
        check(owners == {"spool": "root", "work": "root", "controller": "trainyard"}, f"each unit's own: {owners}")
        world.touch("go")
        world.succeed("j")
        out = world.output("j").split("\n")
        check(out[0].startswith("0::/trainyard/") and int(out[1]) >= 20000 and "ended" in out, f"its cgroup and its user: {out}")
        nothing_left(world)
        told = run("trainyard-agent", "doctor", "--config", "/etc/trainyard/agent.json")
        check("BROKEN" not in told and "cpu: v2, io: v2, devices: v2, cores: v2" in told and "memory: v2, pids: v2" in told, f"the doctor to be content: {told}")


def restarts_during_a_job():
    """The agent is restarted, killed, stopped and upgraded, the controller restarted: the job goes on, and ends once."""
    with Machine() as machine:
        world = World(machine)
        world.submit("j", command=BEAT)
        world.wait_file("up")
        pids = _shells(world)
        check(pids, "the job's shell to be found")
        limits = read(holding() + "/job/memory.max"), read(holding() + "/job/pids.max")
        for unit, action in ((AGENT, "restart"), (CONTROLLER, "restart"), (AGENT, "kill"), (CONTROLLER, "kill")):
            pid = property_of(unit, "MainPID")
            run("systemctl", *(("kill", "-s", "KILL", "--kill-whom=main") if action == "kill" else (action,)), unit)
            _wait_restart(unit, pid)
            machine.wait_reachable()
        note(f"the agent's unit was restarted by systemd {property_of(AGENT, 'NRestarts')} time, the controller's {property_of(CONTROLLER, 'NRestarts')}")
        # While no unit of ours asks for controllers, systemd reloads, and gives others to others.
        run("systemctl", "stop", AGENT)
        run("systemctl", "daemon-reload")
        run("systemd-run", "--wait", "-q", "-p", "MemoryMax=64M", "true")
        check(CONTROLLERS <= _enabled(CGROUPS) and (read(holding() + "/job/memory.max"), read(holding() + "/job/pids.max")) == limits, "the job to keep its limits")
        run("systemctl", "start", AGENT)
        pid = property_of(AGENT, "MainPID")
        run("dpkg", "-i", *glob.glob("/mnt/debs/*.deb"))
        _wait_restart(AGENT, pid)
        machine.wait_reachable()
        check(_shells(world) == pids, f"the same processes: {pids}, {_shells(world)}")
        check(world.state("j") == "running", "the job to run on")
        world.touch("go")
        job = world.succeed("j")
        check(world.read("begun") == "began\n" and "ended\n" == world.output("j") and job["attempt"] == 1, f"it to run once: {job}")
        nothing_left(world)
