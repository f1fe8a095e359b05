#include <fmt/format.h>

#include <cstdlib>

#include "batchai/cluster_file.h"
#include "batchai/json_fields.h"
#include "cli/admin_account.h"
#include "cli/commands.h"
#include "cli/counter_commands.h"
#include "cli/show.h"
#include "trainyard/v1/clusters.grpc.pb.h"

namespace trainyard::cli {
namespace {

using namespace batchai;
using Stub = v1::Clusters::Stub;

struct Options {
  Place place;
  ClusterFlags flags;
  std::int32_t target = 0, minimum = 0, maximum = 0;
  std::string config_file, ssh_key, deallocation, password, subnet, image, location;
  bool generate_ssh_keys = false;
};

// Flags of Batch AI that are taken and change nothing here; docs/batch-ai-compatibility.md lists them.
std::optional<Error> flags_without_effect(const Options& options) {
  if (!options.image.empty() && !is_image_alias(options.image)) {
    return Error{
        Code::invalid_argument,
        "--image: must be UbuntuLTS, UbuntuDSVM or publisher:offer:sku:version, got \"" + options.image + "\""};
  }
  if (!options.image.empty()) warn("--image has no effect: the nodes' system is the operator's");
  if (!options.location.empty()) warn("--location has no effect: only a workspace has one");
  if (!options.subnet.empty()) warn("--subnet has no effect: the nodes' network is the operator's");
  if (!options.password.empty()) {
    warn("--password has no effect and is sent nowhere: no account is made on nodes, and nothing here goes by ssh");
  }
  return std::nullopt;
}

int create(Program& program, Options& options) {
  if (const auto error = flags_without_effect(options)) return program.fail(*error);
  std::string text;
  if (!options.config_file.empty()) {
    auto read = read_text_file(options.config_file, kLargestFileBytes);
    if (!read) return program.fail(read.error());
    text = std::move(*read);
    if (text.empty()) return program.fail(Error{Code::invalid_argument, options.config_file + ": is empty"});
  }
  auto key = ssh_public_key(options.ssh_key, !options.config_file.empty());
  if (!key) return program.fail(key.error());
  options.flags.ssh_public_key = *key;
  if (options.flags.storage_account_name.empty()) {
    for (const char* variable : {"AZURE_BATCHAI_STORAGE_ACCOUNT", "TRAINYARD_STORAGE_ACCOUNT"}) {
      const char* value = std::getenv(variable);
      if (value != nullptr && options.flags.storage_account_name.empty()) options.flags.storage_account_name = value;
    }
  }
  if (const char* key = std::getenv("AZURE_BATCHAI_STORAGE_KEY"); key && options.flags.storage_account_key.empty()) {
    options.flags.storage_account_key = key;
  }
  std::vector<std::string> warnings;
  auto spec = make_cluster_spec(text, options.config_file, options.flags, warnings);
  for (const std::string& warning : warnings) warn(options.config_file + ": " + warning);
  if (!spec) return program.fail(spec.error());
  if (spec->admin_user_name().empty()) spec->set_admin_user_name(current_user());

  auto request = request_for<v1::CreateClusterRequest>(options.place);
  request.set_request_id(new_request_id());
  *request.mutable_spec() = *spec;
  const auto cluster = program.ask(&Stub::CreateCluster, request);
  return cluster ? program.print(show_one(*cluster)) : program.exit_code();
}

int show(Program& program, const Options& options) {
  const auto cluster = program.ask(&Stub::GetCluster, request_for<v1::GetClusterRequest>(options.place));
  return cluster ? program.print(show_one(*cluster)) : program.exit_code();
}

int list(Program& program, const Options& options) {
  v1::ListClustersRequest request;
  request.set_resource_group(options.place.group);
  request.set_workspace(options.place.workspace);
  const auto clusters = program.ask(&Stub::ListClusters, request);
  return clusters ? program.print(show_all(clusters->clusters())) : program.exit_code();
}

int resize(Program& program, const Options& options) {
  auto request = request_for<v1::ResizeClusterRequest>(options.place);
  request.set_request_id(new_request_id());
  request.set_target_node_count(options.target);
  // One of the words that the flag takes.
  request.set_node_deallocation_option(deallocation_option_named(options.deallocation).value());
  const auto cluster = program.ask(&Stub::ResizeCluster, request);
  return cluster ? program.print(show_one(*cluster)) : program.exit_code();
}

int auto_scale(Program& program, const Options& options) {
  auto request = request_for<v1::AutoScaleClusterRequest>(options.place);
  const auto scale = make_auto_scale(options.minimum, options.maximum, options.flags.idle_seconds);
  if (!scale) return program.fail(scale.error());
  request.set_request_id(new_request_id());
  *request.mutable_auto_scale() = *scale;
  const auto cluster = program.ask(&Stub::AutoScaleCluster, request);
  return cluster ? program.print(show_one(*cluster)) : program.exit_code();
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  auto request = request_for<v1::DeleteClusterRequest>(options.place);
  request.set_request_id(new_request_id());
  if (!program.ask(&Stub::DeleteCluster, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone<Stub, v1::GetClusterRequest, v1::Cluster>(
      program, "cluster " + options.place.name, &Stub::GetCluster, request_for<v1::GetClusterRequest>(options.place),
      [](const v1::Cluster& cluster) {
        return cluster.reason().empty() ? fmt::format("{} nodes left", cluster.current_node_count()) : cluster.reason();
      });
}

void add_create(CLI::App& clusters, Program& program, const std::shared_ptr<Options>& options) {
  CLI::App& command = program.command(
      clusters, "create", "Create a cluster; its nodes come from the inventory",
      "trainyard cluster create -g mygroup -w batchaidev --name nc6cluster --vm-size Standard_NC6 --min 0 --max 4",
      [=, &program] { return create(program, *options); });
  ClusterFlags& flags = options->flags;
  add_group_flag(command, options->place.group);
  add_workspace_flag(command, options->place.workspace);
  command.add_option("-n,--name,--cluster", options->place.name, "Name of the cluster")->required();
  // -c named the file in the older command line; everywhere else it is the cluster.
  command.add_option("-f,--config-file,-c,--config", options->config_file,
                     "JSON file with properties as in Batch AI; flags win over it");
  command.add_option("-s,--vm-size", flags.vm_size, "Flavour of its nodes, e.g. Standard_NC6");
  command.add_option("-t,--target", flags.target, "How many nodes it should have; with --min and --max: at first");
  command.add_option("--min", flags.minimum, "Auto-scale: never fewer nodes; the same as --max: that many");
  command.add_option("--max", flags.maximum, "Auto-scale: never more nodes");
  command.add_option("--idle-seconds-before-scaledown", flags.idle_seconds,
                     "Auto-scale: how long a node stays idle before it is given back [300]");
  command.add_option("--vm-priority", flags.vm_priority,
                     "dedicated (default), or lowpriority: its nodes may be taken back for dedicated clusters");
  command.add_option("--setup-task", flags.setup_task,
                     "Command that bash runs as root on every node, when it is taken and after every reboot");
  command.add_option("--setup-task-output", flags.setup_task_output,
                     "Where the task's output goes, e.g. '$AZ_BATCHAI_MOUNT_ROOT/afs'");
  command.add_option("--storage-account-name", flags.storage_account_name,
                     "Account of --afs-name and --bfs-name, and for the file [$AZURE_BATCHAI_STORAGE_ACCOUNT]");
  command.add_option("--afs-name", flags.afs_name, "Share to mount on the nodes, under $AZ_BATCHAI_MOUNT_ROOT");
  command.add_option("--afs-mount-path", flags.afs_mount_path, "Where below it [afs]");
  command.add_option("--bfs-name", flags.bfs_name, "Container to mount on the nodes: a share of the account, too");
  command.add_option("--bfs-mount-path", flags.bfs_mount_path, "Where below it [bfs]");
  command.add_option("-u,--user-name", flags.user_name, "Noted as the nodes' admin user [you]");
  command.add_option("-k,--ssh-key", options->ssh_key, "Noted public key, or its file [~/.ssh/id_rsa.pub if there]");
  command.add_flag("--generate-ssh-keys", options->generate_ssh_keys, "Accepted; no ssh is used, so none are needed");
  command.add_option("-p,--password", options->password, "Accepted without effect: no account is made on nodes");
  command.add_option("-i,--image", options->image, "Accepted without effect: the nodes' system is the operator's");
  command.add_option("-l,--location", options->location, "Accepted without effect: only a workspace has one");
  command.add_option("--subnet", options->subnet, "Accepted without effect: the nodes' network is the operator's");
  command.add_option("--storage-account-key", flags.storage_account_key,
                     "Key of that account, kept encrypted and given to the nodes that mount it; without one the "
                     "operator's storage table gives access [$AZURE_BATCHAI_STORAGE_KEY]");
  command.add_option("--nfs", flags.nfs, "File server of the workspace to mount on the nodes: name or id");
  command.add_option("--nfs-mount-path", flags.nfs_mount_path, "Where below $AZ_BATCHAI_MOUNT_ROOT [nfs]");
  program.refuse_flags(command, {"--use-auto-storage", "--custom-image"});
}

}  // namespace

void add_cluster_commands(CLI::App& app, Program& program) {
  CLI::App& clusters = program.group(app, "cluster", "Clusters: sets of nodes of one size that jobs run on");
  auto options = std::make_shared<Options>();
  const auto add_place = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    add_workspace_flag(command, options->place.workspace);
    command.add_option("-n,--name,-c,--cluster", options->place.name, "Name of the cluster")->required();
  };
  add_create(clusters, program, options);
  add_place(program.command(clusters, "show", "Show a cluster",
                            "trainyard cluster show -g mygroup -w batchaidev -n nc6cluster -o table",
                            [=, &program] { return show(program, *options); }));
  CLI::App& listing = program.command(clusters, "list", "List a workspace's clusters",
                                      "trainyard cluster list -g mygroup -w batchaidev -o table",
                                      [=, &program] { return list(program, *options); });
  add_group_flag(listing, options->place.group);
  add_workspace_flag(listing, options->place.workspace);
  CLI::App& resizing = program.command(clusters, "resize", "Set how many nodes a cluster should have",
                                       "trainyard cluster resize -g mygroup -w batchaidev -n nc6cluster --target 0",
                                       [=, &program] { return resize(program, *options); });
  add_place(resizing);
  resizing.add_option("-t,--target", options->target, "Nodes wanted")->required();
  resizing
      .add_option("--node-deallocation-option", options->deallocation,
                  "What becomes of the jobs of leaving nodes [requeue]")
      ->check(CLI::IsMember({"requeue", "terminate", "waitforjobcompletion"}, CLI::ignore_case));
  CLI::App& scaling =
      program.command(clusters, "auto-scale", "Let a cluster have the nodes that its jobs need",
                      "trainyard cluster auto-scale -g mygroup -w batchaidev -n nc6cluster --min 0 --max 4",
                      [=, &program] { return auto_scale(program, *options); });
  add_place(scaling);
  scaling.add_option("--min", options->minimum, "Never fewer nodes")->required();
  scaling.add_option("--max", options->maximum, "Never more nodes")->required();
  scaling.add_option("--idle-seconds-before-scaledown", options->flags.idle_seconds,
                     "How long a node stays idle before it is given back [as before, or 300]");
  CLI::App& deleting = program.command(clusters, "delete", "End a cluster's jobs and give its nodes back",
                                       "trainyard cluster delete -g mygroup -w batchaidev -n nc6cluster -y",
                                       [=, &program] { return remove(program, *options); });
  add_place(deleting);
  program.add_confirmation(deleting);
  add_cluster_file_commands(clusters, program);
  add_cluster_node_commands(clusters, program);
  add_cluster_counters_command(clusters, program);
}

}  // namespace trainyard::cli
