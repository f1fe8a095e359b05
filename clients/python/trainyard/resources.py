"""Groups, workspaces, experiments, clusters and nodes. Answers are the API's own messages (trainyard.v1)."""
from __future__ import annotations

import time
from typing import Any, Callable, Mapping

from trainyard.connection import Connection, new_request_id
from trainyard.errors import NotFound
from trainyard.v1 import (clusters_pb2, clusters_pb2_grpc, experiments_pb2, experiments_pb2_grpc, groups_pb2, groups_pb2_grpc, nodes_pb2,
                          nodes_pb2_grpc, workspaces_pb2, workspaces_pb2_grpc)


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


class Clusters:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, clusters_pb2_grpc.ClustersStub(connection.channel)

    def create(self, group: str, workspace: str, name: str, vm_size: str = "", target: int = 0,
               spec: clusters_pb2.ClusterSpec | None = None) -> clusters_pb2.Cluster:
        """A cluster of `target` nodes of a VM size; a whole ClusterSpec says more. Does not wait for its nodes: wait_idle()."""
        spec = clusters_pb2.ClusterSpec() if spec is None else spec
        request = clusters_pb2.CreateClusterRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name, spec=spec)
        request.spec.vm_size = vm_size or spec.vm_size
        request.spec.target_node_count = target or spec.target_node_count
        cluster: clusters_pb2.Cluster = self._connection.call(self._stub.CreateCluster, request)
        return cluster

    def show(self, group: str, workspace: str, name: str) -> clusters_pb2.Cluster:
        request = clusters_pb2.GetClusterRequest(resource_group=group, workspace=workspace, name=name)
        cluster: clusters_pb2.Cluster = self._connection.call(self._stub.GetCluster, request)
        return cluster

    def list(self, group: str, workspace: str) -> list[clusters_pb2.Cluster]:
        request = clusters_pb2.ListClustersRequest(resource_group=group, workspace=workspace)
        return [item for page in self._connection.pages(self._stub.ListClusters, request) for item in page.clusters]

    def resize(self, group: str, workspace: str, name: str, target: int, deallocation: str = "") -> clusters_pb2.Cluster:
        """`deallocation`: what to do with the jobs of nodes that leave: requeue (default), terminate or
        waitforjobcompletion."""
        named = {"": clusters_pb2.DEALLOCATION_OPTION_UNSPECIFIED, "requeue": clusters_pb2.DEALLOCATION_OPTION_REQUEUE, "terminate": clusters_pb2.DEALLOCATION_OPTION_TERMINATE,
                 "waitforjobcompletion": clusters_pb2.DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION}
        if deallocation.lower() not in named:
            raise ValueError(f"deallocation: must be one of requeue, terminate, waitforjobcompletion, got {deallocation!r}")
        request = clusters_pb2.ResizeClusterRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name,
                                                    target_node_count=target)
        request.node_deallocation_option = named[deallocation.lower()]
        cluster: clusters_pb2.Cluster = self._connection.call(self._stub.ResizeCluster, request)
        return cluster

    def auto_scale(self, group: str, workspace: str, name: str, minimum: int, maximum: int) -> clusters_pb2.Cluster:
        """As many nodes as running and queued jobs need, within these bounds."""
        request = clusters_pb2.AutoScaleClusterRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name)
        request.auto_scale.minimum_node_count, request.auto_scale.maximum_node_count = minimum, maximum
        cluster: clusters_pb2.Cluster = self._connection.call(self._stub.AutoScaleCluster, request)
        return cluster

    def wait_idle(self, group: str, workspace: str, name: str, count: int, timeout: float | None = None) -> clusters_pb2.Cluster:
        """Waits until `count` nodes are idle."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            cluster = self.show(group, workspace, name)
            if cluster.node_state_counts.idle_node_count >= count:
                return cluster
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"cluster {name} has {cluster.node_state_counts.idle_node_count} idle nodes, not {count}, after "
                                   f"{timeout:g} s: {cluster.reason}")
            time.sleep(0.1)

    def delete(self, group: str, workspace: str, name: str, timeout: float | None = None) -> None:
        """Ends its jobs, gives its nodes back, and waits until it is gone."""
        request = clusters_pb2.DeleteClusterRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name)
        self._connection.call(self._stub.DeleteCluster, request)
        wait_gone(lambda: self.show(group, workspace, name), timeout)


class Nodes:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, nodes_pb2_grpc.NodesStub(connection.channel)

    def list(self, cluster: str = "") -> list[nodes_pb2.Node]:
        """All nodes, or those of "group/workspace/cluster"."""
        return list(self._connection.call(self._stub.ListNodes, nodes_pb2.ListNodesRequest(cluster=cluster)).nodes)
