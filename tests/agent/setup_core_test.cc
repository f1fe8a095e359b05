// The agent's core and the set-up of its cluster.
#include "tests/agent/core_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;

namespace {

Orders with_setup(std::uint64_t revision, std::uint64_t run, std::vector<HoldingOrder> holdings = {}) {
  Orders ordered = orders(revision, std::move(holdings));
  ordered.setup = SetupOrder{run, std::make_shared<const ClusterSetup>(ClusterSetup{"g/w/c", "suffix", {}, {}})};
  return ordered;
}

}  // namespace

TEST_CASE("a set-up is kept before it begins, begins once, and its outcome is reported") {
  Node node;
  auto actions = node.step(OrdersArrived{with_setup(1, 40)});
  REQUIRE(position<PersistSetup>(actions) < position<SetUp>(actions));
  REQUIRE(node.did<SetUp>() != nullptr);
  CHECK(node.did<SendReport>()->report.setup == SetupReport{40, SetupState::running, {}});
  node.step(OrdersArrived{with_setup(1, 40)});
  node.step(OrdersArrived{with_setup(2, 40)});
  CHECK(node.did<SetUp>() == nullptr);
  node.step(SetUpEnded{39, std::nullopt});  // of another run
  CHECK(node.core->setup()->state == SetupState::running);
  node.step(SetUpEnded{40, NodeError{.code = "SetupTaskFailed", .message = "exited with code 3"}});
  CHECK(node.did<SendReport>()->report.setup->state == SetupState::failed);
  CHECK(node.did<SendReport>()->report.setup->error.code == "SetupTaskFailed");
  node.step(SetUpEnded{40, std::nullopt});
  CHECK(node.core->setup()->state == SetupState::failed);
}

TEST_CASE("a restarted agent goes on with the set-up it knows, and with nothing that is over") {
  Node node;
  node.step(OrdersArrived{with_setup(1, 40)});
  node.restart();
  REQUIRE(node.did<SetUp>() != nullptr);  // the executor finds what runs
  node.step(SetUpEnded{40, std::nullopt});
  node.restart();
  CHECK(node.did<SetUp>() == nullptr);
  CHECK(node.did<TakeDownSetup>() == nullptr);
  CHECK(node.core->setup()->state == SetupState::done);
  node.connect();
  node.step(OrdersArrived{orders(2)});
  REQUIRE(node.did<TakeDownSetup>() != nullptr);
  node.restart();
  REQUIRE(node.did<TakeDownSetup>() != nullptr);
  node.step(SetupTakenDown{40});
  CHECK_FALSE(node.core->setup().has_value());
  CHECK_FALSE(node.spool.setup.has_value());
}

TEST_CASE("the next run begins when nothing is left of the last one, and no job can use that any more") {
  Node node;
  node.step(OrdersArrived{with_setup(1, 40)});
  node.step(SetUpEnded{40, std::nullopt});
  node.step(OrdersArrived{with_setup(2, 40, {order(HoldingPhase::prepare)})});
  node.step(OrdersArrived{with_setup(3, 41, {order(HoldingPhase::stop)})});
  CHECK(node.did<TakeDownSetup>() == nullptr);
  node.step(Cleaned{kJob, {}});
  REQUIRE(node.did<TakeDownSetup>() != nullptr);
  CHECK(node.did<SetUp>() == nullptr);
  node.step(SetupTakenDown{40});
  REQUIRE(node.did<SetUp>() != nullptr);
  CHECK(node.did<SetUp>()->run == 41);
  CHECK(node.did<SendReport>()->report.setup->run == 41);
}

TEST_CASE("a volume of a set-up that stops to work ends the jobs that see it, and only those") {
  const NodeError error{"AZFMountError", "no answer", {}, true};
  const AttemptId prepared{JobId{18}, 1}, stopping{JobId{20}, 1};
  Node node;
  node.step(OrdersArrived{with_setup(1, 40)});
  node.step(SetupBroke{40, error});  // it is not done: the executor says so by its outcome
  CHECK(node.core->setup()->state == SetupState::running);
  node.step(SetUpEnded{40, std::nullopt});
  const auto ordered = [&](std::uint64_t revision, HoldingPhase first, HoldingPhase last) {
    return OrdersArrived{
        with_setup(revision, 40, {order(first), order(HoldingPhase::prepare, prepared), order(last, stopping)})};
  };
  node.step(ordered(2, HoldingPhase::prepare, HoldingPhase::prepare));
  node.step(ordered(3, HoldingPhase::run, HoldingPhase::stop));
  node.step(Prepared{kJob, std::nullopt});
  node.step(Prepared{prepared, std::nullopt});
  node.step(SetupBroke{39, error});  // of another run
  CHECK(node.state() == HoldingState::ready);
  node.step(SetupBroke{40, error});
  const Report& report = node.did<SendReport>()->report;
  CHECK(report.setup == SetupReport{40, SetupState::failed, error});
  CHECK(node.state() == HoldingState::failed);
  CHECK_FALSE(node.core->holdings().at(kJob).error.infrastructure);  // it may have written half of something
  CHECK(node.state(prepared) == HoldingState::failed);
  CHECK(node.core->holdings().at(prepared).error.infrastructure);
  CHECK(node.state(stopping) != HoldingState::failed);
  node.step(SetupBroke{40, error});
  CHECK(node.did<SendReport>() == nullptr);
  node.restart();
  CHECK(node.core->setup()->state == SetupState::failed);
  CHECK(node.state() == HoldingState::failed);
  // A job that was on its way here meanwhile.
  const AttemptId after{JobId{21}, 1};
  node.connect();
  node.step(OrdersArrived{with_setup(4, 40, {order(HoldingPhase::run), order(HoldingPhase::prepare, after)})});
  node.step(Prepared{after, std::nullopt});
  CHECK(node.state(after) == HoldingState::failed);
  CHECK(node.core->holdings().at(after).error.infrastructure);
}

TEST_CASE("orders of another store wait until the old store's set-up is gone, too") {
  Node node;
  node.step(OrdersArrived{with_setup(5, 40)});
  Orders other = with_setup(1, 40);
  other.store_generation = "s2";
  node.step(OrdersArrived{other});
  REQUIRE(node.did<TakeDownSetup>() != nullptr);
  CHECK(node.did<SetUp>() == nullptr);
  node.step(SetupTakenDown{40});
  REQUIRE(node.did<SetUp>() != nullptr);  // the same number means another run
  CHECK(node.core->revision() == 1);
}
