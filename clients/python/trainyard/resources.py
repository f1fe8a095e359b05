"""Groups, workspaces, experiments, file servers, nodes and usages. Answers are the API's own messages (trainyard.v1)."""
from __future__ import annotations

import time
from typing import Any, Callable, List, Mapping

from trainyard.connection import Connection, new_request_id
from trainyard.errors import NotFound
from trainyard.v1 import (experiments_pb2, experiments_pb2_grpc, file_servers_pb2, file_servers_pb2_grpc, groups_pb2, groups_pb2_grpc, nodes_pb2,
                          nodes_pb2_grpc, usages_pb2, usages_pb2_grpc, workspaces_pb2, workspaces_pb2_grpc)


def wait_gone(get: Callable[[], Any], timeout: float | None) -> None:
    """Waits until `get` says NotFound, or something younger has the name."""
    end = None if timeout is None else time.monotonic() + timeout
    born = None
    while True:
        try:
            found = get()
        except NotFound:
            return
        if born is not None and found.creation_time != born:
            return
        born = found.creation_time
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"{found.name} is not gone within {timeout:g} s; its deletion goes on")
        time.sleep(0.1)


class Groups:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, groups_pb2_grpc.GroupsStub(connection.channel)

    def create(self, name: str, location: str = "", tags: Mapping[str, str] | None = None) -> groups_pb2.Group:
        request = groups_pb2.CreateGroupRequest(request_id=new_request_id(), name=name, location=location, tags=tags or {})
        group: groups_pb2.Group = self._connection.call(self._stub.CreateGroup, request)
        return group

    def show(self, name: str) -> groups_pb2.Group:
        group: groups_pb2.Group = self._connection.call(self._stub.GetGroup, groups_pb2.GetGroupRequest(name=name))
        return group

    def list(self) -> list[groups_pb2.Group]:
        return [item for page in self._connection.pages(self._stub.ListGroups, groups_pb2.ListGroupsRequest()) for item in page.groups]

    def update(self, name: str, tags: Mapping[str, str]) -> groups_pb2.Group:
        """Replaces its tags."""
        request = groups_pb2.UpdateGroupRequest(request_id=new_request_id(), name=name, tags=tags)
        group: groups_pb2.Group = self._connection.call(self._stub.UpdateGroup, request)
        return group

    def delete(self, name: str, timeout: float | None = None) -> None:
        """Deletes it with all that is in it, and waits until it is gone."""
        self._connection.call(self._stub.DeleteGroup, groups_pb2.DeleteGroupRequest(request_id=new_request_id(), name=name))
        wait_gone(lambda: self.show(name), timeout)


class Workspaces:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, workspaces_pb2_grpc.WorkspacesStub(connection.channel)

    def create(self, group: str, name: str, location: str = "", tags: Mapping[str, str] | None = None) -> workspaces_pb2.Workspace:
        request = workspaces_pb2.CreateWorkspaceRequest(request_id=new_request_id(), resource_group=group, name=name, location=location,
                                                        tags=tags or {})
        workspace: workspaces_pb2.Workspace = self._connection.call(self._stub.CreateWorkspace, request)
        return workspace

    def show(self, group: str, name: str) -> workspaces_pb2.Workspace:
        request = workspaces_pb2.GetWorkspaceRequest(resource_group=group, name=name)
        workspace: workspaces_pb2.Workspace = self._connection.call(self._stub.GetWorkspace, request)
        return workspace

    def list(self, group: str = "") -> list[workspaces_pb2.Workspace]:
        """All, or one group's."""
        request = workspaces_pb2.ListWorkspacesRequest(resource_group=group)
        return [item for page in self._connection.pages(self._stub.ListWorkspaces, request) for item in page.workspaces]

    def update(self, group: str, name: str, tags: Mapping[str, str]) -> workspaces_pb2.Workspace:
        """Replaces its tags."""
        request = workspaces_pb2.UpdateWorkspaceRequest(request_id=new_request_id(), resource_group=group, name=name, tags=tags)
        workspace: workspaces_pb2.Workspace = self._connection.call(self._stub.UpdateWorkspace, request)
        return workspace

    def delete(self, group: str, name: str, timeout: float | None = None) -> None:
        """Deletes it with its clusters, experiments and jobs, and waits until it is gone."""
        self._connection.call(self._stub.DeleteWorkspace,
                              workspaces_pb2.DeleteWorkspaceRequest(request_id=new_request_id(), resource_group=group, name=name))
        wait_gone(lambda: self.show(group, name), timeout)


