#define CATCH_CONFIG_MAIN
#include "controller/loop/loop.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "storage/memory_store.h"
#include "storage/sqlite_store.h"

namespace trainyard::controller {

namespace {

constexpr TimeMs kWall = 1'800'000'000'000;

// Writes down what the loop says, and whether the store had it by then.
class RecordingOutbox : public Outbox {
 public:
  explicit RecordingOutbox(storage::Store& store, bool look_into_store = false)
      : x_store(store), x_look(look_into_store) {}

  void reply(core::Ticket ticket, const Result<core::Subject>& result, const core::State&, TimeMs now_ms) override {
    if (x_look && result.ok()) {
      auto tables = x_store.load();
      const bool there = tables.ok() && std::any_of(tables->groups.begin(), tables->groups.end(),
                                                    [&](const auto& row) { return row.id.value == result->id; });
      if (!there) ++unwritten;
    }
    tickets.push_back(ticket);
    times.push_back(now_ms);
    ++replies;
  }
  void send_orders(const std::string&, const Orders&) override {}
  void acknowledge(const core::Acknowledge&) override { ++acknowledgements; }
  void refuse(const core::Refuse&) override {}
  void run_fence(const core::RunFence&) override {}
  void publish(const core::TimelineLine&) override {}
  std::vector<core::NodeHeard> take_heard(TimeMs) override { return {}; }

  std::vector<core::Ticket> tickets;  // of the loop's thread: read them after it ended
  std::vector<TimeMs> times;
  std::atomic<std::uint64_t> replies = 0;
  std::atomic<std::uint64_t> acknowledgements = 0;
  std::atomic<std::uint64_t> unwritten = 0;

