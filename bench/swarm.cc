#include "bench/swarm.h"

#include <fmt/format.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "agent/core/agent_core.h"
#include "bench/submitter.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::bench {

namespace {

// The clocks of machines are not quite the same.
constexpr std::chrono::milliseconds kGrid{agent::kReportGridMs}, kClocksApart{5};

// When each agent speaks within the interval, in order: at a moment of the grid, give or take its clock.
std::vector<std::pair<std::chrono::microseconds, std::size_t>> moments(std::uint32_t agents,
                                                                       std::chrono::milliseconds every) {
  std::mt19937 random(1);
  std::vector<std::pair<std::chrono::microseconds, std::size_t>> all;
  for (std::size_t agent = 0; agent < agents; ++agent) {
    const auto moment = static_cast<std::int64_t>(random() % std::max<std::int64_t>(1, every / kGrid));
    const auto apart = random() % std::chrono::microseconds(kClocksApart).count();
    all.emplace_back(moment * kGrid + std::chrono::microseconds(apart), agent);
  }
  std::sort(all.begin(), all.end());
  return all;
}

// A write may be under way when the next is due: it is skipped then, as a newer report replaces an older one.
class Agent : public grpc::ClientBidiReactor<v1::FromAgent, v1::ToAgent> {
 public:
  Agent(const std::string& controller, std::uint32_t number, std::atomic<std::uint32_t>& acknowledged)
      : x_acknowledged(acknowledged), x_stub(v1::Agents::NewStub(connect(controller))) {
    v1::Report& report = *x_out.mutable_report();
    report.set_node_name(fmt::format("sim{:05}", number));
    report.set_epoch("boot-1");
    report.set_sequence(++x_sequence);
    v1::Inventory& inventory = *report.mutable_inventory();
    inventory.set_flavour("SIMULATED");
    inventory.set_pool("default");
    inventory.set_address(fmt::format("10.200.{}.{}", number >> 8, number & 255));
    inventory.set_network_cidr("10.200.0.0/16");
    inventory.set_cores(16);
    inventory.set_memory_bytes(1ULL << 37);
    for (int gpu = 0; gpu < 4; ++gpu) {
      v1::AgentGpu& one = *inventory.add_gpus();
      one.set_uuid(fmt::format("GPU-{}-{}", number, gpu));
      one.set_model("K80");
      one.set_pretend(true);
    }
    x_stub->async()->Connect(&x_context, this);
    StartWrite(&x_out);
    StartRead(&x_in);
    AddHold();  // writes come from outside of the reactions
    StartCall();
  }

  void same() {
    if (x_writing.exchange(true)) return;
    x_out.Clear();
    x_out.mutable_same()->set_sequence(++x_sequence);
    x_out.mutable_same()->set_orders_revision(x_revision);
    StartWrite(&x_out);
  }
  void hang_up() {
    x_context.TryCancel();
    RemoveHold();
  }
  bool done() const { return x_done; }
  std::string failure() const { return x_status.ok() ? "" : x_status.error_message(); }

  void OnWriteDone(bool ok) override {
    if (ok) x_writing = false;
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (x_in.has_orders()) x_revision = x_in.orders().revision();
    if (x_in.has_acknowledge() && !std::exchange(x_counted, true)) ++x_acknowledged;
    StartRead(&x_in);
  }
  void OnDone(const grpc::Status& status) override {
    x_status = status;
    x_done = true;
  }

 private:
  std::atomic<std::uint32_t>& x_acknowledged;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  grpc::ClientContext x_context;
  v1::FromAgent x_out;
  v1::ToAgent x_in;
  std::uint64_t x_sequence = 0;
  std::atomic<std::uint64_t> x_revision = 0;
  std::atomic<bool> x_writing = true, x_done = false;
  bool x_counted = false;
  grpc::Status x_status;
};

}  // namespace

Status run_swarm(const std::string& controller, std::uint32_t agents, std::chrono::milliseconds every,
                 void (*all_connected)(), void (*wait_for_release)()) {
  using Steady = std::chrono::steady_clock;
  std::atomic<std::uint32_t> acknowledged = 0;
  std::vector<std::unique_ptr<Agent>> all;
  for (std::uint32_t number = 0; number < agents; ++number) {
    all.push_back(std::make_unique<Agent>(controller, number, acknowledged));
  }
  Status result;
  const auto limit = Steady::now() + std::chrono::seconds(60);
  while (acknowledged < agents && result) {
    if (Steady::now() > limit) {
      result = Error{Code::deadline_exceeded, fmt::format("{} of {} agents were acknowledged", acknowledged, agents)};
    }
    for (const auto& agent : all) {
      if (agent->done()) result = Error{Code::unavailable, "an agent's stream ended: " + agent->failure()};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (result) {
    std::atomic<bool> released = false;
    all_connected();
    std::thread waiter([&] {
      wait_for_release();
      released = true;
    });
    const auto order = moments(agents, every);
    for (auto begin = Steady::now(); !released; begin += every) {
      for (auto next = order.begin(); next != order.end() && !released; ++next) {
        std::this_thread::sleep_until(begin + next->first);
        all[next->second]->same();
      }
    }
    waiter.join();
  }
  for (const auto& agent : all) agent->hang_up();
  for (const auto& agent : all) {
    while (!agent->done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return result;
}

}  // namespace trainyard::bench
