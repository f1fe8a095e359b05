// Commands on nodes, at the controller: who gets which, what passes through, and that each side's end is the other's.
#include <catch2/catch.hpp>

#include "tests/edge/harness.h"
#include "trainyard/v1/exec.grpc.pb.h"
#include "trainyard/v1/translate.grpc.pb.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

v1::ExecStart on_cluster(const std::string& node, const std::string& command = "hostname") {
  v1::ExecStart start;
  start.mutable_cluster()->set_resource_group("g");
  start.mutable_cluster()->set_workspace("w");
  start.mutable_cluster()->set_name("c");
  start.set_node(node);
  start.set_command(command);
  return start;
}

// A user's call, from its first message on.
struct Call {
  Call(const std::shared_ptr<grpc::Channel>& channel, const v1::ExecStart& start) : stub(v1::Exec::NewStub(channel)) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream = start.has_job() ? stub->ExecInJob(&context) : stub->ExecOnNode(&context);
    v1::ExecRequest request;
    *request.mutable_start() = start;
    stream->Write(request);
  }
  v1::ExecReply reply() {
    v1::ExecReply reply;
    CHECK(stream->Read(&reply));
    return reply;
  }
  grpc::Status status() {
    v1::ExecReply reply;
    while (stream->Read(&reply)) {
    }
    return stream->Finish();
  }
  std::unique_ptr<v1::Exec::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ExecRequest, v1::ExecReply>> stream;
};

// The agent's end of the newest call that was asked of `agent`.
struct Served {
  Served(const std::shared_ptr<grpc::Channel>& channel, FakeAgent& agent, std::size_t call = 0)
      : stub(v1::Agents::NewStub(channel)) {
    REQUIRE(eventually([&] { return agent.exec_calls().size() > call; }));
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream = stub->ServeExec(&context);
    v1::ExecFromAgent first;
    first.set_call_id(agent.exec_calls()[call]);
    stream->Write(first);
  }
  v1::ExecToAgent message() {
    v1::ExecToAgent message;
    CHECK(stream->Read(&message));
    return message;
  }
  void say(const std::string& out) {
    v1::ExecFromAgent message;
    message.mutable_reply()->set_out(out);
    stream->Write(message);
  }
  grpc::Status status() {
    v1::ExecToAgent message;
    while (stream->Read(&message)) {
    }
    return stream->Finish();
  }
  std::unique_ptr<v1::Agents::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ExecFromAgent, v1::ExecToAgent>> stream;
};

struct Yard {
  Yard() : user(controller.channel()), agent(controller.channel(), "node1", "10.0.0.1") {
    REQUIRE(eventually([&] { return agent.acknowledged() > 0; }));
    REQUIRE(user.make_home());
    v1::Cluster cluster;
    REQUIRE(user.make_cluster(1, cluster).ok());
    REQUIRE(eventually([&] { return user.cluster().node_state_counts().idle_node_count() == 1; }));
  }
  Controller controller;
  User user;
  FakeAgent agent;
};

}  // namespace

TEST_CASE("a command's bytes pass through both ways, and its exit code ends the call") {
  Yard yard;
  Call call(yard.controller.channel(), on_cluster(""));
  Served served(yard.controller.channel(), yard.agent);
  const v1::ExecToAgent order = served.message();
  CHECK(order.order().command() == "hostname");
  CHECK(order.order().job() == 0);
  v1::ExecFromAgent started;
  started.mutable_reply()->mutable_started();
  served.stream->Write(started);
  const v1::ExecReply first = call.reply();
  CHECK(first.started().node_id() == "node1");
  CHECK(first.started().ip_address() == "10.0.0.1");
  v1::ExecRequest input;
  for (int i = 0; i < 20; ++i) {
    input.set_data("piece " + std::to_string(i));
    CHECK(call.stream->Write(input));
    CHECK(served.message().request().data() == input.data());
    served.say(input.data());
    CHECK(call.reply().out() == input.data());
  }
  call.stream->WritesDone();
  CHECK(served.message().request().finish());
  v1::ExecFromAgent end;
  end.mutable_reply()->mutable_end()->set_exit_code(7);
  served.stream->Write(end);
  served.stream->WritesDone();
  CHECK(call.reply().end().exit_code() == 7);
  CHECK(call.status().ok());
  CHECK(served.status().ok());
}

TEST_CASE("a user who goes away ends the agent's stream, and an agent that goes away the user's") {
  Yard yard;
  Call leaving(yard.controller.channel(), on_cluster("node1"));
  Served first(yard.controller.channel(), yard.agent);
  first.message();
  leaving.context.TryCancel();
  CHECK_FALSE(first.status().ok());

  Call staying(yard.controller.channel(), on_cluster("node1"));
  Served second(yard.controller.channel(), yard.agent, 1);
  second.message();
  second.context.TryCancel();
  const grpc::Status status = staying.status();
  CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(status.error_message().find("node node1 went away") != std::string::npos);

  // Before the agent has answered.
  Call early(yard.controller.channel(), on_cluster("node1"));
  REQUIRE(eventually([&] { return yard.agent.exec_calls().size() == 3; }));
  early.context.TryCancel();
  CHECK(early.status().error_code() == grpc::StatusCode::CANCELLED);
  CHECK(eventually([&] {
    Served late(yard.controller.channel(), yard.agent, 2);
    return late.status().error_code() == grpc::StatusCode::NOT_FOUND;
  }));
}

