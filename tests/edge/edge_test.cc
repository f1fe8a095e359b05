#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#include "controller/edge/fence_runner.h"
#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

TEST_CASE("a chain of resources is made and read back") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(2, cluster).ok());
  CHECK(cluster.allocation_state() == "resizing");
  CHECK(cluster.id() ==
        "/subscriptions/trainyard/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w/clusters/c");
  CHECK_FALSE(cluster.reason().empty());
  v1::ListGroupsResponse groups;
  REQUIRE(User::call(user.groups, &v1::Groups::Stub::ListGroups, {}, groups).ok());
  REQUIRE(groups.groups_size() == 1);
  CHECK(groups.groups(0).name() == "g");

  v1::Job job;
  REQUIRE(user.submit(User::job_request("j", 2), job).ok());
  CHECK(job.execution_state() == "queued");
  CHECK_FALSE(job.reason().empty());
  CHECK(job.number() > 0);
  auto list = User::in_experiment<v1::ListJobsRequest>();
  v1::ListJobsResponse jobs;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::ListJobs, list, jobs).ok());
  CHECK(jobs.jobs_size() == 1);
  v1::JobTimeline timeline;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::GetJobTimeline, User::job_name("j"), timeline).ok());
  CHECK(timeline.lines_size() >= 1);
}

TEST_CASE("one bad call, one clear answer") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  v1::Job job;
  auto request = User::job_request("j", 1);

  auto status = user.submit(request, job);
  CHECK(status.error_code() == grpc::StatusCode::NOT_FOUND);
  CHECK(status.error_message().find("cluster c") != std::string::npos);

  REQUIRE(user.make_cluster(1, cluster).ok());
  request.mutable_spec()->set_image("mapped:1");

  request.set_name("no good");
  CHECK(user.submit(request, job).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  request.set_name("j");
  request.set_request_id(std::string(129, 'x'));
  CHECK(user.submit(request, job).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_request_id();
  REQUIRE(user.submit(request, job).ok());
  request.mutable_spec()->set_command_line("echo other");
  CHECK(user.submit(request, job).error_code() == grpc::StatusCode::ALREADY_EXISTS);

  request.set_name("big");
  request.mutable_spec()->set_command_line(std::string(5'000'000, 'x'));
  CHECK(user.submit(request, job).error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);

  controller.store.accept_new_work(false);
  request.set_name("full");
  request.mutable_spec()->set_command_line("true");
  status = user.submit(request, job);
  CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(status.error_message().find("state disk") != std::string::npos);
  v1::TerminateJobRequest terminate;
  *terminate.mutable_job() = User::job_name("j");
  CHECK(User::call(user.jobs, &v1::Jobs::Stub::TerminateJob, terminate, job).ok());
}

TEST_CASE("an account without a place is refused with the table's name") {
  Config config = lab_config();
  config.storage.clear();
  Controller controller(config);
  User user(controller.channel());
  CHECK_FALSE(user.make_home());
  v1::CreateAccountRequest request;
  request.set_resource_group("g");
  request.set_name("a");
  v1::Account account;
  const auto status = User::call(user.volumes, &v1::Volumes::Stub::CreateAccount, request, account);
  CHECK(status.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(status.error_message().find("\"storage\"") != std::string::npos);
}

TEST_CASE("the same request id gets the same answer, another body is refused") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  auto request = User::job_request("j", 1);
  request.set_request_id("id-1");
  v1::Job first, second;
  REQUIRE(user.submit(request, first).ok());
  REQUIRE(user.submit(request, second).ok());
  CHECK(first.number() == second.number());
  CHECK(first.job_output_directory_path_segment() == second.job_output_directory_path_segment());
  request.set_name("k");
  CHECK(user.submit(request, second).error_code() == grpc::StatusCode::ABORTED);
}

TEST_CASE("agents connect, the cluster becomes steady, a job runs to its end and its watcher hears all") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(2, cluster).ok());
  FakeAgent one(controller.channel(), "node1", "10.0.0.1"), two(controller.channel(), "node2", "10.0.0.2");
  REQUIRE(eventually([&] { return user.cluster().allocation_state() == "steady"; }));
  CHECK(user.cluster().node_state_counts().idle_node_count() == 2);
  CHECK(eventually([&] { return one.acknowledged() > 0; }));

  v1::Job job;
  REQUIRE(user.submit(User::job_request("j", 2), job).ok());
  grpc::ClientContext context;
  const auto watch = user.jobs->WatchJob(&context, User::job_name("j"));
  REQUIRE(eventually([&] { return user.job("j").phase() == "running"; }));
  CHECK(user.cluster().node_state_counts().running_node_count() == 2);
  REQUIRE(one.orders().size() == 1);
  CHECK(one.orders()[0].launch->members.size() == 2);

  SECTION("a launch is relayed to the node with that address, and its state back") {
    FakeAgent& head = one.orders()[0].member == 0 ? one : two;
    const AttemptId attempt = one.orders()[0].id;
    head.launch(attempt, &head == &one ? "10.0.0.2" : "10.0.0.1");
    REQUIRE(eventually([&] { return !head.launch_answers().empty(); }));
    CHECK(head.launch_answers()[0].state() == v1::LaunchStatus::STATE_EXITED);
    CHECK(head.launch_answers()[0].exit_code() == 7);
    head.launch(attempt, "10.9.9.9");
    REQUIRE(eventually([&] { return head.launch_answers().size() == 2; }));
    CHECK(head.launch_answers()[1].state() == v1::LaunchStatus::STATE_REFUSED);
    head.launch({attempt.job, 99}, "10.0.0.2");
    REQUIRE(eventually([&] { return head.launch_answers().size() == 3; }));
    CHECK(head.launch_answers()[2].state() == v1::LaunchStatus::STATE_REFUSED);
  }
  SECTION("a peer that is away is said to be so") {
    FakeAgent& head = one.orders()[0].member == 0 ? one : two;
    FakeAgent& peer = &head == &one ? two : one;
    const AttemptId attempt = one.orders()[0].id;
    peer.stop();
    REQUIRE(eventually([&] {
      head.launch(attempt, &head == &one ? "10.0.0.2" : "10.0.0.1");
      const auto answers = head.launch_answers();
      return !answers.empty() && answers.back().state() == v1::LaunchStatus::STATE_UNREACHABLE;
    }));
    return;
  }

  one.let_heads_exit(0);
  two.let_heads_exit(0);
  REQUIRE(eventually([&] { return user.job("j").execution_state() == "succeeded"; }));
  CHECK(user.job("j").execution_info().exit_code() == 0);
  CHECK(user.job("j").receipts_size() == 2);
  v1::Job seen;
  std::set<std::string> phases;
  while (watch->Read(&seen)) phases.insert(seen.phase());
  CHECK(watch->Finish().ok());
  CHECK(seen.phase() == "succeeded");
  CHECK(phases.contains("running"));
}

