// A controller that goes away and comes back is not seen by the CLI: a scripted stand-in for it on loopback.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <mutex>
#include <set>
#include <string>

#include "trainyard/v1/groups.grpc.pb.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace {

using namespace trainyard;

struct Ran {
  int code = -1;
  std::string out;
};

// Runs the program against `port`; its stderr goes to the test's.
Ran run(int port, const std::string& arguments) {
  Ran ran;
  const std::string line = "TRAINYARD_CONFIG_DIR=/nonexistent TRAINYARD_CONTROLLER=127.0.0.1:" + std::to_string(port) +
                           " '" + std::getenv("TRAINYARD_PROGRAM") + "' " + arguments + " </dev/null";
  std::FILE* pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.out.append(buffer, got);
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

bool have_program() {
  if (std::getenv("TRAINYARD_PROGRAM") != nullptr) return true;
  WARN("skipped: TRAINYARD_PROGRAM is not set (ctest sets it)");
  return false;
}

constexpr const char* kJob = "-g g -w w -e e -j j";
const std::string kText = "one two three four five\n";

// Breaks every stream after a few bytes, as a controller that is killed again and again would.
class FlakyJobs : public v1::Jobs::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext*, const v1::JobName*, v1::Job* job) override {
    *job = now();
    return grpc::Status::OK;
  }
  grpc::Status ReadJobFile(grpc::ServerContext*, const v1::ReadJobFileRequest* request,
                           grpc::ServerWriter<v1::FileChunk>* writer) override {
    ++calls;
    v1::FileChunk chunk;
    chunk.set_offset(request->offset());
    chunk.set_data(kText.substr(request->offset(), 5));
    if (!chunk.data().empty()) writer->Write(chunk);
    const bool all = request->offset() + chunk.data().size() == kText.size();
    return all ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::JobName*, grpc::ServerWriter<v1::Job>* writer) override {
    const int call = ++calls;
    writer->Write(now());
    if (call < 3) return {grpc::StatusCode::UNAVAILABLE, "restarting"};
    v1::Job job = now();
    job.set_execution_state(end_state);
    if (end_code != 0) job.mutable_execution_info()->set_exit_code(end_code);
    writer->Write(job);
    return grpc::Status::OK;
  }

  std::atomic<int> calls{0};
  std::string end_state = "succeeded";
  int end_code = 0;

 private:
  static v1::Job now() {
    v1::Job job;
    job.set_name("j");
    job.set_execution_state("running");
    job.set_phase("running");
    job.set_attempt(1);
    return job;
  }
};

// Refuses the first calls; notes the request ids.
class BusyGroups : public v1::Groups::Service {
 public:
  grpc::Status CreateGroup(grpc::ServerContext*, const v1::CreateGroupRequest* request, v1::Group* group) override {
    const std::lock_guard lock(mutex);
    ids.insert(request->request_id());
    if (++calls < 3) return {grpc::StatusCode::RESOURCE_EXHAUSTED, "4096 events wait"};
    group->set_name(request->name());
    return grpc::Status::OK;
  }
  std::mutex mutex;
  int calls = 0;
  std::set<std::string> ids;
};

struct Server {
  explicit Server(grpc::Service& service, int at = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(at), grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
  }
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

}  // namespace

TEST_CASE("a followed file loses and doubles no byte when its streams break") {
  if (!have_program()) return;
  FlakyJobs jobs;
  Server server(jobs);
  const Ran ran = run(server.port, std::string("job file stream -f stdout.txt ") + kJob);
  CHECK(ran.code == 0);
  CHECK(ran.out == kText);
  CHECK(jobs.calls == 5);
}

TEST_CASE("job wait outlives broken streams and exits as the job did") {
  if (!have_program()) return;
  const auto exit_code = [](const std::string& state, int code) {
    FlakyJobs jobs;
    jobs.end_state = state;
    jobs.end_code = code;
    Server server(jobs);
    return run(server.port, std::string("job wait ") + kJob).code;
  };
  CHECK(exit_code("succeeded", 0) == 0);
  CHECK(exit_code("failed", 7) == 7);
  CHECK(exit_code("failed", -1) == 255);
  CHECK(exit_code("failed", 0) == 255);
}

TEST_CASE("a create that is sent again carries the same request id") {
  if (!have_program()) return;
  BusyGroups groups;
  Server server(groups);
  const Ran ran = run(server.port, "group create -n g --query name -o tsv");
  CHECK(ran.code == 0);
  CHECK(ran.out == "g\n");
  CHECK(groups.calls == 3);
  CHECK(groups.ids.size() == 1);
}

TEST_CASE("a command waits for a controller that comes back") {
  if (!have_program()) return;
  BusyGroups groups;
  groups.calls = 10;
  int port = 0;
  {
    Server first(groups);
    port = first.port;
    first.server->Shutdown();
  }
  auto later = std::async(std::launch::async, [&] { return run(port, "group create -n g --query name -o tsv"); });
  Server second(groups, port);
  CHECK(second.port == port);
  CHECK(later.get().out == "g\n");
}
