// The rules of the agent's core, one story each.
#define CATCH_CONFIG_MAIN
#include "tests/agent/core_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;

TEST_CASE("a job is prepared, started once and reported at each change") {
  Node node;
  auto actions = node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  // What must survive is kept before anything is done, and the report comes last and echoes the orders.
  REQUIRE(position<PersistOrders>(actions) < position<PersistHolding>(actions));
  REQUIRE(position<PersistHolding>(actions) < position<Prepare>(actions));
  REQUIRE(position<Prepare>(actions) < position<SendReport>(actions));
  CHECK(node.did<SendReport>()->report.orders_revision == 1);
  CHECK(node.did<SendReport>()->report.holdings.at(0).state == HoldingState::preparing);

  node.step(Prepared{kJob, std::nullopt});
  CHECK(node.did<SendReport>()->report.holdings.at(0).state == HoldingState::ready);
  CHECK_FALSE(node.core->accepts_launch(kJob));

  actions = node.step(OrdersArrived{orders(2, {order(HoldingPhase::run)})});
  REQUIRE(position<PersistHolding>(actions) < position<StartHead>(actions));
  REQUIRE(position<StartHead>(actions) < actions.size());
  CHECK(node.spool.holdings.at(0).head_start_requested);
  node.step(OrdersArrived{orders(2, {order(HoldingPhase::run)})});
  CHECK(node.did<StartHead>() == nullptr);

  node.step(HeadStarted{kJob, std::nullopt});
  CHECK(node.did<SendReport>()->report.holdings.at(0).state == HoldingState::running);
  CHECK(node.core->accepts_launch(kJob));
  node.step(HeadEnded{kJob, 3, {}});
  CHECK(node.did<SendReport>()->report.holdings.at(0).state == HoldingState::exited);
  CHECK(node.did<SendReport>()->report.holdings.at(0).exit_code == 3);
}

TEST_CASE("a peer is open for launches as soon as phase run comes") {
  Node node;
  node.run_job(1);
  CHECK(node.state() == HoldingState::running);
  CHECK(node.did<StartHead>() == nullptr);
  CHECK(node.core->accepts_launch(kJob));
}

TEST_CASE("orders for another life of the agent, and older ones, are refused, also after a restart") {
  Node node;
  Orders foreign = orders(9, {order(HoldingPhase::prepare)});
  foreign.node_epoch = "e0";
  node.step(OrdersArrived{foreign});
  CHECK(node.core->holdings().empty());
  CHECK(node.core->revision() == 0);

  node.step(OrdersArrived{orders(5)});
  node.step(OrdersArrived{orders(4, {order(HoldingPhase::prepare)})});
  CHECK(node.core->holdings().empty());
  node.restart();
  node.connect();
  node.step(OrdersArrived{orders(4, {order(HoldingPhase::prepare)})});
  CHECK(node.core->holdings().empty());
  CHECK(node.core->revision() == 5);
}

TEST_CASE("what is no longer listed is stopped, and forgotten only when it is clean") {
  Node node;
  node.run_job();
  node.step(OrdersArrived{orders(3)});
  REQUIRE(node.did<Stop>() != nullptr);
  CHECK(node.did<Stop>()->grace_ms == 700);
  CHECK(node.state() == HoldingState::stopping);
  CHECK_FALSE(node.core->accepts_launch(kJob));
  CHECK(node.did<ForgetHolding>() == nullptr);

  node.step(Cleaned{kJob, {.node_name = "n1", .processes_killed = 2}});
  CHECK(node.did<SendReport>()->report.holdings.at(0).state == HoldingState::clean);
  CHECK(node.did<SendReport>()->report.holdings.at(0).receipt.processes_killed == 2);
  node.step(OrdersArrived{orders(4)});
  CHECK(node.did<ForgetHolding>() != nullptr);
  CHECK(node.did<SendReport>()->report.holdings.empty());
  CHECK(node.did<SendReport>()->report.orders_revision == 4);
}

