// A pretend agent that does at once what its orders say and serves files from a map.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/model.h"
#include "tests/edge/pretend_disk.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::test {

class FakeAgent {
 public:
  FakeAgent(std::shared_ptr<grpc::Channel> channel, std::string name, std::string address, Disk* disk = nullptr);
  ~FakeAgent() { stop(); }
  // As kill -9 would: every stream breaks.
  void stop();

  // The head of every attempt ends so, once it runs.
  void let_heads_exit(int code);
  std::uint64_t revision();
  std::uint64_t acknowledged();
  std::vector<HoldingOrder> orders();
  std::string refused();
  grpc::Status status();
  void launch(AttemptId attempt, const std::string& host);
  void count(const v1::CounterSample& sample);
  std::vector<v1::LaunchStatus> launch_answers();
  std::vector<std::string> exec_calls();

 private:
  void run();
  void report();
  void serve(const std::string& call_id);
  using FileStream = grpc::ClientReaderWriter<v1::FileReply, v1::FileRequest>;
  void perform(FileStream& stream, const v1::FileOperation& operation);
  bool holds_deletes();
  void remove_some(const std::string& below, v1::FileDone& done);
  // From the wanted offset; a follower is sent what comes until it says that the job has ended.
  void send_file(FileStream& stream, const v1::FileOperation& operation, const std::string& path, v1::FileReply& done);

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
