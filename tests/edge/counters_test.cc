// Counters of nodes over gRPC: from an agent's stream to a user's answer.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>

#include "controller/edge/identity.h"
#include "controller/edge/job_counters.h"
#include "proto/convert.h"
#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

v1::CounterSample sample(double cpu, std::initializer_list<const char*> gpus = {}) {
  v1::CounterSample out;
  out.set_cpu_percent(cpu);
  out.set_memory_used_bytes(3ULL << 30);
  out.set_memory_total_bytes(16ULL << 30);
  out.set_network_received_bytes_per_second(1'000'000);
  out.set_network_sent_bytes_per_second(250);
  for (const char* uuid : gpus) {
    v1::GpuCounters& gpu = *out.add_gpus();
    gpu.set_uuid(uuid);
    gpu.set_utilization_percent(0);
    gpu.set_power_watts(61.5);
  }
  return out;
}

grpc::Status counters(User& user, const v1::GetNodeCountersRequest& request, v1::NodeCounters& answer) {
  return User::call(user.nodes, &v1::Nodes::Stub::GetNodeCounters, request, answer);
}

v1::NodeCounters counters_of(User& user, const std::string& node) {
  v1::GetNodeCountersRequest request;
  request.set_name(node);
  v1::NodeCounters answer;
  REQUIRE(counters(user, request, answer).ok());
  return answer;
}

bool joined(User& user, const std::string& name) {
  return eventually([&] {
    v1::GetNodeRequest request;
    request.set_name(name);
    v1::Node node;
    return User::call(user.nodes, &v1::Nodes::Stub::GetNode, request, node).ok();
  });
}

}  // namespace

TEST_CASE("a node's samples are there at once, under its own name and at the controller's time") {
  Controller controller;
  User user(controller.channel());
  FakeAgent one(controller.channel(), "one", "10.0.0.1"), two(controller.channel(), "two", "10.0.0.2");
  REQUIRE((joined(user, "one") && joined(user, "two")));
  auto sent = sample(37.5, {"GPU-a", "GPU-b"});
  set_time(4'000'000'000'000, *sent.mutable_time());  // a node whose clock is a century off
  const TimeMs before = controller.loop->now_ms();
  one.count(sent);
  REQUIRE(eventually([&] { return counters_of(user, "one").samples_size() == 1; }));
  const v1::NodeCounters answer = counters_of(user, "one");
  CHECK(answer.node() == "one");
  const v1::CounterSample& got = answer.samples(0);
  const TimeMs time = from_proto(got.time());
  CHECK((time >= before && time <= controller.loop->now_ms()));
  CHECK(got.cpu_percent() == 37.5);
  CHECK(got.memory_used_bytes() == 3ULL << 30);
  CHECK(got.memory_total_bytes() == 16ULL << 30);
  CHECK(got.network_received_bytes_per_second() == 1'000'000);
  CHECK(got.network_sent_bytes_per_second() == 250);
  REQUIRE(got.gpus_size() == 2);
  CHECK(got.gpus(1).uuid() == "GPU-b");
  CHECK((got.gpus(0).has_utilization_percent() && got.gpus(0).utilization_percent() == 0));
  CHECK(got.gpus(0).power_watts() == 61.5);
  CHECK_FALSE(got.gpus(0).has_temperature_celsius());
  CHECK_FALSE(got.gpus(0).has_memory_used_bytes());
  CHECK(counters_of(user, "two").samples_size() == 0);
}

TEST_CASE("an agent that sends without a pause adds two samples a second, and nonsense does no harm") {
  Controller controller;
  User user(controller.channel());
  FakeAgent agent(controller.channel(), "one", "10.0.0.1");
  REQUIRE(joined(user, "one"));
  auto wild = sample(std::numeric_limits<double>::quiet_NaN());
  wild.set_network_sent_bytes_per_second(-5);
  wild.set_memory_used_bytes(~0ULL);
  for (int i = 0; i < 1000; ++i) wild.add_gpus()->set_uuid("GPU-" + std::to_string(i));
  const TimeMs began = controller.loop->now_ms();
  for (int i = 0; i < 200; ++i) agent.count(wild);
  // A report after them on the same stream: once it is acknowledged, all were read.
  const auto acknowledged = agent.acknowledged();
  agent.let_heads_exit(0);
  REQUIRE(eventually([&] { return agent.acknowledged() > acknowledged; }));
  const auto answer = counters_of(user, "one");
  CHECK(answer.samples_size() >= 1);
  CHECK(answer.samples_size() <= 1 + (controller.loop->now_ms() - began) / 500);
  CHECK(answer.samples(0).cpu_percent() == 0);
  CHECK(answer.samples(0).network_sent_bytes_per_second() == 0);
  CHECK(answer.samples(0).gpus_size() == 64);
}

