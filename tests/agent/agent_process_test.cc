// The real trainyard-agent, with its shims and helpers, over a scripted controller: what a job leaves on the share,
// what a restart of the agent finds again, and that nothing is left behind.
#define CATCH_CONFIG_MAIN
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "agent/exec/cgroup.h"
#include "agent/volumes/mounter.h"
#include "tests/agent/scripted_controller.h"
#include "tests/agent/test_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;
namespace fs = std::filesystem;

namespace {

constexpr AttemptId kJob{JobId{17}, 1};

HoldingOrder job(const TestNode& node, const std::string& command, const std::string& preparation = {}) {
  auto launch = std::make_shared<Launch>();
  launch->job_name = "job";
  launch->segment = "segment";
  launch->spec.node_count = 1;
  launch->spec.command_line = command;
  launch->spec.preparation_command_line = preparation;
  launch->spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs";
  launch->spec.file_shares = {{.account_name = "a", .azure_file_url = "", .share = "s", .relative_mount_path = "afs"}};
  launch->volumes = {{.source = node.share(), .relative_mount_path = "afs"}};
  launch->members = {{"n1", "127.0.0.1"}};
  return {.id = kJob, .phase = HoldingPhase::prepare, .lease_ms = kForever, .grace_ms = 0, .launch = launch};
}

auto in_state(HoldingState state) {
  return [state](const HoldingReport& holding) { return holding.state == state; };
}

struct Bench {
  ScriptedController controller;
  TestNode node{controller};

  void run(HoldingOrder order) {
    controller.order({order});
    controller.holding_where("ready", kJob, in_state(HoldingState::ready));
    order.phase = HoldingPhase::run;
    controller.order({order});
  }
  HoldingReport exited() { return controller.holding_where("exited", kJob, in_state(HoldingState::exited)); }
  HoldingReport stop(DurationMs grace_ms = 0) {
    controller.order({{.id = kJob, .phase = HoldingPhase::stop, .grace_ms = grace_ms}});
    const HoldingReport clean = controller.holding_where("clean", kJob, in_state(HoldingState::clean));
    controller.order({});
    controller.report_where("forgotten", [](const Report& report) { return report.holdings.empty(); });
    return clean;
  }
};

}  // namespace

TEST_CASE("a job with a preparation runs, and its bytes and exit code are right") {
  Bench bench;
  bench.run(job(bench.node,
                "echo out $GREETING $AZ_BATCHAI_NUM_GPUS; echo err >&2; cat $AZ_BATCHAI_JOB_TEMP/made; exit 3",
                "echo prep; echo prep-err >&2; echo made > $AZ_BATCHAI_JOB_TEMP/made; echo 'export GREETING=hello' >> "
                "~/.bashrc"));
  CHECK(bench.exited().exit_code == 3);
  const HoldingReport clean = bench.stop();
  CHECK(clean.receipt.node_name == "n1");
  CHECK(clean.receipt.mounts_removed == 1);
  CHECK(clean.receipt.directories_removed > 0);
  INFO(bench.node.log());
  CHECK(content(bench.node.output("stdout.txt")) == "out hello 0\nmade\n");
  CHECK(content(bench.node.output("stderr.txt")) == "err\n");
  CHECK(content(bench.node.output("stdout-job_prep.txt")) == "prep\n");
  CHECK(content(bench.node.output("stderr-job_prep.txt")) == "prep-err\n");
  CHECK(content(bench.node.output("execution.log")).find("exited with code 3") != std::string::npos);
  bench.node.require_nothing_left();
  CHECK(eventually([&] { return fs::is_empty(bench.node.directory() + "/spool/holdings"); }));
}

TEST_CASE("output is on the share while the job runs") {
  Bench bench;
  bench.run(job(bench.node, "echo first; sleep 1000"));
  CHECK(eventually([&] { return content(bench.node.output("stdout.txt")) == "first\n"; }));
  CHECK(bench.stop().receipt.processes_killed >= 1);
  bench.node.require_nothing_left();
}