class Experiments:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, experiments_pb2_grpc.ExperimentsStub(connection.channel)

    def create(self, group: str, workspace: str, name: str) -> experiments_pb2.Experiment:
        request = experiments_pb2.CreateExperimentRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name)
        experiment: experiments_pb2.Experiment = self._connection.call(self._stub.CreateExperiment, request)
        return experiment

    def show(self, group: str, workspace: str, name: str) -> experiments_pb2.Experiment:
        request = experiments_pb2.GetExperimentRequest(resource_group=group, workspace=workspace, name=name)
        experiment: experiments_pb2.Experiment = self._connection.call(self._stub.GetExperiment, request)
        return experiment

    def list(self, group: str, workspace: str) -> list[experiments_pb2.Experiment]:
        request = experiments_pb2.ListExperimentsRequest(resource_group=group, workspace=workspace)
        return [item for page in self._connection.pages(self._stub.ListExperiments, request) for item in page.experiments]

    def delete(self, group: str, workspace: str, name: str, timeout: float | None = None) -> None:
        """Deletes it with its jobs, and waits until it is gone."""
        request = experiments_pb2.DeleteExperimentRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name)
        self._connection.call(self._stub.DeleteExperiment, request)
        wait_gone(lambda: self.show(group, workspace, name), timeout)


class FileServers:
    """Names for NFS file systems that clusters and jobs may mount."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, file_servers_pb2_grpc.FileServersStub(connection.channel)

    def create(self, group: str, workspace: str, name: str, spec: file_servers_pb2.FileServerSpec) -> file_servers_pb2.FileServer:
        request = file_servers_pb2.CreateFileServerRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name, spec=spec)
        server: file_servers_pb2.FileServer = self._connection.call(self._stub.CreateFileServer, request)
        return server

    def show(self, group: str, workspace: str, name: str) -> file_servers_pb2.FileServer:
        request = file_servers_pb2.GetFileServerRequest(resource_group=group, workspace=workspace, name=name)
        server: file_servers_pb2.FileServer = self._connection.call(self._stub.GetFileServer, request)
        return server

    def list(self, group: str, workspace: str) -> list[file_servers_pb2.FileServer]:
        request = file_servers_pb2.ListFileServersRequest(resource_group=group, workspace=workspace)
        return [item for page in self._connection.pages(self._stub.ListFileServers, request) for item in page.file_servers]

    def delete(self, group: str, workspace: str, name: str, timeout: float | None = None) -> None:
        """Waits until it is gone."""
        request = file_servers_pb2.DeleteFileServerRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name)
        self._connection.call(self._stub.DeleteFileServer, request)
        wait_gone(lambda: self.show(group, workspace, name), timeout)


class Usages:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, usages_pb2_grpc.UsagesStub(connection.channel)

    def list(self) -> list[usages_pb2.Usage]:
        """How many clusters, nodes in clusters and GPUs of each model there are, and of how many."""
        return list(self._connection.call(self._stub.ListUsages, usages_pb2.ListUsagesRequest()).usages)

    def operations(self) -> List[usages_pb2.Operation]:
        """Batch AI's names of operations, which were its permissions, too."""
        return list(self._connection.call(self._stub.ListOperations, usages_pb2.ListOperationsRequest()).operations)


class Nodes:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, nodes_pb2_grpc.NodesStub(connection.channel)

    def list(self, cluster: str = "") -> list[nodes_pb2.Node]:
        """All nodes, or those of "group/workspace/cluster"."""
        return list(self._connection.call(self._stub.ListNodes, nodes_pb2.ListNodesRequest(cluster=cluster)).nodes)

    def show(self, name: str) -> nodes_pb2.Node:
        """Its state, with the reason of an unusable one; its machine, and what it holds."""
        node: nodes_pb2.Node = self._connection.call(self._stub.GetNode, nodes_pb2.GetNodeRequest(name=name))
        return node

    def repair(self, name: str) -> nodes_pb2.Node:
        """Sets an unusable node up again at once."""
        request = nodes_pb2.RepairNodeRequest(request_id=new_request_id(), name=name)
        node: nodes_pb2.Node = self._connection.call(self._stub.RepairNode, request)
        return node

    def drain(self, name: str, reason: str, *, requeue: bool = False) -> nodes_pb2.Node:
        """No new job is placed on it until it is undrained. `requeue`: its jobs are stopped and run again elsewhere."""
        request = nodes_pb2.DrainNodeRequest(request_id=new_request_id(), name=name, reason=reason, requeue=requeue)
        node: nodes_pb2.Node = self._connection.call(self._stub.DrainNode, request)
        return node

    def undrain(self, name: str) -> nodes_pb2.Node:
        """Jobs are placed on it again."""
        request = nodes_pb2.UndrainNodeRequest(request_id=new_request_id(), name=name)
        node: nodes_pb2.Node = self._connection.call(self._stub.UndrainNode, request)
        return node

    def fence(self, name: str, *, confirmed_off: bool) -> nodes_pb2.Node:
        """`confirmed_off`: you know that the machine is off, or that nothing of Trainyard runs on it. Its jobs are run again
        elsewhere: were they still running there, they would run twice."""
        request = nodes_pb2.FenceNodeRequest(request_id=new_request_id(), name=name, confirmed_off=confirmed_off)
        node: nodes_pb2.Node = self._connection.call(self._stub.FenceNode, request)
        return node
