#include "tests/edge/harness.h"

#include <stdlib.h>

#include <cstdio>
#include <filesystem>

#include "controller/edge/edge.h"

namespace trainyard::test {

Config lab_config() {
  auto config = parse_config(R"({"listen":"127.0.0.1:0","storage":[{"account":"*","local":"/srv"}],
    "images":[{"image":"mapped:1","run":"host"}],"timing":{"unreachable_after_ms":2000}})");
  return std::move(config).value();
}

Folder::Folder() {
  char pattern[] = "/tmp/trainyard-edge-XXXXXX";
  TY_CHECK(::mkdtemp(pattern) != nullptr);
  x_path = pattern;
}

Folder::~Folder() {
  std::filesystem::remove_all(x_path);
}

Controller::Controller(Config config_in) : config(std::move(config_in)) {
  core::Tables tables = store.load().value();
  core::Changes first;
  first.meta = tables.meta;
  first.meta.store_generation = "generation";
  TY_CHECK(store.commit(first).ok());
  tables.meta = first.meta;
  loop.emplace(config.timing, store, tables, 1'700'000'000'000);
  counters.emplace(folder / "counters.db", [] { return true; });
  edge = std::make_unique<Edge>(*loop, store, config, secrets::Vault::ephemeral(), *counters);
  auto started = Server::start(config, edge->services());
  if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
  server = std::move(started).value();
  thread = std::thread([this] { loop->run(*edge); });
}

Controller::~Controller() {
  server->shutdown(std::chrono::milliseconds(200));
  loop->stop();
  thread.join();
  server.reset();
}

std::shared_ptr<grpc::Channel> Controller::channel() const {
  return grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials());
}

User::User(const std::shared_ptr<grpc::Channel>& channel)
    : groups(v1::Groups::NewStub(channel)),
      workspaces(v1::Workspaces::NewStub(channel)),
      experiments(v1::Experiments::NewStub(channel)),
      clusters(v1::Clusters::NewStub(channel)),
      jobs(v1::Jobs::NewStub(channel)),
      volumes(v1::Volumes::NewStub(channel)),
      nodes(v1::Nodes::NewStub(channel)) {}

bool User::make_home() {
  v1::CreateGroupRequest group;
  group.set_name("g");
  v1::Group made_group;
  v1::CreateWorkspaceRequest workspace;
  workspace.set_resource_group("g");
  workspace.set_name("w");
  v1::Workspace made_workspace;
  v1::CreateExperimentRequest experiment;
  experiment.set_resource_group("g");
  experiment.set_workspace("w");
  experiment.set_name("e");
  v1::Experiment made_experiment;
  v1::CreateAccountRequest account;
  account.set_resource_group("g");
  account.set_name("a");
  v1::Account made_account;
  v1::CreateShareRequest share;
  share.set_account("a");
  share.set_name("s");
  v1::Share made_share;
  return call(groups, &v1::Groups::Stub::CreateGroup, group, made_group).ok() &&
         call(workspaces, &v1::Workspaces::Stub::CreateWorkspace, workspace, made_workspace).ok() &&
         call(experiments, &v1::Experiments::Stub::CreateExperiment, experiment, made_experiment).ok() &&
         call(volumes, &v1::Volumes::Stub::CreateAccount, account, made_account).ok() &&
         call(volumes, &v1::Volumes::Stub::CreateShare, share, made_share).ok();
}

grpc::Status User::make_cluster(int target, v1::Cluster& made) {
  v1::CreateClusterRequest request;
  request.set_resource_group("g");
  request.set_workspace("w");
  request.set_name("c");
  request.mutable_spec()->set_vm_size("Standard_NC6");
  request.mutable_spec()->set_target_node_count(target);
  return call(clusters, &v1::Clusters::Stub::CreateCluster, request, made);
}

v1::CreateJobRequest User::job_request(const std::string& name, int nodes) {
  auto request = in_experiment<v1::CreateJobRequest>();
  request.set_name(name);
  auto& spec = *request.mutable_spec();
  spec.set_cluster("c");
  spec.set_node_count(nodes);
  spec.set_toolkit(v1::TOOLKIT_CUSTOM);
  spec.set_command_line("echo hello");
  spec.set_std_out_err_path_prefix("$AZ_BATCHAI_JOB_MOUNT_ROOT/mnt/logs");
  auto& share = *spec.add_azure_file_shares();
  share.set_azure_file_url("https://a.file.core.windows.net/s");
  share.set_relative_mount_path("mnt");
  return request;
}

grpc::Status User::submit(const v1::CreateJobRequest& request, v1::Job& made) {
  return call(jobs, &v1::Jobs::Stub::CreateJob, request, made);
}

v1::JobName User::job_name(const std::string& name) {
  auto out = in_experiment<v1::JobName>();
  out.set_name(name);
  return out;
}

v1::Job User::job(const std::string& name) {
  v1::Job out;
  call(jobs, &v1::Jobs::Stub::GetJob, job_name(name), out);
  return out;
}

v1::Cluster User::cluster() {
  v1::GetClusterRequest request;
  request.set_resource_group("g");
  request.set_workspace("w");
  request.set_name("c");
  v1::Cluster out;
  call(clusters, &v1::Clusters::Stub::GetCluster, request, out);
  return out;
}

}  // namespace trainyard::test
