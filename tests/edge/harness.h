// A whole controller in this process (memory store, loop, edge, a real server on loopback), a user's stubs for it, and
// a pretend agent that does at once what its orders say and serves files from a map.
#pragma once

#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "controller/edge/edge.h"
#include "controller/edge/server.h"
#include "controller/loop/loop.h"
#include "proto/agent_convert.h"
#include "storage/memory_store.h"
#include "tests/edge/pretend_disk.h"

namespace trainyard::test {

using namespace trainyard::controller;

// Polls until `condition` holds; false after ten seconds.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

inline Config lab_config() {
  auto config = parse_config(R"({"listen":"127.0.0.1:0","storage":[{"account":"*","local":"/srv"}],
    "images":[{"image":"mapped:1","run":"host"}],"timing":{"unreachable_after_ms":2000}})");
  return std::move(config).value();
}

// A directory for what is kept beside the state, which here is in memory.
class Folder {
 public:
  Folder() {
    char pattern[] = "/tmp/trainyard-edge-XXXXXX";
    TY_CHECK(::mkdtemp(pattern) != nullptr);
    x_path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(x_path); }
  std::string operator/(const std::string& name) const { return x_path + "/" + name; }

 private:
  std::string x_path;
};

class Controller {
 public:
  explicit Controller(Config config_in = lab_config()) : config(std::move(config_in)) {
    core::Tables tables = store.load().value();
    core::Changes first;
    first.meta = tables.meta;
    first.meta.store_generation = "generation";
    TY_CHECK(store.commit(first).ok());
    tables.meta = first.meta;
    loop.emplace(config.timing, store, tables, 1'700'000'000'000);
    counters.emplace(folder / "counters.db", [] { return true; });
    edge.emplace(*loop, store, config, secrets::Vault::ephemeral(), *counters);
    auto started = Server::start(config, edge->services());
    if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
    server = std::move(started).value();
    thread = std::thread([this] { loop->run(*edge); });
  }
  ~Controller() {
    server->shutdown(std::chrono::milliseconds(200));
    loop->stop();
    thread.join();
    server.reset();
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials());
  }

  const Config config;
  storage::MemoryStore store;
  const Folder folder;
  std::optional<CounterKeeper> counters;
  std::optional<Loop> loop;
  std::optional<Edge> edge;
  std::unique_ptr<Server> server;
  std::thread thread;
};

// A user's calls.
struct User {
  explicit User(const std::shared_ptr<grpc::Channel>& channel)
      : groups(v1::Groups::NewStub(channel)),
        workspaces(v1::Workspaces::NewStub(channel)),
        experiments(v1::Experiments::NewStub(channel)),
        clusters(v1::Clusters::NewStub(channel)),
        jobs(v1::Jobs::NewStub(channel)),
        volumes(v1::Volumes::NewStub(channel)),
        nodes(v1::Nodes::NewStub(channel)) {}

  template <class Stub, class Request, class Response>
  static grpc::Status call(const std::unique_ptr<Stub>& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                           const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return ((*stub).*method)(&context, request, &response);
  }

  // A request about experiment e.
  template <class Request>
  static Request in_experiment() {
    Request request;
    request.set_resource_group("g");
    request.set_workspace("w");
    request.set_experiment("e");
    return request;
  }