TEST_CASE("an agent's reason is the call's status") {
  Yard yard;
  Call call(yard.controller.channel(), on_cluster("node1"));
  Served served(yard.controller.channel(), yard.agent);
  served.message();
  v1::ExecFromAgent failed;
  failed.mutable_failure()->set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
  failed.mutable_failure()->set_message("too many commands");
  served.stream->Write(failed);
  const grpc::Status status = call.status();
  CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(status.error_message() == "too many commands");
}

TEST_CASE("calls that cannot be are refused by what is wrong") {
  Yard yard;
  const auto refused = [&](const v1::ExecStart& start) {
    const grpc::Status status = Call(yard.controller.channel(), start).status();
    CHECK_FALSE(status.ok());
    return status.error_message();
  };
  const auto contains = [](const std::string& text, const std::string& words) {
    INFO(text);
    return text.find(words) != std::string::npos;
  };
  CHECK(contains(refused(on_cluster("node2")), "node node2 is not one of cluster c: it has node1"));
  CHECK(contains(refused(on_cluster("", "")), "command"));
  v1::ExecStart start = on_cluster("");
  start.mutable_connect()->set_host("localhost");
  CHECK(contains(refused(start), "connect.port"));
  start.mutable_connect()->set_port(80);
  start.mutable_terminal();
  CHECK(contains(refused(start), "terminal"));
  start = on_cluster("");
  *start.mutable_job() = User::job_name("j");
  CHECK(contains(refused(start), "job j"));
  v1::Job job;
  REQUIRE(yard.user.submit(User::job_request("j", 2), job).ok());
  CHECK(contains(refused(start), "job j is queued: a command can run in it only while it runs"));
  CHECK(yard.agent.exec_calls().empty());
}

TEST_CASE("in a job: the order names its attempt, and its nodes are listed head first") {
  Yard yard;
  v1::Job job;
  REQUIRE(yard.user.submit(User::job_request("j", 1), job).ok());
  REQUIRE(eventually([&] { return yard.user.job("j").phase() == "running"; }));
  v1::ExecStart start;
  *start.mutable_job() = User::job_name("j");
  start.set_command("nvidia-smi");
  Call call(yard.controller.channel(), start);
  Served served(yard.controller.channel(), yard.agent);
  const v1::ExecToAgent order = served.message();
  CHECK(order.order().job() == job.number());
  CHECK(order.order().attempt() == 1);
  const auto exec = v1::Exec::NewStub(yard.controller.channel());
  v1::ListExecNodesResponse nodes;
  REQUIRE(User::call(exec, &v1::Exec::Stub::ListJobNodes, User::job_name("j"), nodes).ok());
  REQUIRE(nodes.nodes_size() == 1);
  CHECK(nodes.nodes(0).node_id() == "node1");
  CHECK(nodes.nodes(0).reachable());
}

TEST_CASE("job files are translated, and what is wrong in them is named") {
  Controller controller;
  const auto translator = v1::Translator::NewStub(controller.channel());
  const auto translate = [&](const std::string& text, v1::TranslateJobResponse& response) {
    v1::TranslateJobRequest request;
    request.set_text(text);
    request.set_cluster("c");
    return User::call(translator, &v1::Translator::Stub::TranslateJob, request, response);
  };
  v1::TranslateJobResponse response;
  REQUIRE(translate(R"({"properties":{"nodeCount":2,"customToolkitSettings":{"commandLine":"hostname"},
      "stdOutErrPathPrefix":"$AZ_BATCHAI_JOB_MOUNT_ROOT/s"}})",
                    response)
              .ok());
  CHECK(response.spec().node_count() == 2);
  CHECK(response.spec().command_line() == "hostname");
  CHECK(response.spec().cluster() == "c");
  CHECK(response.warnings().empty());
  REQUIRE(translate(R"({"properties":{"nodeCount":2,"customToolkitSettings":{"commandLine":"hostname"},"nodeCuont":3,
      "stdOutErrPathPrefix":"$AZ_BATCHAI_JOB_MOUNT_ROOT/s"}})",
                    response)
              .ok());
  REQUIRE(response.warnings_size() == 1);
  CHECK(response.warnings(0).find("properties.nodeCuont") == 0);
  const grpc::Status wrong = translate(R"({"properties":{"nodeCount":"two"}})", response);
  CHECK(wrong.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(wrong.error_message().find("properties.nodeCount") != std::string::npos);
  CHECK(translate("{", response).error_message().find("job.json: line 1") != std::string::npos);
  // A megabyte of brackets must not end the controller.
  const std::string deep(1'000'000, '[');
  CHECK(
      translate("{\"properties\":" + deep + std::string(1'000'000, ']') + "}", response).error_message().find("deep") !=
      std::string::npos);
  CHECK(translate(deep, response).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}
