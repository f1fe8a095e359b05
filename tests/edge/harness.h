// A whole controller in this process (memory store, loop, edge, a real server on loopback), and a user's stubs for it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "controller/edge/counter_keeper.h"
#include "controller/edge/server.h"
#include "controller/loop/loop.h"
#include "storage/memory_store.h"
#include "tests/edge/fake_agent.h"
#include "trainyard/v1/clusters.grpc.pb.h"
#include "trainyard/v1/experiments.grpc.pb.h"
#include "trainyard/v1/groups.grpc.pb.h"
#include "trainyard/v1/jobs.grpc.pb.h"
#include "trainyard/v1/nodes.grpc.pb.h"
#include "trainyard/v1/volumes.grpc.pb.h"
#include "trainyard/v1/workspaces.grpc.pb.h"

namespace trainyard::controller {
class Edge;
}

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

Config lab_config();

// A directory for what is kept beside the state, which here is in memory.
class Folder {
 public:
  Folder();
  ~Folder();
  std::string operator/(const std::string& name) const { return x_path + "/" + name; }

 private:
  std::string x_path;
};

class Controller {
 public:
  explicit Controller(Config config_in = lab_config());
  ~Controller();
  std::shared_ptr<grpc::Channel> channel() const;

  const Config config;
  storage::MemoryStore store;
  const Folder folder;
  std::optional<CounterKeeper> counters;
  std::optional<Loop> loop;
  std::unique_ptr<Edge> edge;
  std::unique_ptr<Server> server;
  std::thread thread;
};

// A user's calls.
struct User {
  explicit User(const std::shared_ptr<grpc::Channel>& channel);

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
  bool make_home();
  grpc::Status make_cluster(int target, v1::Cluster& made);
  static v1::CreateJobRequest job_request(const std::string& name, int nodes);
  grpc::Status submit(const v1::CreateJobRequest& request, v1::Job& made);
  static v1::JobName job_name(const std::string& name);
  v1::Job job(const std::string& name);
  v1::Cluster cluster();

  std::unique_ptr<v1::Groups::Stub> groups;
  std::unique_ptr<v1::Workspaces::Stub> workspaces;
  std::unique_ptr<v1::Experiments::Stub> experiments;
  std::unique_ptr<v1::Clusters::Stub> clusters;
  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Volumes::Stub> volumes;
  std::unique_ptr<v1::Nodes::Stub> nodes;
};

}  // namespace trainyard::test