TEST_CASE("kill -9 of the agent: the job goes on and is taken up again, no byte and no exit code is lost") {
  Bench bench;
  const std::string go = bench.node.directory() + "/go";
  bench.run(job(bench.node, "for i in 1 2 3; do echo line $i; done; until [ -e " + go +
                                " ]; do sleep 0.02; done; for i in 4 5 6; do echo line $i; done; exit 7"));
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  bench.node.restart();
  bench.controller.holding_where("running again", kJob, in_state(HoldingState::running));
  std::ofstream(go) << "";
  CHECK(bench.exited().exit_code == 7);
  bench.stop();
  INFO(bench.node.log());
  CHECK(content(bench.node.output("stdout.txt")) == "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n");
  bench.node.require_nothing_left();
}

TEST_CASE("a job that ended while the agent was down is reported right") {
  Bench bench;
  const std::string go = bench.node.directory() + "/go", done = bench.node.directory() + "/done";
  bench.run(job(bench.node,
                "echo before; until [ -e " + go + " ]; do sleep 0.02; done; echo after; touch " + done + "; exit 5"));
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  bench.node.kill(SIGKILL);
  std::ofstream(go) << "";
  REQUIRE(eventually([&] { return fs::exists(done); }));
  bench.controller.forget_reports();
  bench.node.start();
  CHECK(bench.exited().exit_code == 5);
  bench.stop();
  CHECK(content(bench.node.output("stdout.txt")) == "before\nafter\n");
  bench.node.require_nothing_left();
}

TEST_CASE("SIGTERM of the agent leaves the job running") {
  Bench bench;
  bench.run(job(bench.node, "echo up; exec sleep 1000"));
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  REQUIRE(eventually([&] { return content(bench.node.output("stdout.txt")) == "up\n"; }));
  const auto pids = Cgroup(bench.node.cgroup_path()).pids();
  bench.node.restart(SIGTERM);
  bench.controller.holding_where("running again", kJob, in_state(HoldingState::running));
  CHECK(Cgroup(bench.node.cgroup_path()).pids() == pids);
  bench.stop();
  bench.node.require_nothing_left();
}

TEST_CASE("a daemon that left its session and ignores TERM does not survive the stop") {
  Bench bench;
  const std::string up = bench.node.directory() + "/up";
  bench.run(job(bench.node, "setsid bash -c \"trap '' TERM HUP; touch " + up +
                                "; while true; do sleep 0.1; done\" >/dev/null 2>&1 </dev/null & disown; exit 0"));
  CHECK(bench.exited().exit_code == 0);
  REQUIRE(eventually([&] { return fs::exists(up); }));
  REQUIRE(Cgroup(bench.node.cgroup_path()).populated());
  const HoldingReport clean = bench.stop(200);
  CHECK(clean.receipt.processes_killed >= 1);
  bench.node.require_nothing_left();
}

