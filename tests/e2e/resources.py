#!/usr/bin/python3
"""Groups, workspaces, file servers and usages, as Batch AI's command lines make, change, list and delete them."""
from e2e import Lab, check, main

CREATE = ["-s", "Standard_DS2", "--disk-count", "2", "--disk-size", "10", "--storage-sku", "Premium_LRS", "--generate-ssh-keys"]


def _home(lab):
    lab.cli("group", "create", "-n", "g", "-l", "eastus").ok()
    lab.cli("workspace", "create", "-g", "g", "-n", "w").ok()


def tags_are_replaced():
    with Lab(nodes=0) as lab:
        _home(lab)
        lab.cli("workspace", "update", "-g", "g", "-n", "w", "--tags", "team=vision", "cost=7").ok()
        check(lab.cli("workspace", "show", "-g", "g", "-n", "w", "-o", "json").json()["tags"] == {"team": "vision", "cost": "7"}, "two tags")
        lab.cli("workspace", "update", "-g", "g", "-n", "w", "--tags", "team=speech").ok()
        check(lab.cli("workspace", "show", "-g", "g", "-n", "w", "-o", "json").json()["tags"] == {"team": "speech"}, "tags replaced, not merged")
        lab.cli("group", "update", "-n", "g", "--tags", "a=b").ok()
        check(lab.cli("group", "show", "-n", "g", "-o", "json").json()["tags"] == {"a": "b"}, "the group's tags")
        lab.cli("workspace", "update", "-g", "g", "-n", "none", "--tags", "a=b").failed("workspace none")


def file_servers():
    table = [{"name": "nfs", "address": "10.9.0.5", "export": "/srv/nfs"}]
    with Lab(nodes=0, config={"file_servers": table}) as lab:
        _home(lab)
        at = ["-g", "g", "-w", "w"]
        lab.cli("file-server", "create", *at, "-n", "other", *CREATE).failed("other", "file_servers", "configuration")
        made = lab.cli("file-server", "create", *at, "-n", "nfs", *CREATE, "-o", "json").json()
        check(made["mountSettings"] == {"mountPoint": "/srv/nfs", "fileServerInternalIp": "10.9.0.5", "fileServerPublicIp": None, "port": None}, f"mount settings: {made}")
        check(made["dataDisks"]["cachingType"] == "none" and made["provisioningState"] == "succeeded", f"defaults are shown: {made}")
        lab.kill_controller()
        lab.start_controller()
        shown = lab.cli("file-server", "show", *at, "-n", "NFS", "-o", "json").json()
        check(shown == made, f"the same after a restart of the controller: {shown}")
        lines = lab.cli("file-server", "list", *at, "-o", "table").ok().splitlines()
        check(lines[0].split() == "Name Resource Group Size Disks Public IP Internal IP Mount Point".split(), f"the columns: {lines[0]}")
        check("2 x 10 Gb" in lines[2] and "10.9.0.5" in lines[2], f"the row: {lines}")
        lab.cli("file-server", "create", *at, "-n", "nfs", *CREATE, "--caching-type", "sometimes").failed("cachingType", "none, readonly, readwrite")
        lab.cli("file-server", "delete", *at, "-n", "nfs", "-y").ok()
        lab.cli("file-server", "show", *at, "-n", "nfs").failed("nfs")
        check(lab.cli("file-server", "list", *at, "-o", "json").json() == [], "none left")


def usages():
    with Lab(nodes=2) as lab:
        _home(lab)
        lab.cli("cluster", "create", "-g", "g", "-w", "w", "-n", "c", "--vm-size", lab.flavour, "--target", "1").ok()
        rows = {u["name"]["value"]: (u["currentValue"], u["limit"]) for u in lab.cli("list-usages", "-l", "eastus", "-o", "json").json()}
        check(rows["Clusters"] == (1, None), f"one cluster, no limit: {rows}")
        check(rows["Nodes"][1] == 2 and rows["GPUs pretend"][1] == 2, f"two nodes and their GPUs: {rows}")
        check("Value" in lab.cli("list-usages", "-o", "table").ok(), "a table")


if __name__ == "__main__":
    main(globals())
