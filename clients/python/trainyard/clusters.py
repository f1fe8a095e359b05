"""Clusters: create them from Batch AI's JSON, scale them, look at their set-up, run commands on their nodes."""
from __future__ import annotations

import os
import time
from typing import IO, Any, Iterator, List, Mapping

from trainyard import commands, transfer, translation
from trainyard.connection import Connection, new_request_id
from trainyard.resources import wait_gone
from trainyard.v1 import clusters_pb2, clusters_pb2_grpc, exec_pb2, exec_pb2_grpc, jobs_pb2


class Clusters:
    def __init__(self, connection: Connection) -> None:
        self._connection, self._stub = connection, clusters_pb2_grpc.ClustersStub(connection.channel)
        self._exec = exec_pb2_grpc.ExecStub(connection.channel)

    def create(self, group: str, workspace: str, name: str, vm_size: str = "", target: int | None = None,
               spec: clusters_pb2.ClusterSpec | Mapping[str, Any] | str | os.PathLike[str] | None = None, *,
               storage_account: str = "", strict: bool | None = None) -> clusters_pb2.Cluster:
        """A cluster of `target` nodes of a VM size. `spec` says more: Batch AI's JSON as a dict ({"properties": {...}}) or a
        cluster.json's path (see translate()), or a ClusterSpec; `vm_size` and `target` win over it. Does not wait for its
        nodes: wait_idle()."""
        if spec is None:
            spec = clusters_pb2.ClusterSpec()
        elif not isinstance(spec, clusters_pb2.ClusterSpec):
            spec = self.translate(spec, storage_account, strict)
        request = clusters_pb2.CreateClusterRequest(request_id=new_request_id(), resource_group=group, workspace=workspace, name=name, spec=spec)
        if vm_size:
            request.spec.vm_size = vm_size
        if target is not None:
            request.spec.ClearField("auto_scale")
            request.spec.target_node_count = target
        cluster: clusters_pb2.Cluster = self._connection.call(self._stub.CreateCluster, request)
        return cluster

    def translate(self, cluster: translation.Source, storage_account: str = "", strict: bool | None = None) -> clusters_pb2.ClusterSpec:
        """Batch AI's JSON to the typed form, which may be changed before the cluster is created. `strict` as of
        Jobs.translate()."""
        return translation.cluster(self._connection, cluster, storage_account, strict)

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

    # ---- The files of its set-up task ----

    def list_files(self, group: str, workspace: str, name: str, path: str = ".") -> List[jobs_pb2.FileEntry]:
        """What the set-up task wrote: stdout-NODE.txt, stderr-NODE.txt, execution-NODE.log; in `earlier` those of earlier runs."""
        request = clusters_pb2.ListClusterFilesRequest(resource_group=group, workspace=workspace, name=name, path=transfer.clean(path))
        return list(self._connection.call(self._stub.ListClusterFiles, request).files)

    def read(self, group: str, workspace: str, name: str, file: str, offset: int = 0) -> Iterator[bytes]:
        """A file's bytes as they are now, from `offset`."""
        request = clusters_pb2.ReadClusterFileRequest(resource_group=group, workspace=workspace, name=name, path=transfer.clean(file), offset=offset)
        return transfer.pieces(self._connection, self._stub.ReadClusterFile, request)

    def download(self, group: str, workspace: str, name: str, path: str = ".", to: str = ".") -> List[str]:
        """Copies a file or a whole directory of the set-up task's output to here, as Job.download() does. Returns the paths."""
        return transfer.download(_ClusterFiles(self, group, workspace, name), path, to)

    # ---- Its nodes ----

    def nodes(self, group: str, workspace: str, name: str) -> List[exec_pb2.ExecNode]:
        """Its nodes by name, with their addresses, and whether a command can be started there now."""
        request = exec_pb2.ExecCluster(resource_group=group, workspace=workspace, name=name)
        return list(self._connection.call(self._exec.ListClusterNodes, request).nodes)

    def exec(self, group: str, workspace: str, name: str, command: str, node: str = "", *, stdin: bytes = b"",
             stdout: IO[bytes] | None = None, stderr: IO[bytes] | None = None, timeout: float | None = None) -> commands.ExecResult:
        """Runs `command` (for bash) as root on a node, the first unless `node` names one, and returns its exit code and
        output. Operators only. See commands.run() for the rest."""
        start = exec_pb2.ExecStart(cluster=exec_pb2.ExecCluster(resource_group=group, workspace=workspace, name=name), node=node, command=command)
        return commands.run(self._connection, self._exec.ExecOnNode, start, stdin, stdout, stderr, timeout)


class _ClusterFiles:
    """The files of a set-up task, for transfer.download."""

    def __init__(self, clusters: Clusters, group: str, workspace: str, name: str) -> None:
        self._clusters, self._where = clusters, (group, workspace, name)

    def list(self, path: str) -> List[jobs_pb2.FileEntry]:
        return self._clusters.list_files(*self._where, path)

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        return self._clusters.read(*self._where, path, offset)