TEST_CASE("a clean holding is reported, not begun again, as long as orders list it") {
  Node node;
  node.run_job();
  node.step(OrdersArrived{orders(3, {order(HoldingPhase::stop)})});
  CHECK(node.did<Stop>()->grace_ms == 300);
  node.step(Cleaned{kJob, {}});
  node.step(OrdersArrived{orders(3, {order(HoldingPhase::prepare)})});
  CHECK(node.did<Prepare>() == nullptr);
  CHECK(node.state() == HoldingState::clean);
}

TEST_CASE("a repeated stop may shorten the grace") {
  Node node;
  node.run_job();
  node.step(OrdersArrived{orders(3, {order(HoldingPhase::stop)})});
  auto sooner = order(HoldingPhase::stop);
  sooner.grace_ms = 0;
  node.step(OrdersArrived{orders(4, {sooner})});
  REQUIRE(node.did<Stop>() != nullptr);
  CHECK(node.did<Stop>()->grace_ms == 0);
}

TEST_CASE("a lease counts from the sending of the newest acknowledged report") {
  Node node;
  node.run_job();
  const TimeMs base = node.now;
  node.now += 4'000;
  node.step(Tick{});  // a report leaves ...
  node.now += 3'000;
  node.acknowledge();  // ... and is acknowledged 3 s later
  CHECK(node.state() == HoldingState::running);
  node.step(LinkDown{});
  node.now = base + 4'000 + 9'999;
  node.step(Tick{});
  CHECK(node.state() == HoldingState::running);
  CHECK(node.core->next_deadline() == base + 14'000);
  node.now = base + 14'000;
  auto actions = node.step(Tick{});
  REQUIRE(node.did<Stop>() != nullptr);
  CHECK(node.did<Stop>()->grace_ms == 0);
  CHECK(position<PersistOrders>(actions) < position<Stop>(actions));
  CHECK(node.core->tombstones().contains(kJob));
  CHECK(node.spool.tombstones == std::vector<AttemptId>{kJob});
}

TEST_CASE("a lease that has ended is not revived by what comes later") {
  Node node;
  node.run_job();
  node.now += 20'000;  // the machine slept
  node.step(OrdersArrived{orders(3, {order(HoldingPhase::run)})});
  CHECK(node.state() == HoldingState::stopping);
  node.step(Cleaned{kJob, {}});
  node.step(OrdersArrived{orders(4)});  // forgotten
  CHECK(node.core->holdings().empty());
  // Only a tombstone stands against orders of an even newer revision that list it again.
  node.step(LinkUp{});
  node.acknowledge();
  node.step(OrdersArrived{orders(5, {order(HoldingPhase::prepare)})});
  CHECK(node.core->holdings().empty());
  node.restart();
  node.connect();
  node.step(OrdersArrived{orders(6, {order(HoldingPhase::prepare)})});
  CHECK(node.core->holdings().empty());
}

TEST_CASE("a lease for ever does not end, and one in grace is cut short by the lease's end") {
  Node node;
  auto for_ever = order(HoldingPhase::prepare);
  for_ever.lease_ms = kForever;
  node.step(OrdersArrived{orders(1, {for_ever})});
  node.now += 1'000'000'000;
  node.step(Tick{});
  CHECK(node.state() == HoldingState::preparing);
  CHECK(node.core->next_deadline() > node.now);  // and asks for no tick

  Node other;
  other.run_job();
  other.step(OrdersArrived{orders(3, {order(HoldingPhase::stop)})});
  other.now += 10'000;
  other.step(Tick{});
  REQUIRE(other.did<Stop>() != nullptr);
  CHECK(other.did<Stop>()->grace_ms == 0);
  other.step(Cleaned{kJob, {}});
  CHECK(other.core->next_deadline() > other.now);
}

TEST_CASE("what is kept of renewals is never older than a twentieth of the shortest lease that counts") {
  Node node;
  auto longer = order(HoldingPhase::prepare, {JobId{18}, 1}), for_ever = order(HoldingPhase::prepare, {JobId{19}, 1});
  longer.lease_ms = 1'000'000;
  for_ever.lease_ms = kForever;
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare), longer, for_ever})});
  node.acknowledge();
  for (int report = 0; report < 20; ++report) {
    node.now += 1'000;
    node.step(Tick{});
    node.acknowledge();
    CHECK(node.now - node.spool.acked_send_ms <= 500);
  }
  // Without the short one no write is worth it.
  node.step(OrdersArrived{orders(2, {longer, for_ever})});
  node.step(Cleaned{kJob, {}});
  node.acknowledge();
  const TimeMs kept = node.spool.acked_send_ms;
  node.now += 1'000;
  node.step(Tick{});
  node.acknowledge();
  CHECK(node.spool.acked_send_ms == kept);
}

