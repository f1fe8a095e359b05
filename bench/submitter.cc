#include "bench/submitter.h"

#include <fmt/format.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <thread>

#include "trainyard/v1/clusters.grpc.pb.h"
#include "trainyard/v1/experiments.grpc.pb.h"
#include "trainyard/v1/groups.grpc.pb.h"
#include "trainyard/v1/jobs.grpc.pb.h"
#include "trainyard/v1/volumes.grpc.pb.h"
#include "trainyard/v1/workspaces.grpc.pb.h"

namespace trainyard::bench {

namespace {

using Steady = std::chrono::steady_clock;

template <class Response, class Stub, class Method, class Request>
Status call(Stub& stub, Method method, const Request& request) {
  grpc::ClientContext context;
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (status.ok() || status.error_code() == grpc::StatusCode::ALREADY_EXISTS) return {};
  return Error{status.error_code() == grpc::StatusCode::UNAVAILABLE ? Code::unavailable : Code::internal,
               fmt::format("{}: {}", Request::descriptor()->name(), status.error_message())};
}

// A request id like a client's: different in every process.
std::string request_id(std::uint64_t connection, std::uint64_t number) {
  static const auto start = static_cast<std::uint64_t>(Steady::now().time_since_epoch().count());
  return fmt::format("{:08x}-{:016x}-{:04x}-{:012x}", ::getpid(), start, connection, number);
}

struct Call {
  grpc::ClientContext context;
  v1::CreateJobRequest request;
  v1::Job response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Job>> reader;
};

// What the connections of one load share.
struct Shared {
  const Target& target;
  const Load& load;
  std::atomic<bool>& stop;
  const std::function<void(std::uint64_t)>& acknowledged;
  Steady::time_point end;
  std::atomic<std::uint64_t> started = 0, total = 0;

  bool may_start() {
    if (stop || (load.time.count() > 0 && Steady::now() >= end)) return false;
    return load.jobs == 0 || started.fetch_add(1) < load.jobs;
  }
};

class Connection {
 public:
  Connection(Shared& shared, std::uint64_t number)
      : x_shared(shared), x_number(number), x_stub(v1::Jobs::NewStub(connect(shared.target.controller))) {}

  void run(std::uint32_t in_flight) {
    std::uint32_t open = 0;
    while (open < in_flight && start()) ++open;
    void* tag = nullptr;
    bool ok = false;
    while (open > 0 && x_queue.Next(&tag, &ok)) {
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      --open;
      if (call->status.ok()) {
        names.push_back(call->response.name());
        x_shared.acknowledged(++x_shared.total);
      } else if (error.empty() && !x_shared.stop) {
        error = call->status.error_message();
        x_shared.stop = true;
      }
      if (start()) ++open;
    }
    x_queue.Shutdown();
    while (x_queue.Next(&tag, &ok)) {
    }
  }

  std::vector<std::string> names;
  std::string error;

 private:
  bool start() {
    if (!x_shared.may_start()) return false;
    auto* call = new Call;
    const std::uint64_t n = x_started++;
    call->request = job_request(x_shared.target, fmt::format("job_{}_{}", x_number, n), 1, false, "echo hello");
    call->request.set_request_id(request_id(x_number, n));
    call->reader = x_stub->AsyncCreateJob(&call->context, call->request, &x_queue);
    call->reader->Finish(&call->response, &call->status, call);
    return true;
  }

  Shared& x_shared;
  std::uint64_t x_number, x_started = 0;
  std::unique_ptr<v1::Jobs::Stub> x_stub;
  grpc::CompletionQueue x_queue;
};

}  // namespace

std::shared_ptr<grpc::Channel> connect(const std::string& controller) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // as agents do
  return grpc::CreateCustomChannel(controller, grpc::InsecureChannelCredentials(), arguments);
}