TEST_CASE("a span is asked for by its ends and a step, and each mistake is named") {
  Controller controller;
  User user(controller.channel());
  FakeAgent agent(controller.channel(), "one", "10.0.0.1");
  REQUIRE(joined(user, "one"));
  // An hour ago to an hour before that: a sample a second, the CPU busier by the minute.
  const TimeMs to = controller.loop->now_ms() - 3'600'000, from = to - 3'600'000;
  for (int second = 1; second <= 3600; ++second) {
    CounterSample each;
    each.time_ms = from + second * 1000;
    each.cpu_percent = (second - 1) / 60;
    controller.counters->take("one", each);
  }
  v1::GetNodeCountersRequest request;
  request.set_name("one");
  set_time(from, *request.mutable_from());
  set_time(to, *request.mutable_to());
  v1::NodeCounters answer;
  // As kept: what is as it was sent (the last 6 hours).
  REQUIRE(counters(user, request, answer).ok());
  CHECK(answer.samples_size() == 3600);
  CHECK(from_proto(answer.samples(0).time()) == from + 1000);

  set_duration(60'000, *request.mutable_step());
  answer.Clear();
  REQUIRE(counters(user, request, answer).ok());
  REQUIRE(answer.samples_size() == 60);
  CHECK(from_proto(answer.samples(0).time()) == from + 60'000);
  CHECK(answer.samples(7).cpu_percent() == 7);

  // The last interval ends with what was asked for; one that is longer than all of it is that.
  set_duration(40LL * 86'400'000, *request.mutable_step());
  answer.Clear();
  REQUIRE(counters(user, request, answer).ok());
  REQUIRE(answer.samples_size() == 1);
  CHECK(from_proto(answer.samples(0).time()) == to);
  CHECK(answer.samples(0).cpu_percent() == 29.5);

  const auto refused = [&](const std::string& words, grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT) {
    const grpc::Status status = counters(user, request, answer);
    CHECK(status.error_code() == code);
    CHECK_THAT(status.error_message(), Catch::Contains(words));
  };
  request.mutable_step()->set_seconds(-1);
  refused("step: must be above 0");
  request.clear_step();
  set_time(to, *request.mutable_from());
  refused("from: ");
  request.mutable_from()->set_nanos(-1);
  refused("from: is no time");
  request.clear_from();
  request.mutable_to()->set_seconds(1LL << 60);
  refused("to: is no time");
  request.clear_to();
  request.set_name("none");
  refused("node none does not exist", grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("more samples than one answer may have are refused with the step that would do") {
  Controller controller;
  User user(controller.channel());
  FakeAgent agent(controller.channel(), "one", "10.0.0.1");
  REQUIRE(joined(user, "one"));
  const TimeMs now = controller.loop->now_ms();
  for (int i = 12'000; i > 0; --i) {
    CounterSample each;
    each.time_ms = now - i * 1000;
    controller.counters->take("one", each);
  }
  v1::GetNodeCountersRequest request;
  request.set_name("one");
  set_time(now - 20'000'000, *request.mutable_from());
  set_time(now, *request.mutable_to());
  v1::NodeCounters answer;
  const grpc::Status status = counters(user, request, answer);
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK_THAT(status.error_message(), Catch::Contains("12000 samples") && Catch::Contains("PT3S"));
  set_duration(3000, *request.mutable_step());
  REQUIRE(counters(user, request, answer).ok());
  CHECK(answer.samples_size() == 4001);
}

TEST_CASE("the keeper drops samples while the state's disk is nearly full, and takes them again later") {
  const Folder folder;
  std::atomic<bool> space = false;
  std::vector<TimeMs> kept;
  {
    CounterKeeper keeper(folder / "counters.db", [&] { return space.load(); });
    const auto times = [&] {
      std::promise<CounterKeeper::Samples> answer;
      keeper.read("one", 0, 1'000'000, [&](CounterKeeper::Samples samples) { answer.set_value(std::move(samples)); });
      const auto samples = answer.get_future().get();
      REQUIRE(samples.ok());
      kept.clear();
      for (const CounterSample& each : *samples) kept.push_back(each.time_ms);
      return kept;
    };
    CounterSample sample;
    sample.time_ms = 1'000;
    keeper.take("one", sample);
    CHECK(times().empty());
    space = true;
    sample.time_ms = 2'000;
    keeper.take("one", sample);
    CHECK(times() == std::vector<TimeMs>{2'000});
    sample.time_ms = 3'000;
    keeper.take("one", sample);  // and its end writes what waits
  }
  auto store = storage::CounterStore::open(folder / "counters.db");
  REQUIRE(store.ok());
  CHECK((*store)->read("one", 0, 1'000'000)->size() == 2);
}

TEST_CASE("the keeper puts a file that breaks under it aside and goes on with a new one") {
  const Folder folder;
  const std::string path = folder / "counters.db";
  {
    auto store = storage::CounterStore::open(path);
    REQUIRE(store.ok());
    std::vector<storage::NodeSample> samples;
    for (TimeMs time = 1; time <= 5'000; ++time) samples.push_back({"one", {time, 50, 1, 2, 3, 4, {}}});
    REQUIRE((*store)->append(samples).ok());
  }
  {
    // Its first page is whole: that the rest is not is found when it is read.
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(std::filesystem::file_size(path) - 4096, '\xff');
  }
  CounterKeeper keeper(path, [] { return true; });
  const auto read = [&] {
    std::promise<CounterKeeper::Samples> answer;
    keeper.read("one", 0, 1'000'000, [&](CounterKeeper::Samples samples) { answer.set_value(std::move(samples)); });
    return answer.get_future().get();
  };
  CHECK(read().error().code == Code::data_loss);
  CounterSample sample;
  sample.time_ms = 6'000;
  keeper.take("one", sample);
  const auto samples = read();
  REQUIRE(samples.ok());
  CHECK(samples->size() == 1);
  CHECK(std::filesystem::exists(path + ".damaged"));
}

TEST_CASE("the keeper of a place that cannot be written says so and drops what comes") {
  const Folder folder;
  CounterKeeper keeper(folder / "none/counters.db", [] { return true; });
  keeper.take("one", CounterSample{1'000, 50, 1, 2, 3, 4, {}});
  std::promise<CounterKeeper::Samples> answer;
  keeper.read("one", 0, 1'000'000, [&](CounterKeeper::Samples samples) { answer.set_value(std::move(samples)); });
  CHECK(answer.get_future().get().error().code == Code::failed_precondition);
}

TEST_CASE("a job's own series: its part of each sample, with its GPUs, for as long as there is a job") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  FakeAgent agent(controller.channel(), "one", "10.0.0.1");
  REQUIRE(eventually([&] { return user.cluster().allocation_state() == "steady"; }));
  v1::Job job;
  REQUIRE(user.submit(User::job_request("j", 1), job).ok());
  REQUIRE(eventually([&] { return user.job("j").phase() == "running"; }));

  v1::GetJobCountersRequest request;
  *request.mutable_job() = User::job_name("j");
  const auto series = [&] {
    v1::JobCounters answer;
    REQUIRE(User::call(user.nodes, &v1::Nodes::Stub::GetJobCounters, request, answer).ok());
    return answer;
  };
  CHECK(series().series_size() == 0);
  auto sent = sample(90, {"GPU-a", "GPU-b"});
  for (const std::uint64_t number : {job.number(), job.number() + 1}) {  // the node has no other
    v1::HoldingCounters& holding = *sent.add_holdings();
    holding.set_job(number);
    holding.set_attempt(1);
    holding.set_cpu_percent(25);
    holding.set_memory_used_bytes(1ULL << 30);
  }
  agent.count(sent);
  REQUIRE(eventually([&] { return series().series_size() == 1; }));
  const v1::JobCounters answer = series();
  CHECK(answer.series(0).node() == "one");
  CHECK(answer.series(0).attempt() == 1);
  REQUIRE(answer.series(0).samples_size() == 1);
  const v1::CounterSample& got = answer.series(0).samples(0);
  CHECK(got.cpu_percent() == 25);
  CHECK(got.memory_used_bytes() == 1ULL << 30);
  CHECK(got.memory_total_bytes() == 16ULL << 30);
  CHECK(got.gpus_size() == 2);
  CHECK(got.holdings_size() == 0);
  CHECK(counters_of(user, "one").samples(0).cpu_percent() == 90);
  CHECK(counters_of(user, "one").samples(0).holdings_size() == 0);

  // What an agent still says of what it holds no more counts for the node alone.
  agent.let_heads_exit(0);
  REQUIRE(eventually([&] { return user.job("j").execution_state() == "succeeded"; }));
  REQUIRE(eventually([&] { return agent.orders().empty(); }));
  sent.set_cpu_percent(91);
  REQUIRE(eventually([&] {
    agent.count(sent);
    return counters_of(user, "one").samples_size() > 1;
  }));
  REQUIRE(series().series_size() == 1);
  CHECK(series().series(0).samples_size() == 1);

  v1::DeleteJobRequest removal;
  removal.set_request_id("gone");
  *removal.mutable_job() = User::job_name("j");
  v1::DeleteJobResponse removed;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::DeleteJob, removal, removed).ok());
  v1::JobCounters none;
  CHECK(User::call(user.nodes, &v1::Nodes::Stub::GetJobCounters, request, none).error_code() ==
        grpc::StatusCode::NOT_FOUND);
  // Who may see a job may see what it used.
  auto roles = declared_roles();
  CHECK(roles.at("/trainyard.v1.Nodes/GetJobCounters") == roles.at("/trainyard.v1.Jobs/GetJob"));
}

TEST_CASE("jobs that share a node: each has its own GPUs, and nothing of a holding that is not the node's") {
  core::State state;
  state.node_by_name = {{"one", NodeId{1}}, {"two", NodeId{2}}};
  const auto hold = [&](std::uint64_t node, AttemptId id, std::vector<std::string> gpus, bool shared) {
    core::Holding holding;
    holding.id = id;
    holding.node = NodeId{node};
    holding.gpu_uuids = std::move(gpus);
    holding.shared = shared;
    state.holdings[core::key_of(holding)] = holding;
  };
  hold(1, {JobId{5}, 1}, {"GPU-a"}, true);
  hold(1, {JobId{6}, 2}, {"GPU-b", "GPU-c"}, true);
  hold(1, {JobId{7}, 1}, {}, true);
  hold(2, {JobId{8}, 1}, {"GPU-a"}, false);
  CounterSample sample{1'000, 80, 9, 10, 3, 4, {}};
  for (const char* uuid : {"GPU-a", "GPU-b", "GPU-c"}) sample.gpus.push_back({uuid, 50.0, {}, {}, {}});
  sample.holdings = {{5, 1, 10, 1}, {6, 2, 20, 2}, {6, 1, 30, 3}, {7, 1, 40, 4}, {8, 1, 50, 5}};

  const auto gpus = [](const storage::NodeSample& part) {
    std::string names;
    for (const GpuCounters& gpu : part.sample.gpus) names += gpu.uuid + " ";
    return names;
  };
  const auto parts = job_samples(state, "one", sample);
  REQUIRE(parts.size() == 3);  // not of an earlier attempt, nor of another node's
  CHECK(parts[0].node == "job/5/1/one");
  CHECK(gpus(parts[0]) == "GPU-a ");
  CHECK(parts[0].sample.cpu_percent == 10);
  CHECK(parts[0].sample.memory_used_bytes == 1);
  CHECK(parts[0].sample.received_bytes_per_s == 0);
  CHECK(parts[1].node == "job/6/2/one");
  CHECK(gpus(parts[1]) == "GPU-b GPU-c ");
  CHECK(gpus(parts[2]).empty());
  const auto whole = job_samples(state, "two", sample);
  REQUIRE(whole.size() == 1);
  CHECK(gpus(whole[0]) == "GPU-a GPU-b GPU-c ");  // whatever the machine has now
  CHECK(job_samples(state, "three", sample).empty());
  CHECK(series_of_job(whole[0].node) == SeriesOfJob{1, "two"});
}

TEST_CASE("a job of many series is told the step with which all of them go into one answer") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  v1::Job job;
  REQUIRE(user.submit(User::job_request("j", 1), job).ok());
  const TimeMs now = controller.loop->now_ms();
  const std::string begin = "job/" + std::to_string(job.number()) + "/1/n";
  for (int node = 10; node < 50; ++node) {
    for (int i = 1; i <= 300; ++i) {
      CounterSample each;
      each.time_ms = now + i * 15'000;
      controller.counters->take(begin + std::to_string(node), each);
    }
  }
  v1::GetJobCountersRequest request;
  *request.mutable_job() = User::job_name("j");
  set_time(now + 300 * 15'000, *request.mutable_to());
  v1::JobCounters answer;
  const auto ask = [&] { return User::call(user.nodes, &v1::Nodes::Stub::GetJobCounters, request, answer); };
  const grpc::Status status = ask();
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK_THAT(status.error_message(), Catch::Contains("step: 10200 samples") && Catch::Contains("a step of PT19S"));
  set_duration(19'000, *request.mutable_step());
  REQUIRE(ask().ok());
  REQUIRE(answer.series_size() == 40);
  CHECK(answer.series(0).node() == "n10");
  CHECK(answer.series(39).node() == "n49");
}