TEST_CASE("a restarted agent counts its leases from what was acknowledged before") {
  Node node;
  node.run_job();
  const TimeMs base = node.spool.acked_send_ms;
  REQUIRE(base > 0);
  node.now = base + 9'000;
  node.restart();
  CHECK(node.state() != HoldingState::stopping);
  node.now = base + 10'000;
  node.step(Tick{});
  CHECK(node.state() == HoldingState::stopping);
}

TEST_CASE("an acknowledgement of an earlier life of the agent renews nothing") {
  Node node;
  node.run_job();
  node.now += 5'000;
  node.step(Tick{});
  const std::uint64_t old_sequence = node.did<SendReport>()->report.sequence;
  node.restart();
  node.now += 4'000;
  node.step(LinkUp{});
  node.step(ReportAcknowledged{old_sequence});
  node.now += 1'000;
  node.step(Tick{});
  CHECK(node.state() == HoldingState::stopping);
}

TEST_CASE("a restart takes up preparing and stopping, and starts no head twice") {
  Node node;
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  node.restart();
  CHECK(node.did<Prepare>() != nullptr);
  node.connect();
  node.step(Prepared{kJob, std::nullopt});
  node.step(OrdersArrived{orders(2, {order(HoldingPhase::run)})});
  REQUIRE(node.did<StartHead>() != nullptr);
  node.restart();
  CHECK(node.did<StartHead>() == nullptr);
  node.connect();
  node.step(OrdersArrived{orders(2, {order(HoldingPhase::run)})});
  CHECK(node.did<StartHead>() == nullptr);
  node.step(HeadStarted{kJob, std::nullopt});
  CHECK(node.state() == HoldingState::running);
  node.step(OrdersArrived{orders(3, {order(HoldingPhase::stop)})});
  node.restart();
  REQUIRE(node.did<Stop>() != nullptr);
  CHECK(node.did<Stop>()->grace_ms == 700);
}

TEST_CASE("full reports after a link comes up and at changes, short ones in between") {
  Node node;
  CHECK(node.did<SendReport>() == nullptr);
  node.step(Tick{});
  CHECK(node.actions.empty());
  node.now += 1'000;
  node.step(Tick{});
  CHECK(node.did<SendSame>() != nullptr);
  node.step(OrdersArrived{orders(1)});
  REQUIRE(node.did<SendReport>() != nullptr);
  CHECK(node.did<SendReport>()->report.orders_revision == 1);
  CHECK(node.did<SendReport>()->report.store_generation == "s1");
  CHECK(node.did<SendReport>()->report.epoch == "e1");
  node.step(LinkDown{});
  node.now += 5'000;
  node.step(Tick{});
  CHECK(node.actions.empty());
  node.step(LinkUp{});
  CHECK(node.did<SendReport>() != nullptr);
}

