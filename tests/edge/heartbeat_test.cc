#include <catch2/catch.hpp>
#include <future>

#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

// Speaks by itself only what a test says; does what it is told by nobody.
class Speaker {
 public:
  Speaker(const std::shared_ptr<grpc::Channel>& channel, const std::string& epoch = "boot-1")
      : x_epoch(epoch), x_stub(v1::Agents::NewStub(channel)), x_stream(x_stub->Connect(&x_context)) {}
  ~Speaker() {
    x_context.TryCancel();
    x_stream->Finish();
  }

  void report() {
    v1::FromAgent message;
    v1::Report& full = *message.mutable_report();
    full.set_node_name("node1");
    full.set_epoch(x_epoch);
    full.set_sequence(++x_sequence);
    full.set_store_generation(x_generation);
    full.set_orders_revision(x_revision);
    full.mutable_inventory()->set_flavour("STANDARD_NC6");
    full.mutable_inventory()->set_address("10.0.0.1");
    REQUIRE(x_stream->Write(message));
  }
  // The sequence it has.
  std::uint64_t same(std::uint64_t revision) {
    v1::FromAgent message;
    message.mutable_same()->set_sequence(++x_sequence);
    message.mutable_same()->set_orders_revision(revision);
    REQUIRE(x_stream->Write(message));
    return x_sequence;
  }
  // Of the next acknowledgement; 0: the stream has ended.
  std::uint64_t acknowledged() {
    v1::ToAgent message;
    while (x_stream->Read(&message)) {
      if (message.has_acknowledge()) return message.acknowledge().sequence();
      if (!message.has_orders()) continue;
      x_revision = message.orders().revision();
      x_generation = message.orders().store_generation();
    }
    return 0;
  }
  // Until controller and agent have nothing to tell each other.
  void settle() {
    report();
    REQUIRE(acknowledged() == x_sequence);
    if (x_revision == 0) REQUIRE(renewed());
    report();
    REQUIRE(renewed());
    REQUIRE(renewed());
  }
  // Says the same until it hears of it; not every one is answered.
  bool renewed() {
    const std::uint64_t first = same(x_revision);
    std::atomic<bool> heard = false;
    std::thread mouth([&] {
      while (!heard) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        same(x_revision);
      }
    });
    std::uint64_t sequence = acknowledged();
    while (sequence != 0 && sequence < first) sequence = acknowledged();
    heard = true;
    mouth.join();
    return sequence != 0;
  }
  std::uint64_t revision() const { return x_revision; }

 private:
  const std::string x_epoch;
  std::string x_generation;
  std::uint64_t x_sequence = 0, x_revision = 0;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  grpc::ClientContext x_context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::FromAgent, v1::ToAgent>> x_stream;
};

// Stands still while this lives, as with a plan that takes long.
class BusyLoop {
 public:
  explicit BusyLoop(Controller& controller) {
    std::promise<void> stands;
    REQUIRE(controller.loop->query([&](const core::State&, TimeMs) {
      auto over = x_over.get_future();
      stands.set_value();
      over.wait();
    }));
    stands.get_future().wait();
  }
  void go_on() {
    if (!std::exchange(x_gone_on, true)) x_over.set_value();
  }
  ~BusyLoop() { go_on(); }

 private:
  std::promise<void> x_over;
  bool x_gone_on = false;
};

core::Node node_of(Controller& controller) {
  std::promise<core::Node> node;
  REQUIRE(
      controller.loop->query([&](const core::State& state, TimeMs) { node.set_value(state.nodes.begin()->second); }));
  return node.get_future().get();
}

}  // namespace

TEST_CASE("a settled node's lease is renewed at once while the loop is busy") {
  Controller controller;
  Speaker agent(controller.channel());
  agent.settle();
  BusyLoop busy(controller);
  agent.same(agent.revision() + 1);  // this one must wait for the loop
  CHECK(agent.renewed());
  CHECK(agent.renewed());
  busy.go_on();
  CHECK(node_of(controller).live.reachable);
}

TEST_CASE("new orders must be heard of by the loop before it is left alone again") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  Speaker agent(controller.channel());
  agent.settle();
  const std::uint64_t before = agent.revision();
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());  // takes the node: new orders
  REQUIRE(eventually([&] { return node_of(controller).revision > before; }));
  BusyLoop busy(controller);
  const auto old = agent.same(before);
  auto answer = std::async(std::launch::async, [&] { return agent.acknowledged(); });
  CHECK(answer.wait_for(std::chrono::milliseconds(200)) == std::future_status::timeout);
  busy.go_on();
  CHECK(answer.get() == old);
  CHECK(agent.revision() > before);
}

TEST_CASE("a node that only the edge has heard for long counts as reachable") {
  Controller controller;  // unreachable after two seconds
  Speaker agent(controller.channel());
  agent.settle();
  const TimeMs begin = controller.loop->now_ms(), reported = node_of(controller).live.last_report_ms;
  while (controller.loop->now_ms() < begin + 3000) {
    CHECK(agent.renewed());
  }
  const core::Node node = node_of(controller);
  CHECK(node.live.reachable);
  CHECK(node.live.last_report_ms > reported + 1500);
  // And one that is silent then does not.
  CHECK(eventually([&] { return !node_of(controller).live.reachable; }));
  CHECK(agent.renewed());
  CHECK(node_of(controller).live.reachable);
}

TEST_CASE("an agent is not left alone while another of its name lives") {
  Controller controller;
  Speaker former(controller.channel(), "boot-1");
  former.settle();
  Speaker later(controller.channel(), "boot-2");
  later.settle();
  former.same(former.revision());
  CHECK(former.acknowledged() == 0);  // it is refused, its stream ends
}