v1::CreateJobRequest job_request(const Target& target, const std::string& name, std::uint32_t nodes, bool mpi,
                                 const std::string& command_line) {
  v1::CreateJobRequest request;
  request.set_resource_group(target.group);
  request.set_workspace(target.workspace);
  request.set_experiment(target.experiment);
  request.set_name(name);
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_cluster(target.cluster);
  spec.set_node_count(static_cast<std::int32_t>(nodes));
  spec.set_toolkit(mpi ? v1::TOOLKIT_CUSTOM_MPI : v1::TOOLKIT_CUSTOM);
  spec.set_command_line(command_line);
  spec.set_std_out_err_path_prefix("$AZ_BATCHAI_JOB_MOUNT_ROOT/s/logs");
  v1::AzureFileShare& share = *spec.add_azure_file_shares();
  share.set_account_name(target.account);
  share.set_azure_file_url(fmt::format("https://{}.file.core.windows.net/{}", target.account, target.share));
  share.set_relative_mount_path("s");
  return request;
}

Status prepare(const Target& target) {
  const auto channel = connect(target.controller);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    return Error{Code::unavailable, "no controller answers at " + target.controller};
  }
  v1::CreateGroupRequest group;
  group.set_name(target.group);
  Status done = call<v1::Group>(*v1::Groups::NewStub(channel), &v1::Groups::Stub::CreateGroup, group);
  v1::CreateWorkspaceRequest workspace;
  workspace.set_resource_group(target.group);
  workspace.set_name(target.workspace);
  if (done)
    done = call<v1::Workspace>(*v1::Workspaces::NewStub(channel), &v1::Workspaces::Stub::CreateWorkspace, workspace);
  v1::CreateClusterRequest cluster;
  cluster.set_resource_group(target.group);
  cluster.set_workspace(target.workspace);
  cluster.set_name(target.cluster);
  cluster.mutable_spec()->set_vm_size("Standard_NC6");
  if (done) done = call<v1::Cluster>(*v1::Clusters::NewStub(channel), &v1::Clusters::Stub::CreateCluster, cluster);
  v1::CreateExperimentRequest experiment;
  experiment.set_resource_group(target.group);
  experiment.set_workspace(target.workspace);
  experiment.set_name(target.experiment);
  if (done) {
    done =
        call<v1::Experiment>(*v1::Experiments::NewStub(channel), &v1::Experiments::Stub::CreateExperiment, experiment);
  }
  v1::CreateAccountRequest account;
  account.set_resource_group(target.group);
  account.set_name(target.account);
  if (done) done = call<v1::Account>(*v1::Volumes::NewStub(channel), &v1::Volumes::Stub::CreateAccount, account);
  v1::CreateShareRequest share;
  share.set_account(target.account);
  share.set_name(target.share);
  if (done) done = call<v1::Share>(*v1::Volumes::NewStub(channel), &v1::Volumes::Stub::CreateShare, share);
  // Without an agent the share is accepted, its directory is not made: nothing here looks into it.
  if (!done && done.error().code == Code::unavailable) return {};
  return done;
}

Result<Submitted> submit(const Target& target, const Load& load, std::atomic<bool>& stop,
                         const std::function<void(std::uint64_t)>& acknowledged) {
  Shared shared{target, load, stop, acknowledged, Steady::now() + load.time};
  const std::uint32_t connections = load.in_flight >= 64 ? 2 : 1;
  std::vector<std::unique_ptr<Connection>> all;
  for (std::uint32_t n = 0; n < connections; ++n) {
    all.push_back(std::make_unique<Connection>(shared, n));
  }
  const auto begin = Steady::now();
  std::vector<std::thread> threads;
  for (auto& connection : all) {
    threads.emplace_back([&connection, each = load.in_flight / connections] { connection->run(each); });
  }
  for (std::thread& thread : threads) thread.join();
  Submitted result;
  result.seconds = std::chrono::duration<double>(Steady::now() - begin).count();
  for (const auto& connection : all) {
    if (!connection->error.empty()) return Error{Code::internal, "CreateJob: " + connection->error};
    result.names.insert(result.names.end(), connection->names.begin(), connection->names.end());
  }
  result.acknowledged = result.names.size();
  return result;
}

Result<v1::ListJobsResponse> list_jobs(const Target& target) {
  grpc::ClientContext context;
  v1::ListJobsRequest request;
  request.set_resource_group(target.group);
  request.set_workspace(target.workspace);
  request.set_experiment(target.experiment);
  v1::ListJobsResponse response;
  const grpc::Status status = v1::Jobs::NewStub(connect(target.controller))->ListJobs(&context, request, &response);
  if (!status.ok()) return Error{Code::internal, "ListJobs: " + status.error_message()};
  return response;
}

}  // namespace trainyard::bench