TEST_CASE("agents whose clocks are set speak at the same moments, however long their nodes are up") {
  for (const TimeMs up_ms : {1'000'003, 77'777'777}) {
    Node node(false);
    node.now = up_ms;
    const TimeMs wall_ms = 1'700'000'000'117;
    node.step(LinkUp{.wall_ms = wall_ms});
    node.acknowledge();
    for (const DurationMs at_ms : {983, 1'983, 2'983}) {  // ...001'100 on the wall, and so on
      CAPTURE(up_ms, at_ms);
      CHECK(node.core->next_deadline() == up_ms + at_ms);
      node.now = up_ms + at_ms - 1;
      node.step(Tick{});
      CHECK(node.actions.empty());
      node.now = up_ms + at_ms + 2;  // a timer is never early
      node.step(Tick{});
      CHECK(node.did<SendSame>() != nullptr);
    }
    node.now += 300;
    node.step(OrdersArrived{orders(1)});
    CHECK(node.did<SendReport>() != nullptr);  // a change waits for nothing
    CHECK(node.core->next_deadline() == up_ms + 4'283);
  }
}

TEST_CASE("a change is reported in full until a report that holds it is acknowledged") {
  Node node;
  node.step(OrdersArrived{orders(1)});
  const std::uint64_t dropped = node.did<SendReport>()->report.sequence;
  node.now += 1'000;
  node.step(Tick{});
  REQUIRE(node.did<SendReport>() != nullptr);  // nobody said that they took the first one
  CHECK(node.did<SendReport>()->report.orders_revision == 1);
  node.step(ReportAcknowledged{dropped - 1});  // of a report from before the change
  node.now += 1'000;
  node.step(Tick{});
  REQUIRE(node.did<SendReport>() != nullptr);
  node.acknowledge();
  node.now += 1'000;
  node.step(Tick{});
  CHECK(node.did<SendSame>() != nullptr);
}

TEST_CASE("orders that say the same again are nothing to report") {
  Node node;
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  node.acknowledge();
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  CHECK(node.actions.empty());
}

TEST_CASE("what comes too late changes nothing, and what hangs is told once") {
  Node node;
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  node.step(Stuck{kJob, "process 7 waits in nfs"});  // nothing is being stopped
  CHECK(node.core->holdings().at(kJob).stuck.empty());
  node.step(Prepared{kJob, std::nullopt});
  node.step(ImageKnown{kJob, "sha256:2"});
  CHECK(node.core->holdings().at(kJob).image_digest.empty());
  node.step(OrdersArrived{orders(2, {order(HoldingPhase::stop)})});
  node.acknowledge();
  for (const auto& late : {std::optional(0), std::optional<int>()}) node.step(HeadEnded{kJob, late, {}});
  node.step(PeerLost{kJob, {}});
  CHECK(node.state() == HoldingState::stopping);
  node.step(Stuck{kJob, "process 7 waits in nfs"});
  REQUIRE(node.did<SendReport>() != nullptr);
  CHECK(node.did<SendReport>()->report.holdings.at(0).stuck == "process 7 waits in nfs");
  node.acknowledge();
  node.step(Stuck{kJob, "process 7 waits in nfs"});
  CHECK(node.actions.empty());
  node.step(Cleaned{kJob, {}});
  CHECK(node.did<SendReport>()->report.holdings.at(0).stuck.empty());
}

TEST_CASE("failures are told apart: could not prepare, lost, ended") {
  const NodeError error{.code = "JobPreparationFailed", .message = "exit 3"};
  Node failed;
  failed.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  failed.step(Prepared{kJob, error});
  CHECK(failed.state() == HoldingState::failed);
  CHECK(failed.did<SendReport>()->report.holdings.at(0).error == error);
  failed.step(OrdersArrived{orders(2, {order(HoldingPhase::run)})});
  CHECK(failed.did<StartHead>() == nullptr);

  Node lost;
  lost.run_job();
  lost.step(HeadEnded{kJob, std::nullopt, error});
  CHECK(lost.state() == HoldingState::lost);

  Node peer;
  peer.run_job(1);
  peer.step(PeerLost{kJob, error});
  CHECK(peer.state() == HoldingState::lost);
}

TEST_CASE("a GPU has one owner until nothing is left of the old one") {
  Node node;
  auto first = order(HoldingPhase::prepare);
  first.gpu_uuids = {"g0"};
  node.step(OrdersArrived{orders(1, {first})});
  const AttemptId other{JobId{18}, 1};
  auto second = order(HoldingPhase::prepare, other);
  second.gpu_uuids = {"g0"};
  node.step(OrdersArrived{orders(2, {second})});  // the first one is stopping, not clean
  CHECK(node.state(other) == HoldingState::failed);
  CHECK(node.core->holdings().at(other).error.infrastructure);
  CHECK(node.did<Prepare>() == nullptr);
  const AttemptId third{JobId{19}, 1};
  auto beside = order(HoldingPhase::prepare, third);
  beside.gpu_uuids = {"g1"};
  node.step(OrdersArrived{orders(3, {second, beside})});
  CHECK(node.state(third) == HoldingState::preparing);
}

TEST_CASE("orders of another store wait until nothing of the old one lives") {
  Node node;
  node.run_job();
  Orders restored = orders(1, {order(HoldingPhase::prepare)});
  restored.store_generation = "s2";
  node.step(OrdersArrived{restored});
  CHECK(node.state() == HoldingState::stopping);
  CHECK(node.did<Prepare>() == nullptr);
  node.step(Cleaned{kJob, {}});
  CHECK(node.did<Prepare>() != nullptr);
  CHECK(node.did<ForgetHolding>() != nullptr);
  CHECK(node.did<SendReport>()->report.store_generation == "s2");
  CHECK(node.did<SendReport>()->report.orders_revision == 1);
  CHECK(node.state() == HoldingState::preparing);
}

TEST_CASE("orders whose leases would be over before they begin are not taken, and asked for again once in contact") {
  Node node(false);
  node.now += 60'000;  // long without a controller
  node.step(LinkUp{});
  const std::uint64_t sequence = node.did<SendReport>()->report.sequence;
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  CHECK(node.core->holdings().empty());
  CHECK(node.core->revision() == 0);
  node.step(ReportAcknowledged{sequence});
  CHECK(node.core->holdings().empty());  // they may be as old as the silence
  REQUIRE(node.did<SendReport>() != nullptr);
  CHECK(node.did<SendReport>()->report.orders_revision == 0);
  node.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  CHECK(node.state() == HoldingState::preparing);
  CHECK(node.core->revision() == 1);
}

TEST_CASE("a restarted agent echoes no orders that it may not have acted on") {
  Node node;
  node.run_job();
  const std::uint64_t known = node.core->revision();
  node.restart();
  node.step(LinkUp{});
  CHECK(node.core->revision() == known);
  REQUIRE(node.did<SendReport>() != nullptr);
  CHECK(node.did<SendReport>()->report.orders_revision == 0);
}

TEST_CASE("a crash between a tombstone and the stop it asks for does not let the job live on") {
  Node node;
  node.run_job();
  node.spool.tombstones.push_back(kJob);  // spooled; the holding still says running
  node.restart();
  REQUIRE(node.did<Stop>() != nullptr);
  CHECK(node.did<Stop>()->grace_ms == 0);
  CHECK(node.state() == HoldingState::stopping);
}

TEST_CASE("the first node tells what its image is; the others are told once, also over a restart") {
  Node head;
  head.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare)})});
  head.step(ImageKnown{kJob, "sha256:1"});
  CHECK(head.did<SendReport>()->report.holdings.at(0).image_digest == "sha256:1");
  head.restart();
  head.connect();
  CHECK(head.core->holdings().at(kJob).image_digest == "sha256:1");

  Node peer;
  peer.step(OrdersArrived{orders(1, {order(HoldingPhase::prepare, kJob, 1)})});
  CHECK(peer.did<PinImage>() == nullptr);
  HoldingOrder pinned = order(HoldingPhase::prepare, kJob, 1);
  pinned.image_digest = "sha256:1";
  auto actions = peer.step(OrdersArrived{orders(2, {pinned})});
  REQUIRE(position<PersistHolding>(actions) < position<PinImage>(actions));
  REQUIRE(position<PinImage>(actions) < actions.size());
  CHECK(peer.core->holdings().at(kJob).pinned_digest == "sha256:1");
  peer.step(OrdersArrived{orders(2, {pinned})});
  CHECK(peer.did<PinImage>() == nullptr);
  peer.restart();
  CHECK(peer.did<Prepare>() != nullptr);
  CHECK(peer.core->holdings().at(kJob).pinned_digest == "sha256:1");

  // An attempt that is new to a node knows it from the start.
  Node later;
  pinned.id.attempt = 2;
  later.step(OrdersArrived{orders(5, {pinned})});
  CHECK(later.core->holdings().at(pinned.id).pinned_digest == "sha256:1");
  CHECK(later.did<PinImage>() == nullptr);
}
