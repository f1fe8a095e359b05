// A controller that does what a test says: acknowledges reports (or not), sends orders, relays nothing by itself.
// Blocking calls with deadlines; used from the test's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/agent_convert.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::agent::test {

class ScriptedController final : public v1::Agents::Service {
 public:
  ScriptedController();
  ~ScriptedController() override;

  std::string address() const { return "127.0.0.1:" + std::to_string(x_port); }
  void acknowledge(bool on);  // default: on

  // The newest full report for which `wanted` holds; waits for it. Fails the test after 20 s.
  Report report_where(const std::string& what, const std::function<bool(const Report&)>& wanted);
  HoldingReport holding_where(const std::string& what, AttemptId id,
                              const std::function<bool(const HoldingReport&)>& wanted);
  // Sends complete orders with the next revision to the agent's present epoch; remembered and sent again on new
  // streams.
  void order(std::vector<HoldingOrder> holdings);
  // The same with file servers, and no holdings.
  void order_file_servers(std::vector<FileServerOrder> servers);
  // Forgets the newest report, so that the next wait sees only what comes after.
  void forget_reports();

  void send(const v1::ToAgent& message);
  v1::LaunchStatus launch_status();  // the next one the agent sends
  // A sample for which `wanted` holds, of those that come from now on.
  v1::CounterSample counters_where(const std::string& what,
                                   const std::function<bool(const v1::CounterSample&)>& wanted);
  v1::LaunchCall launch_call();  // the next one; older ones of the same launch are left out
  void drop_stream();

  struct FileAnswer {
    std::string data;
    std::vector<std::string> names;
    v1::FileDone done;
  };
  // One file operation; `pieces` and then finish are sent for writes. A follow is finished when `stop_following` says
  // so.
  FileAnswer file(const v1::FileOperation& operation, const std::vector<std::string>& pieces = {},
                  std::function<bool(const std::string& so_far)> stop_following = {});

 private:
  using Stream = grpc::ServerReaderWriter<v1::ToAgent, v1::FromAgent>;
  using FileCallStream = grpc::ServerReaderWriter<v1::FileRequest, v1::FileReply>;
  grpc::Status Connect(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status ServeFile(grpc::ServerContext* context, FileCallStream* stream) override;
  void take(const v1::FromAgent& message);
  void send_locked(const v1::ToAgent& message);

  struct FileCall {
    v1::FileOperation operation;
    std::vector<std::string> pieces;
    std::function<bool(const std::string&)> stop_following;
    FileAnswer answer;
    bool finished = false;
  };

  std::mutex x_mutex;
  std::condition_variable x_changed;
  Stream* x_stream = nullptr;
  grpc::ServerContext* x_context = nullptr;
  std::optional<Report> x_report;
  Orders x_orders;
  bool x_ordered = false, x_acknowledge = true;
  std::deque<v1::LaunchStatus> x_launch_statuses;
  std::optional<v1::LaunchCall> x_launch_call;
  std::optional<v1::CounterSample> x_counters;
  std::map<std::string, std::shared_ptr<FileCall>> x_files;
  int x_next_call = 1;
  int x_port = 0;
  std::unique_ptr<grpc::Server> x_server;
};

}  // namespace trainyard::agent::test