  // Group g, workspace w, experiment e, account a with share s.
  bool make_home() {
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
  grpc::Status make_cluster(int target, v1::Cluster& made) {
    v1::CreateClusterRequest request;
    request.set_resource_group("g");
    request.set_workspace("w");
    request.set_name("c");
    request.mutable_spec()->set_vm_size("Standard_NC6");
    request.mutable_spec()->set_target_node_count(target);
    return call(clusters, &v1::Clusters::Stub::CreateCluster, request, made);
  }
  static v1::CreateJobRequest job_request(const std::string& name, int nodes) {
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
  grpc::Status submit(const v1::CreateJobRequest& request, v1::Job& made) {
    return call(jobs, &v1::Jobs::Stub::CreateJob, request, made);
  }
  static v1::JobName job_name(const std::string& name) {
    auto out = in_experiment<v1::JobName>();
    out.set_name(name);
    return out;
  }
  v1::Job job(const std::string& name) {
    v1::Job out;
    call(jobs, &v1::Jobs::Stub::GetJob, job_name(name), out);
    return out;
  }
  v1::Cluster cluster() {
    v1::GetClusterRequest request;
    request.set_resource_group("g");
    request.set_workspace("w");
    request.set_name("c");
    v1::Cluster out;
    call(clusters, &v1::Clusters::Stub::GetCluster, request, out);
    return out;
  }

  std::unique_ptr<v1::Groups::Stub> groups;
  std::unique_ptr<v1::Workspaces::Stub> workspaces;
  std::unique_ptr<v1::Experiments::Stub> experiments;
  std::unique_ptr<v1::Clusters::Stub> clusters;
  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Volumes::Stub> volumes;
  std::unique_ptr<v1::Nodes::Stub> nodes;
};

class FakeAgent {
 public:
  FakeAgent(std::shared_ptr<grpc::Channel> channel, std::string name, std::string address, Disk* disk = nullptr)
      : x_name(std::move(name)), x_address(std::move(address)), x_disk(disk), x_stub(v1::Agents::NewStub(channel)) {
    x_stream = x_stub->Connect(&x_context);
    x_thread = std::thread([this] { run(); });
  }
  ~FakeAgent() { stop(); }
  // As kill -9 would: every stream breaks.
  void stop() {
    x_context.TryCancel();
    if (x_thread.joinable()) x_thread.join();
    {
      const std::lock_guard lock(x_mutex);
      for (grpc::ClientContext* context : x_file_contexts) context->TryCancel();
    }
    for (std::thread& file : x_files) file.join();
    x_files.clear();
  }

  // The head of every attempt ends so, once it runs.
  void let_heads_exit(int code) {
    const std::lock_guard lock(x_mutex);
    x_exit = code;
    report();
  }
  std::uint64_t revision() {
    const std::lock_guard lock(x_mutex);
    return x_orders.revision;
  }
  std::uint64_t acknowledged() {
    const std::lock_guard lock(x_mutex);
    return x_acknowledged;
  }
  std::vector<HoldingOrder> orders() {
    const std::lock_guard lock(x_mutex);
    return x_orders.holdings;
  }
  std::string refused() {
    const std::lock_guard lock(x_mutex);
    return x_refused;
  }
  grpc::Status status() {
    x_thread.join();
    return x_status;
  }
  void launch(AttemptId attempt, const std::string& host) {
    v1::FromAgent message;
    auto& call = *message.mutable_launch();
    to_proto(attempt, *call.mutable_id()->mutable_attempt());
    call.mutable_id()->set_key("k1");
    call.set_to_host(host);
    call.set_shell_command("orted");
    const std::lock_guard lock(x_mutex);
    x_stream->Write(message);
  }
  void count(const v1::CounterSample& sample) {
    v1::FromAgent message;
    *message.mutable_counters() = sample;
    const std::lock_guard lock(x_mutex);
    x_stream->Write(message);
  }
  std::vector<v1::LaunchStatus> launch_answers() {
    const std::lock_guard lock(x_mutex);
    return x_answers;
  }
  std::vector<std::string> exec_calls() {
    const std::lock_guard lock(x_mutex);
    return x_exec_calls;
  }

 private:
  void run() {
    {
      const std::lock_guard lock(x_mutex);
      report();
    }
    v1::ToAgent message;
    while (x_stream->Read(&message)) {
      const std::lock_guard lock(x_mutex);
      if (message.has_orders()) {
        x_orders = from_proto(message.orders()).value();
        report();
      } else if (message.has_acknowledge()) {
        x_acknowledged = message.acknowledge().sequence();
      } else if (message.has_refused()) {
        x_refused = message.refused().reason();
      } else if (message.has_launch()) {
        v1::FromAgent answer;
        auto& status = *answer.mutable_launch_status();
        *status.mutable_id() = message.launch().id();
        status.set_state(v1::LaunchStatus::STATE_EXITED);
        status.set_exit_code(7);
        x_stream->Write(answer);
      } else if (message.has_launch_status()) {
        x_answers.push_back(message.launch_status());
      } else if (message.has_file_call() && x_disk != nullptr) {
        x_files.emplace_back([this, id = message.file_call().call_id()] { serve(id); });
      } else if (message.has_exec_call()) {
        x_exec_calls.push_back(message.exec_call().call_id());
      }
    }
    x_status = x_stream->Finish();
  }

  void report() {
    Report report;
    report.node_name = x_name;
    report.epoch = "epoch-" + x_name;
    report.store_generation = x_orders.store_generation;
    report.orders_revision = x_orders.revision;
    report.sequence = ++x_sequence;
    report.inventory = {
        "STANDARD_NC6", "gpu", x_address, "10.0.0.0/24", 2, 1 << 30, {{"GPU-" + x_name, "pretend", 1, true}}};
    for (const HoldingOrder& order : x_orders.holdings) {
      HoldingReport holding{order.id};
      switch (order.phase) {
        case HoldingPhase::prepare:
          holding.state = HoldingState::ready;
          break;
        case HoldingPhase::run:
          holding.state = HoldingState::running;
          if (x_exit && order.member == 0) {
            holding.state = HoldingState::exited;
            holding.exit_code = *x_exit;
          }
          break;
        case HoldingPhase::stop:
          holding.state = HoldingState::clean;
          holding.receipt = {x_name, 1, 1, 1, 5};
          break;
      }
      report.holdings.push_back(holding);
    }
    v1::FromAgent message;
    to_proto(report, *message.mutable_report());
    x_stream->Write(message);
  }

  void serve(const std::string& call_id) {
    {
      const std::lock_guard lock(x_disk->mutex);
      if (x_disk->stalled) return;
      ++x_disk->served;
    }
    grpc::ClientContext context;
    {
      const std::lock_guard lock(x_mutex);
      x_file_contexts.insert(&context);
    }
    const auto stream = x_stub->ServeFile(&context);
    v1::FileReply reply;
    reply.set_call_id(call_id);
    stream->Write(reply);
    v1::FileRequest request;
    if (stream->Read(&request) && request.has_operation()) perform(*stream, request.operation());
    stream->WritesDone();
    while (stream->Read(&request)) {
    }
    stream->Finish();
    const std::lock_guard lock(x_mutex);
    x_file_contexts.erase(&context);
  }

  using FileStream = grpc::ClientReaderWriter<v1::FileReply, v1::FileRequest>;
  void perform(FileStream& stream, const v1::FileOperation& operation) {
    const std::string path = operation.root() + "/" + operation.path();
    v1::FileReply done;
    done.mutable_done()->set_code(0);
    v1::FileRequest request;
    switch (operation.kind()) {
      case v1::FileOperation::KIND_WRITE: {
        std::string bytes;
        bool finished = false;
        while (!finished && stream.Read(&request)) {
          bytes += request.data();
          finished = request.finish();
        }
        if (!finished) return;
        const std::lock_guard lock(x_disk->mutex);
        x_disk->files[path] = bytes;
        done.mutable_done()->set_size(bytes.size());
        break;
      }
      case v1::FileOperation::KIND_READ: {
        send_file(stream, operation, path, done);
        return;
      }
      case v1::FileOperation::KIND_LIST: {
        v1::FileReply listing;
        const std::lock_guard lock(x_disk->mutex);
        for (const auto& [name, bytes] : x_disk->files) {
          if (!name.starts_with(path)) continue;
          auto& file = *listing.mutable_listing()->add_files();
          file.set_name(name.substr(name.rfind('/') + 1));
          file.set_size(bytes.size());
        }
        stream.Write(listing);
        break;
      }
      case v1::FileOperation::KIND_DELETE_SHARE:
        while (holds_deletes()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        remove_some(operation.root() + "/", *done.mutable_done());
        break;
      default:
        done.mutable_done()->set_created(true);
        break;
    }
    stream.Write(done);
  }

  bool holds_deletes() {
    const std::lock_guard lock(x_disk->mutex);
    return x_disk->holds_deletes;
  }

  void remove_some(const std::string& below, v1::FileDone& done) {
    const std::lock_guard lock(x_disk->mutex);
    if (!x_disk->complaint.empty()) {
      done.set_code(grpc::StatusCode::FAILED_PRECONDITION);
      done.set_message(x_disk->complaint);
      return;
    }
    auto& files = x_disk->files;
    auto at = files.lower_bound(below);
    for (; at != files.end() && at->first.starts_with(below) && done.size() < x_disk->removes_at_once;) {
      at = files.erase(at);
      done.set_size(done.size() + 1);
    }
    done.set_more(at != files.end() && at->first.starts_with(below));
  }

  // From the wanted offset; a follower is sent what comes until it says that the job has ended.
  void send_file(FileStream& stream, const v1::FileOperation& operation, const std::string& path, v1::FileReply& done) {
    std::uint64_t offset = operation.offset();
    bool finish = !operation.follow();
    std::thread listener;
    std::atomic<bool> finish_heard = finish;
    if (!finish) {
      listener = std::thread([&stream, &finish_heard] {
        v1::FileRequest part;
        while (stream.Read(&part)) finish_heard = finish_heard || part.finish();
        finish_heard = true;
      });
    }
    for (;;) {
      finish = finish_heard;
      std::string bytes;
      {
        const std::lock_guard lock(x_disk->mutex);
        const auto found = x_disk->files.find(path);
        if (found == x_disk->files.end() && finish) {
          done.mutable_done()->set_code(grpc::StatusCode::NOT_FOUND);
          done.mutable_done()->set_message("no such file");
        } else if (found != x_disk->files.end() && offset < found->second.size()) {
          bytes = found->second.substr(offset, 64 * 1024);
        }
      }
      if (!bytes.empty()) {
        v1::FileReply part;
        part.set_data(bytes);
        offset += bytes.size();
        if (!stream.Write(part)) break;
      } else if (finish) {
        break;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    stream.Write(done);
    if (listener.joinable()) listener.join();
  }

  const std::string x_name, x_address;
  Disk* const x_disk;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  grpc::ClientContext x_context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::FromAgent, v1::ToAgent>> x_stream;
  std::thread x_thread;
  std::vector<std::thread> x_files;
  std::mutex x_mutex;
  std::set<grpc::ClientContext*> x_file_contexts;
  Orders x_orders;
  std::uint64_t x_sequence = 0, x_acknowledged = 0;
  std::optional<int> x_exit;
  std::string x_refused;
  std::vector<v1::LaunchStatus> x_answers;
  std::vector<std::string> x_exec_calls;
  grpc::Status x_status;
};

}  // namespace trainyard::test