TEST_CASE("a stop with grace lets a process end by itself") {
  Bench bench;
  bench.run(job(bench.node, "trap 'echo saved; exit 0' TERM; echo up; while true; do sleep 0.02; done"));
  REQUIRE(eventually([&] { return content(bench.node.output("stdout.txt")) == "up\n"; }));
  bench.stop(15'000);
  CHECK(content(bench.node.output("stdout.txt")) == "up\nsaved\n");
}

TEST_CASE("a preparation that fails is the user's, and the error shows its last lines") {
  Bench bench;
  bench.controller.order({job(bench.node, "echo never", "echo reason >&2; exit 9")});
  const auto failed = bench.controller.holding_where("failed", kJob, in_state(HoldingState::failed));
  CHECK(failed.error.code == "JobPreparationFailed");
  CHECK_FALSE(failed.error.infrastructure);
  CHECK(failed.error.message.find("exited with code 9 on node n1") != std::string::npos);
  CHECK(failed.error.message.find("reason") != std::string::npos);
  bench.stop();
  CHECK(content(bench.node.output("stderr-job_prep.txt")) == "reason\n");
  bench.node.require_nothing_left();
}

TEST_CASE("kill -9 of the agent during the preparation: it runs once") {
  Bench bench;
  const std::string count = bench.node.directory() + "/count", go = bench.node.directory() + "/go";
  auto order = job(bench.node, "echo ran", "echo x >> " + count + "; until [ -e " + go + " ]; do sleep 0.02; done");
  bench.controller.order({order});
  REQUIRE(eventually([&] { return fs::exists(count); }));
  bench.node.restart();
  bench.controller.holding_where("preparing", kJob, in_state(HoldingState::preparing));
  std::ofstream(go) << "";
  bench.controller.holding_where("ready", kJob, in_state(HoldingState::ready));
  CHECK(content(count) == "x\n");
  bench.stop();
  bench.node.require_nothing_left();
}

TEST_CASE("a share that cannot be mounted fails the preparation with Batch AI's code") {
  Bench bench;
  auto order = job(bench.node, "echo never");
  auto launch = std::make_shared<Launch>(*order.launch);
  launch->volumes[0].source = bench.node.directory() + "/absent/account/share";
  order.launch = launch;
  bench.controller.order({order});
  const auto failed = bench.controller.holding_where("failed", kJob, in_state(HoldingState::failed));
  CHECK(failed.error.code == "AZFMountError");
  bench.stop();
  bench.node.require_nothing_left();
}

TEST_CASE("a lease that ends without an acknowledgement kills the job") {
  Bench bench;
  auto order = job(bench.node, "sleep 1000");
  order.lease_ms = 1'500;
  bench.run(order);
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  bench.controller.acknowledge(false);
  bench.controller.holding_where("clean", kJob, in_state(HoldingState::clean));
  bench.node.require_nothing_left();
}

TEST_CASE("a lease that ends while the agent is gone kills the job all the same") {
  Bench bench;
  const std::string alive = bench.node.directory() + "/alive";
  auto order = job(bench.node, "setsid sh -c 'while :; do date +%s%N > " + alive + "; sleep 0.02; done' & sleep 1000");
  order.lease_ms = 2'000;
  bench.run(order);
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  REQUIRE(eventually([&] { return !content(alive).empty(); }));
  bench.node.kill(SIGKILL);
  // Nobody but the shim is left to end it; what it started beside it ends too.
  REQUIRE(eventually([&] { return !Cgroup(bench.node.cgroup_path()).populated(); }));
  bench.controller.forget_reports();
  bench.node.start();
  bench.controller.holding_where("clean", kJob, in_state(HoldingState::clean));
  bench.node.require_nothing_left();
}

TEST_CASE("an agent that lost its spool ends what its earlier life left, before it reports") {
  Bench bench;
  bench.run(job(bench.node, "sleep 1000"));
  bench.controller.holding_where("running", kJob, in_state(HoldingState::running));
  const std::string epoch = bench.controller.report_where("any", [](const Report&) { return true; }).epoch;
  bench.node.kill(SIGKILL);
  bench.controller.forget_reports();
  fs::remove_all(bench.node.directory() + "/spool");
  bench.node.start();
  const Report report = bench.controller.report_where("the new life's", [](const Report&) { return true; });
  CHECK(report.epoch != epoch);
  CHECK(report.holdings.empty());
  bench.node.require_nothing_left();
}

TEST_CASE("a launch for a peer starts one process per id, whatever is repeated or restarted") {
  Bench bench;
  const std::string count = bench.node.directory() + "/count", go = bench.node.directory() + "/go";
  auto order = job(bench.node, "echo head");
  auto launch = std::make_shared<Launch>(*order.launch);
  launch->members = {{"n0", "127.0.0.2"}, {"n1", "127.0.0.1"}};
  order.launch = launch;
  order.member = 1;
  bench.controller.order({order});
  bench.controller.holding_where("ready", kJob, in_state(HoldingState::ready));

  v1::ToAgent message;
  auto* call = message.mutable_launch();
  to_proto(kJob, *call->mutable_id()->mutable_attempt());
  call->mutable_id()->set_from_node("n0");
  call->mutable_id()->set_key("100-200");
  call->set_to_host("127.0.0.1");
  call->set_shell_command("echo x >> " + count + "; until [ -e " + go + " ]; do sleep 0.02; done; exit 4");
  bench.controller.send(message);  // before this node's own phase run: kept until it comes
  order.phase = HoldingPhase::run;
  bench.controller.order({order});
  CHECK(bench.controller.launch_status().state() == v1::LaunchStatus::STATE_RUNNING);
  bench.controller.send(message);
  CHECK(bench.controller.launch_status().state() == v1::LaunchStatus::STATE_RUNNING);
  REQUIRE(eventually([&] { return content(count) == "x\n"; }));

  bench.node.restart();
  bench.controller.holding_where("running again", kJob, in_state(HoldingState::running));
  bench.controller.send(message);
  CHECK(bench.controller.launch_status().state() == v1::LaunchStatus::STATE_RUNNING);
  std::ofstream(go) << "";
  const auto ended = bench.controller.launch_status();
  CHECK(ended.state() == v1::LaunchStatus::STATE_EXITED);
  CHECK(ended.exit_code() == 4);
  bench.controller.send(message);
  CHECK(bench.controller.launch_status().state() == v1::LaunchStatus::STATE_EXITED);
  CHECK(content(count) == "x\n");

  call->mutable_id()->mutable_attempt()->set_attempt(2);
  bench.controller.send(message);
  CHECK(bench.controller.launch_status().state() == v1::LaunchStatus::STATE_REFUSED);
  bench.stop();
  bench.node.require_nothing_left();
}

TEST_CASE("a launcher's request goes up, outlives the agent, and its answer comes down") {
  Bench bench;
  const std::string rsh = fs::path(AGENT_PROGRAM).replace_filename("trainyard-rsh").string();
  auto order = job(bench.node, rsh + " 127.0.0.2 'echo \"there\"'; echo rsh $?");
  auto launch = std::make_shared<Launch>(*order.launch);
  launch->members = {{"n1", "127.0.0.1"}, {"n2", "127.0.0.2"}};
  order.launch = launch;
  bench.run(order);
  const v1::LaunchCall first = bench.controller.launch_call();
  CHECK(first.id().from_node() == "n1");
  CHECK(first.to_host() == "127.0.0.2");
  CHECK(first.shell_command().find("there") != std::string::npos);
  CHECK(bench.controller.launch_call().id().key() == first.id().key());  // unanswered: repeated
  bench.node.restart();
  bench.controller.holding_where("running again", kJob, in_state(HoldingState::running));
  (void)bench.controller.launch_call();
  const v1::LaunchCall again = bench.controller.launch_call();
  CHECK(again.id().key() == first.id().key());

  v1::ToAgent message;
  *message.mutable_launch_status()->mutable_id() = again.id();
  message.mutable_launch_status()->set_state(v1::LaunchStatus::STATE_RUNNING);
  bench.controller.send(message);
  message.mutable_launch_status()->set_state(v1::LaunchStatus::STATE_EXITED);
  message.mutable_launch_status()->set_exit_code(6);
  bench.controller.send(message);
  CHECK(bench.exited().exit_code == 0);
  bench.stop();
  CHECK(content(bench.node.output("stdout.txt")) == "rsh 6\n");
  CHECK(fs::exists(bench.node.output("execution-n1.log")));
  bench.node.require_nothing_left();
}

TEST_CASE("a later attempt puts the files of the earlier one away") {
  Bench bench;
  bench.run(job(bench.node, "echo one"));
  bench.exited();
  bench.stop();
  auto order = job(bench.node, "echo two");
  order.id.attempt = 2;
  bench.controller.order({order});
  bench.controller.holding_where("ready", order.id, in_state(HoldingState::ready));
  order.phase = HoldingPhase::run;
  bench.controller.order({order});
  bench.controller.holding_where("exited", order.id, in_state(HoldingState::exited));
  bench.controller.order({});  // no longer listed: stopped
  bench.controller.holding_where("clean", order.id, in_state(HoldingState::clean));
  bench.controller.order({});
  bench.controller.report_where("forgotten", [](const Report& report) { return report.holdings.empty(); });
  CHECK(content(bench.node.output("stdout.txt")) == "two\n");
  CHECK(content(bench.node.output("attempts/1/stdout.txt")) == "one\n");
  bench.node.require_nothing_left();
}

TEST_CASE("files of a share are written, listed, read, followed and deleted through the agent") {
  Bench bench;
  bench.controller.report_where("the first one", [](const Report&) { return true; });
  v1::FileOperation operation;
  operation.set_volume_kind("local");
  operation.set_root(bench.node.share());
  operation.set_path("data");
  operation.set_kind(v1::FileOperation::KIND_MKDIR);
  CHECK(bench.controller.file(operation).done.created());
  CHECK_FALSE(bench.controller.file(operation).done.created());

  const std::string big(3 * 256 * 1024 + 17, 'b');
  operation.set_path("data/file.bin");
  operation.set_kind(v1::FileOperation::KIND_WRITE);
  const std::vector<std::string> pieces{big.substr(0, 200'000), big.substr(200'000, 200'000), big.substr(400'000)};
  const auto written = bench.controller.file(operation, pieces);
  CHECK(written.done.code() == 0);
  CHECK(written.done.size() == big.size());
  CHECK(content(bench.node.share() + "/data/file.bin") == big);

  operation.set_kind(v1::FileOperation::KIND_READ);
  CHECK(bench.controller.file(operation).data == big);
  operation.set_offset(big.size() - 5);
  CHECK(bench.controller.file(operation).data == "bbbbb");
  operation.set_offset(0);

  operation.set_path("data");
  operation.set_kind(v1::FileOperation::KIND_LIST);
  CHECK(bench.controller.file(operation).names == std::vector<std::string>{"file.bin"});

  operation.set_path("absent");
  operation.set_kind(v1::FileOperation::KIND_READ);
  CHECK(bench.controller.file(operation).done.code() == grpc::StatusCode::NOT_FOUND);
  operation.set_path("../agent.log");
  CHECK(bench.controller.file(operation).done.code() != 0);

  operation.set_path("data/growing");
  operation.set_follow(true);
  std::ofstream growing(bench.node.share() + "/data/growing");
  growing << "one\n" << std::flush;
  const auto followed = bench.controller.file(operation, {}, [&](const std::string& so_far) {
    if (so_far == "one\n") growing << "two\n" << std::flush;
    return so_far == "one\ntwo\n";
  });
  CHECK(followed.data == "one\ntwo\n");
  CHECK(followed.done.code() == 0);

  operation.set_follow(false);
  operation.set_path("data/file.bin");
  operation.set_kind(v1::FileOperation::KIND_DELETE);
  CHECK(bench.controller.file(operation).done.code() == 0);
  CHECK_FALSE(fs::exists(bench.node.share() + "/data/file.bin"));
}

TEST_CASE("the agent dials again when its stream breaks, and a second one on its spool is refused") {
  Bench bench;
  bench.controller.report_where("the first one", [](const Report&) { return true; });
  bench.controller.forget_reports();
  bench.controller.drop_stream();
  bench.controller.report_where("of the new stream", [](const Report&) { return true; });
  TestNode* node = &bench.node;
  const std::string again = std::string(AGENT_PROGRAM) + " --controller " + bench.controller.address() +
                            " --node-name n2 --flavour F --cgroup-parent trainyard-test/second --spool-dir " +
                            node->directory() + "/spool --work-dir " + node->directory() + "/work2 2>/dev/null";
  CHECK(WEXITSTATUS(::system(again.c_str())) == 71);
  const std::string far = std::string(AGENT_PROGRAM) + " --controller 10.1.2.3:7470 --flavour F 2>/dev/null";
  CHECK(WEXITSTATUS(::system(far.c_str())) == 78);
}
