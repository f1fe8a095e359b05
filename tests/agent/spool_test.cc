// The agent's spool: what it keeps, whom it keeps out, what a reboot makes of it.
#define CATCH_CONFIG_MAIN
#include "agent/loop/spool.h"

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <utility>

using namespace trainyard;
using namespace trainyard::agent;

namespace {

struct TemporaryDirectory {
  std::string path;
  TemporaryDirectory() {
    char name[] = "/tmp/trainyard-spool-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};

HeldAttempt held() {
  HeldAttempt held;
  held.id = {JobId{4}, 2};
  held.state = HoldingState::exited;
  held.member = 3;
  held.gpu_uuids = {"g0", "g1"};
  held.lease_ms = 5'000;
  auto launch = std::make_shared<Launch>();
  launch->job_name = "cifar";
  launch->members = {{"n1", "10.0.0.1"}, {"n2", "10.0.0.2"}};
  held.launch = launch;
  held.exit_code = 137;
  held.error = {.code = "ShimLost", .message = "gone", .infrastructure = true};
  held.receipt = {.node_name = "n1", .processes_killed = 3};
  held.head_start_requested = held.run_ordered = true;
  return held;
}

HeldSetup held_setup() {
  ClusterSetup setup{"g/w/c", "suffix", {}, {{Volume::Kind::local, "/srv/a/s", "afs"}}};
  setup.setup.task = {"install", {{"A", "b"}}, "$AZ_BATCHAI_MOUNT_ROOT/afs", 60'000};
  setup.setup.file_shares = {{"a", "https://a.file.core.windows.net/s", "s", "afs"}};
  return {40, SetupState::failed, 77, std::make_shared<const ClusterSetup>(setup), {"SetupTaskFailed", "exited", {}}};
}

}  // namespace

TEST_CASE("the spool gives back what was saved, under the same epoch") {
  TemporaryDirectory directory;
  std::string epoch;
  {
    auto spool = SpoolDirectory::open(directory.path + "/a/b", "boot1");
    REQUIRE(spool);
    epoch = spool->epoch();
    spool->record() = {.revision = 7,
                       .store_generation = "s1",
                       .cluster = "g/w/c",
                       .acked_send_ms = 99,
                       .tombstones = {{JobId{1}, 1}, {JobId{2}, 5}}};
    REQUIRE(spool->save({{held().id, held()}}, held_setup()));
  }
  auto spool = SpoolDirectory::open(directory.path + "/a/b", "boot1");
  REQUIRE(spool);
  CHECK(spool->epoch() == epoch);
  CHECK(spool->record().cluster == "g/w/c");
  const Spool core = spool->for_core();
  CHECK(core.revision == 7);
  CHECK(core.acked_send_ms == 99);
  CHECK(core.tombstones == std::vector<AttemptId>{{JobId{1}, 1}, {JobId{2}, 5}});
  REQUIRE(core.holdings.size() == 1);
  REQUIRE(core.setup.has_value());
  CHECK(core.setup->run == 40);
  CHECK(core.setup->state == SetupState::failed);
  CHECK(core.setup->begun_ms == 77);
  CHECK(core.setup->error == held_setup().error);
  CHECK(*core.setup->setup == *held_setup().setup);
  const HeldAttempt& back = core.holdings.front();
  const HeldAttempt before = held();
  CHECK(back.id == before.id);
  CHECK(back.state == before.state);
  CHECK(back.member == before.member);
  CHECK(back.gpu_uuids == before.gpu_uuids);
  CHECK(back.lease_ms == before.lease_ms);
  CHECK(*back.launch == *before.launch);
  CHECK(back.exit_code == before.exit_code);
  CHECK(back.error == before.error);
  CHECK(back.receipt == before.receipt);
  CHECK(back.head_start_requested);
  CHECK(back.run_ordered);
}

TEST_CASE("the newest save counts, whatever a save that was cut off left beside it") {
  TemporaryDirectory directory;
  const std::string beside = directory.path + "/state.json.new";
  for (std::uint64_t revision = 1; revision <= 3; ++revision) {
    auto spool = SpoolDirectory::open(directory.path, "boot1");
    REQUIRE(spool);
    CHECK(spool->for_core().revision == revision - 1);
    spool->record().revision = revision;
    spool->record().store_generation = std::string(100 - 30 * revision, 's');  // each shorter than the one before
    REQUIRE(spool->save({{held().id, held()}}, std::nullopt));
    // What a crash in the middle of the next save leaves.
    if (std::filesystem::exists(beside)) std::filesystem::resize_file(beside, 5);
  }
  auto spool = SpoolDirectory::open(directory.path, "boot1");
  REQUIRE(spool);
  CHECK(spool->for_core().revision == 3);
  CHECK(spool->for_core().holdings.size() == 1);
}

TEST_CASE("a second agent on the same spool is refused") {
  TemporaryDirectory directory;
  auto first = SpoolDirectory::open(directory.path, "boot1");
  REQUIRE(first);
  const auto second = SpoolDirectory::open(directory.path, "boot1");
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Code::failed_precondition);
}

TEST_CASE("after a reboot the holdings are gone, the revision stays, the epoch is another") {
  TemporaryDirectory directory;
  std::string epoch;
  {
    auto spool = SpoolDirectory::open(directory.path, "boot1");
    REQUIRE(spool);
    epoch = spool->epoch();
    spool->record() = {.revision = 7, .store_generation = "s1", .cluster = "", .acked_send_ms = 99, .tombstones = {}};
    REQUIRE(spool->save({{held().id, held()}}, std::nullopt));
  }
  auto spool = SpoolDirectory::open(directory.path, "boot2");
  REQUIRE(spool);
  CHECK(spool->epoch() != epoch);
  CHECK(spool->for_core().holdings.empty());
  CHECK(spool->for_core().acked_send_ms == 0);
  CHECK(spool->for_core().revision == 7);
}

TEST_CASE("two spools never share an epoch, and a damaged one is not taken for an empty one") {
  TemporaryDirectory directory;
  auto first = SpoolDirectory::open(directory.path + "/1", "boot1");
  auto second = SpoolDirectory::open(directory.path + "/2", "boot1");
  REQUIRE((first && second));
  CHECK(first->epoch() != second->epoch());
  REQUIRE(write_file_durably(directory.path + "/3/state.json", "{", 0600).ok() == false);
  std::filesystem::create_directories(directory.path + "/3");
  REQUIRE(write_file_durably(directory.path + "/3/state.json", "{", 0600));
  const auto damaged = SpoolDirectory::open(directory.path + "/3", "boot1");
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().code == Code::data_loss);
}
