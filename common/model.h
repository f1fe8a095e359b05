// The structs that controller and agent share: what a job is, what a node has, what it should do (Orders) and what it
// does (Report). Plain values, no behaviour. JSON forms (for the store and the agent's spool) are in model_json.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/time.h"

namespace trainyard {

// ---- What a user wants run (Batch AI's JobCreateParameters, the part supported so far) ----

// Batch AI's nine, then two that it lacked.
enum class Toolkit { custom, custom_mpi, horovod, chainer, cntk, caffe, caffe2, py_torch, tensor_flow, torchrun, jax };
// pyTorchSettings.communicationBackend. All but mpi: processes started by the agents, without mpirun.
enum class CommunicationBackend { tcp, gloo, nccl, mpi };
// Any other value is of a class that the operator defined (PriorityClasses); the greater goes first.
enum class Priority : std::int32_t { low = -100, normal = 0, high = 100 };
using PriorityClasses = std::map<std::string, Priority>;  // the operator's, by name
enum class OnNodeLoss { requeue, fail };
// When a requeued job may start its next attempt: when nothing of the old one can be alive (fenced), or already when
// its gang was stopped on the reachable nodes (its owner accepts that a cut-off rank may still write).
enum class RerunAfter { fenced, gang_broken };

struct NamedValue {
  std::string name, value;
  friend bool operator==(const NamedValue&, const NamedValue&) = default;
};

// A secret and its value, encrypted for whoever is to read it: at rest by the controller's vault, on its way to a node
// to that node's key. Text without meaning to anyone else.
struct SealedValue {
  std::string name, sealed;
  friend bool operator==(const SealedValue&, const SealedValue&) = default;
};

// Keys and passwords travel with secrets; their names cannot be a variable's: "mount:<relative mount path>" (an
// account's key), "registry:" (the password of containerSettings' user).
inline bool is_credential(const SealedValue& value) {
  return value.name.find(':') != std::string::npos;
}
inline constexpr const char* kRegistryCredential = "registry:";

// mountVolumes.azureFileShares[]: `share` is the last path segment of azureFileUrl.
struct FileShareMount {
  std::string account_name, azure_file_url, share, relative_mount_path;
  std::string file_mode = "0777", directory_mode = "0777";
  friend bool operator==(const FileShareMount&, const FileShareMount&) = default;
};

// mountVolumes.azureBlobFileSystems[]: a container is a directory below its account's place, like a share, unless the
// operator's table says that the account is a server of objects.
struct BlobMount {
  std::string account_name, container_name, relative_mount_path;
  std::string mount_options;  // blobfuse's; kept and shown, without effect where the container is a directory
  friend bool operator==(const BlobMount&, const BlobMount&) = default;
};

// mountVolumes.fileServers[]: a file server of Trainyard's (made by it or registered by the operator).
struct FileServerMount {
  std::string file_server;  // "group/workspace/name"
  std::string relative_mount_path;
  std::string source_directory;  // below the export; empty: all of it
  std::string mount_options;     // of NFS, by commas
  friend bool operator==(const FileServerMount&, const FileServerMount&) = default;
};

// mountVolumes.unmanagedFileSystems[]: the user's own command, run as root with the mount's path appended.
struct UnmanagedMount {
  std::string mount_command, relative_mount_path;
  friend bool operator==(const UnmanagedMount&, const UnmanagedMount&) = default;
};

// containerSettings beside the image's name. The password is a credential (JobSpec::credentials).
struct ContainerOptions {
  std::string server_url, user_name;
  std::string shm_size;  // as docker's --shm-size, e.g. "8g"
  friend bool operator==(const ContainerOptions&, const ContainerOptions&) = default;
};

struct InputDirectory {
  std::string id, path;
  friend bool operator==(const InputDirectory&, const InputDirectory&) = default;
};
struct OutputDirectory {
  std::string id, path_prefix, path_suffix;
  friend bool operator==(const OutputDirectory&, const OutputDirectory&) = default;
};

// What happens when the machines fail (Trainyard's own; `properties.recovery` in a job file).
struct Recovery {
  OnNodeLoss on_node_loss = OnNodeLoss::requeue;
  std::uint32_t max_requeues = 1;  // infrastructure requeues; a resize or drain does not count
  RerunAfter rerun_after = RerunAfter::fenced;
  DurationMs lease_ms = 60 * 60 * 1000;  // kForever = never fenced by time
  DurationMs gang_abort_after_ms = -1;   // -1: the controller's default (2 min)
  DurationMs grace_ms = 10 * 1000;       // SIGTERM to SIGKILL when stopped in contact with the controller
  // SIGUSR1 to SIGTERM when it is to be queued again and nothing has failed: preempted, drained, resized.
  DurationMs notice_ms = 30 * 1000;
  friend bool operator==(const Recovery&, const Recovery&) = default;
};

// Which nodes of an operator's tree (Inventory::topology) a job wants together.
struct Topology {
  std::string level;  // e.g. "leaf"; empty: none
  // All its nodes, or with a block size each so many of them in rank order, are in one domain of that level. Otherwise
  // they are in as few as can be.
  bool required = false;
  std::uint32_t block_size = 0;     // divides the node count; 0: all of them
  std::vector<std::string> within;  // only nodes of one of these domains, e.g. "rack=r1"; empty: of any
  bool none() const { return level.empty() && within.empty(); }
  friend bool operator==(const Topology&, const Topology&) = default;
};

struct JobSpec {
  std::uint32_t node_count = 0;
  // It starts on as many nodes as there are, from so many to node_count. 0: on node_count.
  std::uint32_t min_node_count = 0;
  // 0: whole nodes, nobody beside it. Otherwise so many GPUs of each of its nodes, which it may share with other jobs.
  std::uint32_t gpus_per_node = 0;
  Toolkit toolkit = Toolkit::custom;
  std::string command_line;              // custom, custom_mpi
  std::string python_script_file_path;   // all that run Python
  std::string python_interpreter_path;   // the same; empty: image map's, else `python`, else `python3`
  std::string command_line_args;         // all but custom, custom_mpi and tensor_flow
  std::string config_file_path;          // cntk (BrainScript) and caffe, instead of a Python script
  std::uint32_t process_count = 0;       // MPI toolkits and py_torch; 0: node_count
  std::uint32_t processes_per_node = 0;  // torchrun, jax; 0: one
  CommunicationBackend communication_backend = CommunicationBackend::gloo;  // py_torch
  // tensor_flow; unset counts: see tasks.h
  std::optional<std::uint32_t> worker_count, parameter_server_count;
  std::string master_command_line_args, worker_command_line_args, parameter_server_command_line_args;
  std::string std_out_err_path_prefix;   // may use $AZ_BATCHAI_*
  std::string preparation_command_line;  // empty: none
  std::string image;                     // containerSettings.imageSourceRegistry.image; empty: host
  ContainerOptions container;
  std::vector<FileShareMount> file_shares;  // job-level mounts
  std::vector<BlobMount> blob_file_systems;
  std::vector<InputDirectory> input_directories;
  std::vector<OutputDirectory> output_directories;
  std::vector<NamedValue> environment;
  std::vector<SealedValue> secrets;  // variables too; of the vault. Not in a Launch: see HoldingOrder::secrets
  // Keys and passwords that never become variables: see is_credential. Treated like secrets.
  std::vector<SealedValue> credentials = {};
  std::vector<FileServerMount> file_server_mounts = {};
  std::vector<UnmanagedMount> unmanaged_mounts = {};
  DurationMs max_wall_clock_ms = 7LL * 24 * 3600 * 1000;
  // Its limit may be shortened to this where it starts sooner by that. 0: never.
  DurationMs min_wall_clock_ms = 0;
  Topology topology = {};
  Priority priority = Priority::normal;
  Recovery recovery;
  friend bool operator==(const JobSpec&, const JobSpec&) = default;
};

// What the operator's image map made of the job's image at submit: it runs on the host with these replacements, or in
// a container.
struct ImageMapping {
  std::optional<std::string> preparation;  // replaces jobPreparation.commandLine ("" = none)
  std::string python_interpreter;          // empty: default
  // What is pulled and run, fully qualified, after the map and its mirrors; empty: the job runs on the host.
  std::string container_image = {};
  friend bool operator==(const ImageMapping&, const ImageMapping&) = default;
};

// ---- What a cluster makes of every node that it takes (Batch AI's nodeSetup) ----

// Runs in bash as root on every node of a cluster, when the node is taken and after every reboot.
struct SetupTask {
  std::string command_line;  // empty: there is no task
  std::vector<NamedValue> environment;
  std::string std_out_err_path_prefix;  // may use $AZ_BATCHAI_MOUNT_ROOT
  DurationMs time_limit_ms = 60 * 60 * 1000;
  std::vector<SealedValue> secrets = {};  // of the vault. Not in a ClusterSetup: see SetupOrder::secrets
  friend bool operator==(const SetupTask&, const SetupTask&) = default;
};

struct NodeSetup {
  SetupTask task;
  std::vector<FileShareMount> file_shares;  // mounted under $AZ_BATCHAI_MOUNT_ROOT, before the task
  std::vector<BlobMount> blob_file_systems;
  std::vector<SealedValue> credentials = {};  // as JobSpec::credentials
  std::vector<FileServerMount> file_server_mounts = {};
  std::vector<UnmanagedMount> unmanaged_mounts = {};
  friend bool operator==(const NodeSetup&, const NodeSetup&) = default;
};

// ---- What a node has ----

struct Gpu {
  std::string uuid, model;
  std::uint64_t memory_bytes = 0;
  bool pretend = false;  // configured, not found: shown as such everywhere
  // Why it is not given to jobs ("XID 79: ...", "fell off the bus", "memory is not free"); empty: it is fine.
  std::string fault = {};
  std::string pci_bus_id = {};   // "00000000:3B:00.0"
  std::int32_t numa_node = -1;   // -1: not known, or the machine has one
  std::string parent_uuid = {};  // of a MIG instance: the GPU that it is a part of
  // GPUs with the same number reach each other by NVLink, perhaps over others or a switch; -1: by PCIe, or not known.
  std::int32_t nvlink_island = -1;
  // Processors that go with it when a job takes it as a part of the node, as Linux lists them: "0-3,64-67"; empty: the
  // agent gives none.
  std::string cores = {};
  friend bool operator==(const Gpu&, const Gpu&) = default;
};

// A network adapter that MPI and NCCL may use beside plain TCP.
struct Fabric {
  enum class Kind { infiniband, roce } kind = Kind::infiniband;
  std::string name;        // of the adapter, as NCCL_IB_HCA takes it: "mlx5_0"
  std::uint32_t port = 1;  // that is up
  friend bool operator==(const Fabric&, const Fabric&) = default;
};

// What is wrong with a machine, in the doctor's words.
struct Finding {
  std::string check;    // "clock", "memlock", ...
  std::string level;    // warning | error
  std::string message;  // what, and what to do
  friend bool operator==(const Finding&, const Finding&) = default;
};

struct Inventory {
  std::string flavour;       // VM size, e.g. "STANDARD_NC6"; compared case-insensitively
  std::string pool;          // operator's name for a set of machines with one fence command
  std::string address;       // IP on the cluster's network: hostfiles, MASTER_ADDR
  std::string network_cidr;  // of that interface, e.g. "10.77.0.0/16": btl_tcp_if_include
  std::uint32_t cores = 0;
  std::uint64_t memory_bytes = 0;
  std::vector<Gpu> gpus;
  std::string agent_version;
  std::string sealing_key;  // base64 of an X25519 public key: secrets for this node are sealed to it
  // With what it can serve NFS, e.g. "nfs-ganesha 4.3"; empty: no storage node; "none: WHY": it should be one but
  // cannot.
  std::string file_server_software;
  std::string network_interface = {};  // that has `address`: NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME
  std::vector<Fabric> fabrics = {};
  // What runs containers here, e.g. "podman 4.3.1"; "none: WHY": jobs with an image that is not mapped to the host
  // cannot run here.
  std::string container_runtime = {};
  std::vector<Finding> findings = {};  // the newest; in a steady order
  std::string topology = {};           // its place in the operator's tree: "rack=r1/leaf=l2", see common/topology.h
  bool runs_containers() const { return !container_runtime.empty() && !container_runtime.starts_with("none: "); }
  bool serves_files() const { return !file_server_software.empty() && !file_server_software.starts_with("none: "); }
  friend bool operator==(const Inventory&, const Inventory&) = default;
};

// ---- What a node should have and run now ----

// A mount of a job or cluster, resolved by the operator's storage table to something mountable.
struct Volume {
  enum class Kind { local, nfs, smb, s3, azure_blob, command } kind = Kind::local;
  // local: absolute directory on the node. nfs: "HOST:/export/directory". smb: "//HOST/share[/directory]". s3,
  // azure_blob: "BUCKET[/prefix]". command: the user's command, to which the mount's path is appended.
  std::string source;
  // Under AZ_BATCHAI_JOB_MOUNT_ROOT (of a cluster: AZ_BATCHAI_MOUNT_ROOT); empty when only a file operation is wanted.
  std::string relative_mount_path;
  std::string endpoint = {};  // s3, azure_blob: the server's URL
  std::string user = {};      // smb: user name; s3: access key id; azure_blob: account
  std::string options = {};   // nfs, smb: mount options, by commas; s3, azure_blob: "ro" or nothing
  // The operator's file on the node with the password or key, where the user gave none; readable by root only.
  std::string credentials_file = {};
  std::string file_server = {};  // nfs: "group/workspace/name" whose address and export make the source at placement
  friend bool operator==(const Volume&, const Volume&) = default;
};

struct GangMember {
  std::string node_name, address;
  friend bool operator==(const GangMember&, const GangMember&) = default;
};

// Whom a job's processes run as on its nodes; 0: root.
struct RunAs {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups = {};  // supplementary
  friend bool operator==(const RunAs&, const RunAs&) = default;
};

// How many processes of one attempt may listen on one node, and how many processes Trainyard starts without mpirun.
inline constexpr std::uint32_t kTaskPorts = 256;
inline constexpr std::uint32_t kMaxTasks = 4096;

// All that a node needs to know to run its part of an attempt. Identical on all nodes of the attempt. The spec's
// node_count is that of the attempt: members.size().
struct Launch {
  std::string job_name, experiment, workspace, group;
  std::string segment;  // jobOutputDirectoryPathSegment
  JobSpec spec;
  ImageMapping mapping;
  std::vector<Volume> volumes;      // of spec.file_shares, then of spec.blob_file_systems, in their order
  std::vector<GangMember> members;  // rank order of nodes; members[0] is the head
  std::uint32_t first_port = 0;     // kTaskPorts ports from here on are this attempt's, on each of its nodes
  RunAs run_as = {};
  friend bool operator==(const Launch&, const Launch&) = default;
};

// All that a node of the cluster needs to know to set itself up. Identical on all its nodes.
struct ClusterSetup {
  std::string cluster;      // "group/workspace/cluster"
  std::string path_suffix;  // stdOutErrPathSuffix
  NodeSetup setup;
  std::vector<Volume> volumes;  // of setup.file_shares, then of setup.blob_file_systems
  friend bool operator==(const ClusterSetup&, const ClusterSetup&) = default;
};

struct SetupOrder {
  // Drawn anew whenever the node is taken, has rebooted, or is to be repaired: the task of a run starts once, ever.
  std::uint64_t run = 0;
  std::shared_ptr<const ClusterSetup> setup;
  std::vector<SealedValue> secrets = {};  // of the set-up task; as HoldingOrder::secrets
};

// A file server that the node should run: an NFS export of a directory of its own.
struct FileServerOrder {
  std::uint64_t id = 0;
  std::string name;                  // "group/workspace/name": files made for another name are never served or removed
  std::uint64_t capacity_bytes = 0;  // must fit when it is made; no quota
  // Its server ends and its files are removed. Nothing else removes files: of one that is no longer listed only the
  // server ends.
  bool remove = false;
  friend bool operator==(const FileServerOrder&, const FileServerOrder&) = default;
};

enum class HoldingPhase { prepare, run, stop };

struct HoldingOrder {
  AttemptId id;
  HoldingPhase phase = HoldingPhase::stop;
  std::uint32_t member = 0;  // index into launch->members
  std::vector<std::string> gpu_uuids;
  DurationMs lease_ms = 0;               // kForever or > 0
  DurationMs grace_ms = 0;               // for phase stop; 0: kill at once
  DurationMs notice_ms = 0;              // for phase stop: so long before, processes that catch SIGUSR1 get one
  std::shared_ptr<const Launch> launch;  // null when phase == stop: the agent knows what it runs
  // The job's secrets and credentials: of the vault as the core gives them; sealed to this node's key on the wire and
  // in the spool.
  std::vector<SealedValue> secrets = {};
  // Of a container job: the digest that all its nodes and attempts must run; empty: the head has not yet told it.
  std::string image_digest = {};
};

// Complete: what is not listed must not exist on the node.
struct Orders {
  std::string store_generation;  // of the controller's database; an agent never takes a new job for an old one
  std::string node_epoch;        // addressed to one life of the agent; refused by any other
  std::uint64_t revision = 0;    // per node, rises; an agent fsyncs it before acting and refuses lower ones
  std::string cluster;           // "group/workspace/cluster" or empty: in no cluster
  std::vector<HoldingOrder> holdings;
  std::optional<SetupOrder> setup = std::nullopt;  // none: no set-up's mounts or processes may be there
  std::vector<FileServerOrder> file_servers = {};
};

// ---- What a node has and does now ----

enum class HoldingState {
  preparing,  // mounting, making directories, running jobPreparation
  ready,      // prepared; waits for phase run
  running,    // head: the toolkit's process runs; peer: open for launches
  exited,     // head only: the toolkit's process ended, `exit_code` says how; nothing was killed yet
  failed,     // could not prepare or start: `error`
  lost,       // something of ours died (shim): `error`
  stopping,   // being killed and cleaned
  clean,      // nothing left: `receipt`. Reported until orders no longer list the holding
};

struct NodeError {
  std::string code, message;  // Batch AI's codes: JobFailed, JobPreparationFailed, AZFMountError, ...
  std::vector<NamedValue> details;
  bool infrastructure = false;  // true: the machines' fault, may be requeued; false: the user's
  friend bool operator==(const NodeError&, const NodeError&) = default;
};

// One kind of thing that was cleaned: processes, mounts, sharedMemory, ports, directories, temporaryFiles, gpuMemory,
// containers.
struct CleanupPart {
  std::string what;
  std::uint64_t count = 0;  // that had to be removed; gpuMemory: bytes above the baseline at first
  DurationMs took_ms = 0;
  friend bool operator==(const CleanupPart&, const CleanupPart&) = default;
};

struct CleanupReceipt {
  std::string node_name;
  std::uint32_t processes_killed = 0;
  std::uint32_t mounts_removed = 0;
  std::uint32_t directories_removed = 0;
  DurationMs took_ms = 0;
  std::vector<CleanupPart> parts = {};
  friend bool operator==(const CleanupReceipt&, const CleanupReceipt&) = default;
};

// How far a job says that it is, in steps of its own: see agent/exec/progress.h.
struct Progress {
  std::uint64_t step = 0;
  std::uint64_t steps = 0;       // of so many; 0: it does not know
  std::uint64_t checkpoint = 0;  // from which it would go on if it were stopped now
  friend bool operator==(const Progress&, const Progress&) = default;
};

struct HoldingReport {
  AttemptId id;
  HoldingState state = HoldingState::preparing;
  std::optional<std::int32_t> exit_code;  // 128+n for signal n
  NodeError error;                        // of failed, lost
  CleanupReceipt receipt;                 // of clean
  std::string image_digest = {};          // of a container job, once it is known here
  // While stopping: what cannot be ended (a process in the kernel's hands, a mount that does not go), for an alarm.
  std::string stuck = {};
  std::optional<Progress> progress = std::nullopt;  // of a head's job that tells it
  friend bool operator==(const HoldingReport&, const HoldingReport&) = default;
};

enum class SetupState {
  running,  // mounting, or the task runs
  done,     // the node can take jobs
  failed,   // `error` says why, with the task's last lines; what it mounted and started may still be there
  stopping  // being killed and unmounted
};

struct SetupReport {
  std::uint64_t run = 0;
  SetupState state = SetupState::running;
  NodeError error;  // of failed
  friend bool operator==(const SetupReport&, const SetupReport&) = default;
};

enum class FileServerState { starting, serving, failed, stopping };

struct FileServerReport {
  std::uint64_t id = 0;
  FileServerState state = FileServerState::starting;
  std::string address, export_path;  // while serving
  std::string error_message;         // of failed; of stopping when it does not get on
  std::uint32_t port = 0;            // while serving
  friend bool operator==(const FileServerReport&, const FileServerReport&) = default;
};

struct Report {
  std::string node_name;
  std::string store_generation;       // of the newest orders seen; empty: none yet
  std::string epoch;                  // boot identity + spool generation
  std::uint64_t orders_revision = 0;  // newest orders that this report already reflects
  std::uint64_t sequence = 0;         // rises per connection; the acknowledgement echoes it
  Inventory inventory;
  std::vector<HoldingReport> holdings;
  std::optional<SetupReport> setup = std::nullopt;  // none: nothing of a set-up is there
  std::vector<FileServerReport> file_servers = {};  // those of which anything is there
};

}  // namespace trainyard