TEST_CASE("a new life of a node takes over, the former one is refused when it speaks again") {
  Controller controller;
  FakeAgent former(controller.channel(), "node1", "10.0.0.1");
  REQUIRE(eventually([&] { return former.acknowledged() > 0; }));
  auto stub = v1::Agents::NewStub(controller.channel());
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::FromAgent message;
  message.mutable_report()->set_node_name("node1");
  message.mutable_report()->set_epoch("another life");
  message.mutable_report()->set_sequence(1);
  stream->Write(message);
  v1::ToAgent answer;
  bool acknowledged = false;
  while (!acknowledged && stream->Read(&answer)) acknowledged = answer.has_acknowledge();
  REQUIRE(acknowledged);
  former.let_heads_exit(0);
  CHECK(former.status().error_code() == grpc::StatusCode::PERMISSION_DENIED);
  CHECK_FALSE(former.refused().empty());
  message.mutable_report()->set_sequence(2);
  stream->Write(message);
  acknowledged = false;
  while (!acknowledged && stream->Read(&answer)) {
    acknowledged = answer.has_acknowledge() && answer.acknowledge().sequence() == 2;
  }
  CHECK(acknowledged);
  context.TryCancel();
  stream->Finish();
}

TEST_CASE("a stream must begin with a report") {
  Controller controller;
  auto stub = v1::Agents::NewStub(controller.channel());
  grpc::ClientContext context;
  const auto stream = stub->Connect(&context);
  v1::FromAgent message;
  message.mutable_same()->set_sequence(1);
  stream->Write(message);
  v1::ToAgent answer;
  CHECK_FALSE(stream->Read(&answer));
  CHECK(stream->Finish().error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("a fence command is run, killed at its deadline, and its failure is told") {
  CHECK(run_command({"/bin/true", "node1"}, 5000, -1).ok());
  CHECK(run_command({"/bin/sh", "-c", "exit 3"}, 5000, -1).error().message == "exit code 3");
  CHECK(run_command({"/bin/sh", "-c", "sleep 60"}, 100, -1).error().code == Code::deadline_exceeded);
  CHECK(run_command({"/no/such/program"}, 100, -1).error().message.find("cannot be started") != std::string::npos);
}

TEST_CASE("the probe hears a living server and notices a silent one") {
  Controller controller;
  CHECK(probe(controller.server->address(), std::chrono::seconds(3)));
  const int deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  REQUIRE(bind(deaf, reinterpret_cast<sockaddr*>(&address), length) == 0);
  REQUIRE(listen(deaf, 8) == 0);
  getsockname(deaf, reinterpret_cast<sockaddr*>(&address), &length);
  CHECK_FALSE(probe("127.0.0.1:" + std::to_string(ntohs(address.sin_port)), std::chrono::milliseconds(300)));
  close(deaf);
}

TEST_CASE("a list in pages has every item once, in order") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  for (const char* name : {"delta", "Alpha", "charlie", "bravo", "echo"}) {
    v1::CreateExperimentRequest request;
    request.set_resource_group("g");
    request.set_workspace("w");
    request.set_name(name);
    v1::Experiment made;
    REQUIRE(User::call(user.experiments, &v1::Experiments::Stub::CreateExperiment, request, made).ok());
  }
  v1::ListExperimentsRequest list;
  list.set_resource_group("g");
  list.set_workspace("w");
  list.set_max_results(2);
  std::vector<std::string> names;
  std::vector<int> sizes;
  for (bool more = true; more && sizes.size() < 9;) {  // pages that never end: a failure, not a test that hangs
    v1::ListExperimentsResponse page;
    REQUIRE(User::call(user.experiments, &v1::Experiments::Stub::ListExperiments, list, page).ok());
    for (const auto& experiment : page.experiments()) names.push_back(experiment.name());
    sizes.push_back(page.experiments_size());
    list.set_page_token(page.next_page_token());
    more = !page.next_page_token().empty();
  }
  CHECK(names == std::vector<std::string>{"Alpha", "bravo", "charlie", "delta", "e", "echo"});
  CHECK(sizes == std::vector<int>{2, 2, 2});

  v1::ListExperimentsResponse page;
  list.set_page_token("not hex");
  auto status = User::call(user.experiments, &v1::Experiments::Stub::ListExperiments, list, page);
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(status.error_message().find("pageToken") != std::string::npos);
  list.clear_page_token();
  list.set_max_results(1001);
  status = User::call(user.experiments, &v1::Experiments::Stub::ListExperiments, list, page);
  CHECK(status.error_message().find("maxResults: must be 1 to 1000, got 1001") != std::string::npos);
}