 private:
  storage::Store& x_store;
  bool x_look;
};

core::Command create_group(core::Ticket ticket) {
  return {ticket, "", "", "lab", core::CreateGroup{fmt::format("group{}", ticket), "onprem", {}}};
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

core::Tables load(storage::Store& store) {
  auto tables = store.load();
  REQUIRE(tables.ok());
  return *tables;
}

// A loop on its thread.
struct Running {
  storage::Store& store;
  RecordingOutbox outbox;
  Loop loop;
  int code = -1;
  std::thread thread;

  explicit Running(storage::Store& rows, core::Settings settings = {}, bool look_into_store = false)
      : store(rows), outbox(rows, look_into_store), loop(std::move(settings), rows, load(rows), kWall) {}
  ~Running() { finish(); }

  void start() {
    thread = std::thread([this] { code = loop.run(outbox); });
  }
  int finish() {
    loop.stop();
    if (thread.joinable()) thread.join();
    return code;
  }
  void post(EventBody body) {
    REQUIRE(eventually([&] { return loop.post(body); }));
  }
};

}  // namespace

TEST_CASE("a reply leaves only when the store has what it tells") {
  storage::MemoryStore store;
  Running running(store, {}, true);
  running.start();
  for (core::Ticket ticket = 1; ticket <= 200; ++ticket) running.post(create_group(ticket));
  REQUIRE(eventually([&] { return running.outbox.replies == 200; }));
  CHECK(running.outbox.unwritten == 0);
  CHECK(running.finish() == 0);
}

TEST_CASE("when a commit fails nobody hears a reply and the process is told to end") {
  const auto fault = GENERATE(storage::MemoryStore::Fault::nothing_written, storage::MemoryStore::Fault::all_written);
  storage::MemoryStore store;
  Running running(store);
  store.fail_commit(1, fault);
  running.loop.post(create_group(1));
  running.start();
  running.thread.join();
  CHECK(running.code == 1);
  CHECK(running.outbox.replies == 0);
}

TEST_CASE("the inbox has a bound and a batch too") {
  storage::MemoryStore store;
  Running running(store);
  for (core::Ticket ticket = 1; ticket <= kInboxLimit; ++ticket) REQUIRE(running.loop.post(create_group(ticket)));
  CHECK(!running.loop.post(core::Tick{}));
  CHECK(!running.loop.query([](const core::State&, TimeMs) {}));
  const std::uint64_t before = store.commits();
  running.start();
  REQUIRE(eventually([&] { return running.outbox.replies == kInboxLimit; }));
  CHECK(store.commits() - before >= kInboxLimit / kBatchLimit);
  CHECK(store.commits() - before <= kInboxLimit / kBatchLimit + 2);
  CHECK(running.loop.post(create_group(kInboxLimit + 1)));  // there is room again
  REQUIRE(eventually([&] { return running.outbox.replies == kInboxLimit + 1; }));
}

TEST_CASE("a query sees its batch, committed") {
  storage::MemoryStore store;
  Running running(store);
  std::atomic<int> asked = 0, seen = 0, written = 0;
  std::atomic<TimeMs> at = 0;
  REQUIRE(running.loop.post(create_group(1)));
  REQUIRE(running.loop.query([&](const core::State& state, TimeMs now_ms) {
    seen = static_cast<int>(state.groups.size());
    written = static_cast<int>(load(store).groups.size());
    at = now_ms;
    ++asked;
  }));
  REQUIRE(running.loop.post(create_group(2)));
  running.start();
  REQUIRE(eventually([&] { return asked == 1; }));
  CHECK(seen == 2);
  CHECK(written == 2);
  CHECK(at >= kWall);
}

TEST_CASE("100,000 events from four threads are answered once each, in each thread's order") {
  storage::MemoryStore store;
  Running running(store);
  running.start();
  constexpr core::Ticket kThreads = 4, kEach = 25'000;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (core::Ticket thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (core::Ticket n = 0; n < kEach; ++n) {
        // The same group each time: refused after the first, so that this measures the loop and not the tables.
        core::Command command = create_group(thread * kEach + n + 1);
        std::get<core::CreateGroup>(command.body).name = "one";
        std::get<core::CreateGroup>(command.body).location = fmt::format("place{}", thread % 2);
        while (!running.loop.post(command)) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(eventually([&] { return running.outbox.replies == kThreads * kEach; }));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  REQUIRE(running.finish() == 0);
  WARN("events through the loop: " << static_cast<int>(kThreads * kEach / took.count()) << "/s");

  std::vector<core::Ticket> last(kThreads, 0);
  bool ordered = true;
  for (core::Ticket ticket : running.outbox.tickets) {
    core::Ticket& before = last[(ticket - 1) / kEach];
    ordered = ordered && ticket > before;
    before = ticket;
  }
  CHECK(ordered);
  CHECK(std::set(running.outbox.tickets.begin(), running.outbox.tickets.end()).size() == kThreads * kEach);
  CHECK(std::is_sorted(running.outbox.times.begin(), running.outbox.times.end()));
}

TEST_CASE("time passes by itself: a silent node becomes unreachable without any event") {
  storage::MemoryStore store;
  core::Settings settings;
  settings.unreachable_after_ms = 40;
  Running running(store, settings);
  running.start();
  Report report;
  report.node_name = "n1";
  report.epoch = "boot-1";
  report.sequence = 1;
  report.inventory.flavour = "Standard_NC6";
  report.inventory.address = "10.0.0.1";
  running.post(core::NodeReported{report});
  REQUIRE(eventually([&] { return running.outbox.acknowledgements == 1; }));
  std::atomic<bool> unreachable = false;
  REQUIRE(eventually([&] {
    running.loop.query([&](const core::State& state, TimeMs) {
      if (state.nodes.size() == 1 && !state.nodes.begin()->second.live.reachable) unreachable = true;
    });
    return unreachable.load();
  }));
  running.finish();
}

TEST_CASE("controller time never falls behind what was committed") {
  storage::MemoryStore store;
  core::Changes future;
  future.meta.last_now_ms = kWall + 1'000'000;  // the wall clock was set back since
  REQUIRE(store.commit(future).ok());
  Running running(store);
  running.start();
  running.post(create_group(1));
  REQUIRE(eventually([&] { return running.outbox.replies == 1; }));
  running.finish();
  CHECK(running.outbox.times.at(0) >= kWall + 1'000'000);
}

TEST_CASE("what was answered is found again in the database of a new process") {
  char path[] = "/tmp/trainyard-loop-XXXXXX";
  REQUIRE(::mkdtemp(path));
  storage::SqliteOptions options;
  options.space = {0, 0};
  std::vector<core::Ticket> answered;
  {
    auto store = storage::SqliteStore::open(path, options);
    REQUIRE(store.ok());
    Running running(**store);
    running.start();
    for (core::Ticket ticket = 1; ticket <= 3000; ++ticket) running.post(create_group(ticket));
    REQUIRE(eventually([&] { return running.outbox.replies >= 1000; }));
    running.finish();  // with events still unanswered
    answered = running.outbox.tickets;
  }
  auto store = storage::SqliteStore::open(path, options);
  REQUIRE(store.ok());
  std::set<std::string> names;
  for (const core::Group& group : load(**store).groups) names.insert(group.name);
  CHECK(names.size() == answered.size());
  for (core::Ticket ticket : answered) REQUIRE(names.contains(fmt::format("group{}", ticket)));
  store->reset();
  std::filesystem::remove_all(path);
}

}  // namespace trainyard::controller
