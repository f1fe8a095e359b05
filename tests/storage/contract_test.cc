// The store's contract: the same body over both stores. `again` makes a new store over what was committed.
#include <catch2/catch.hpp>
#include <functional>

#include "common/model_json.h"
#include "storage/memory_store.h"
#include "storage/row_json.h"
#include "storage/sqlite_store.h"
#include "tests/storage/rows.h"

namespace trainyard::storage::test {

namespace {

// A store under test, and how a process would find it after a restart.
struct Fixture {
  virtual ~Fixture() = default;
  virtual Store& store() = 0;
  virtual void again() = 0;
};

struct MemoryFixture : Fixture {
  MemoryStore memory;
  Store& store() override { return memory; }
  void again() override { memory.restart(); }
};

struct SqliteFixture : Fixture {
  TemporaryDirectory directory;
  std::unique_ptr<SqliteStore> sqlite;
  SqliteFixture() { again(); }
  Store& store() override { return *sqlite; }
  void again() override {
    sqlite.reset();
    SqliteOptions options;
    options.space = {0, 1 << 20};
    auto opened = SqliteStore::open(directory.path(), options);
    REQUIRE((opened.ok() ? "" : opened.error().message) == std::string());
    sqlite = std::move(*opened);
  }
};

core::Tables load(Fixture& fixture) {
  auto tables = fixture.store().load();
  REQUIRE(tables.ok());
  return *tables;
}

void commit(Fixture& fixture, const core::Changes& changes) {
  Status status = fixture.store().commit(changes);
  REQUIRE((status.ok() ? "" : status.error().message) == std::string());
}

std::vector<core::Usage> usage(Fixture& fixture, TimeMs from_ms, TimeMs to_ms) {
  std::vector<core::Usage> rows;
  const auto reader = fixture.store().usage_reader();
  REQUIRE(reader->each(from_ms, to_ms, [&rows](const core::Usage& row) { rows.push_back(row); }).ok());
  return rows;
}

}  // namespace

TEMPLATE_TEST_CASE("a new store is empty and has no generation", "", MemoryFixture, SqliteFixture) {
  TestType fixture;
  const core::Tables tables = load(fixture);
  CHECK(tables.meta == core::Meta{});
  CHECK(tables.jobs.empty());
  CHECK(fixture.store().accepts_new_work());
}

TEMPLATE_TEST_CASE("every field of every row comes back", "", MemoryFixture, SqliteFixture) {
  TestType fixture;
  const core::Changes rows = full_changes(1);
  commit(fixture, rows);
  require_holds(load(fixture), rows);
  fixture.again();
  require_holds(load(fixture), rows);
  auto lines = fixture.store().timeline("job:6", 0, 10);
  REQUIRE(lines.ok());
  CHECK(*lines == rows.timeline);
  CHECK(usage(fixture, 0, 1'000) == rows.usage);
}

TEMPLATE_TEST_CASE("a row committed again replaces the old one, field by field", "", MemoryFixture, SqliteFixture) {
  TestType fixture;
  core::Changes rows = full_changes(1);
  commit(fixture, rows);
  rows.timeline.clear();
  rows.usage.clear();
  rows.meta.next_id = 500;
  rows.groups[0].tags = {};
  rows.groups[0].deleting = false;
  rows.clusters[0].spec.target_node_count = 0;
  rows.nodes[0].cluster = std::nullopt;
  rows.nodes[0].state = core::NodeState::unassigned;
  rows.nodes[0].former_epochs.clear();
  rows.jobs[0].state = core::JobState::queued;
  rows.jobs[0].exit_code = std::nullopt;
  rows.jobs[0].errors.clear();
  rows.jobs[0].receipts.clear();
  rows.jobs[0].last_nodes.clear();
  rows.jobs[0].cause = {};
  rows.arrays[0].next = 43, rows.arrays[0].parallel = 0;
  rows.arrays[0].cause = {}, rows.arrays[0].hold = std::nullopt, rows.arrays[0].dependencies.clear();
  rows.schedules[0].made = 5, rows.schedules[0].suspended = std::nullopt, rows.schedules[0].error.clear();
  rows.schedules[0].recent.clear(), rows.schedules[0].cron = rows.schedules[1].cron;
  rows.holdings[0].gpu_uuids.clear();
  rows.requests[0].message.clear();
  commit(fixture, rows);
  fixture.again();
  require_holds(load(fixture), rows);
}

TEMPLATE_TEST_CASE("what is erased is gone, and only that", "", MemoryFixture, SqliteFixture) {
  TestType fixture;
  commit(fixture, full_changes(1));
  core::Changes more;
  more.meta.store_generation = "generation";
  more.jobs = {full_job(60)};
  core::Holding other = full_changes(1).holdings[0];
  other.id = {{60}, 1};
  more.holdings = {other};
  commit(fixture, more);

  core::Changes erase;
  erase.meta = more.meta;
  erase.erased_clusters = {{4}};
  erase.erased_nodes = {{5}};
  erase.erased_jobs = {{6}};
  erase.erased_holdings = {{NodeId{5}, AttemptId{{6}, 2}}};
  erase.erased_shares = {{8}};
  erase.erased_file_servers = {{9}, {10}};
  erase.erased_accounts = {{7}};
  erase.erased_requests = {"6f1c", "never there"};
  erase.erased_arrays = {{14}};
  erase.erased_schedules = {{15}};
  commit(fixture, erase);
  fixture.again();
  core::Tables tables = load(fixture);
  CHECK(tables.clusters.empty());
  CHECK(tables.nodes.empty());
  CHECK(tables.accounts.empty());
  CHECK(tables.shares.empty());
  CHECK(tables.file_servers.empty());
  REQUIRE(tables.arrays.size() == 1);
  CHECK(tables.arrays[0].id == JobArrayId{13});
  REQUIRE(tables.schedules.size() == 1);
  CHECK(tables.schedules[0].id == JobScheduleId{16});
  CHECK(tables.requests.empty());
  REQUIRE(tables.jobs.size() == 1);
  CHECK(same(tables.jobs[0], full_job(60)));
  CHECK(tables.holdings == std::vector{other});
  CHECK(tables.experiments.size() == 1);

  core::Changes rest;
  rest.meta = more.meta;
  rest.erased_groups = {{1}};
  rest.erased_workspaces = {{2}};
  rest.erased_experiments = {{3}};
  rest.erased_jobs = {{60}};
  commit(fixture, rest);
  fixture.again();
  tables = load(fixture);
  CHECK(tables.groups.empty());
  CHECK(tables.workspaces.empty());
  CHECK(tables.experiments.empty());
  CHECK(tables.jobs.empty());
}

TEMPLATE_TEST_CASE("a request id erased can be used again, before and after a restart", "", MemoryFixture,
                   SqliteFixture) {
  TestType fixture;
  core::Changes put, erase;
  put.requests = {{"a", "1", 1, 0, "", "job:1"}, {"b", "1", 2, 0, "", "job:2"}};
  erase.erased_requests = {"a"};
  commit(fixture, put);
  commit(fixture, erase);
  CHECK(load(fixture).requests == std::vector{put.requests[1]});
  put.requests[0].subject = "job:3";
  commit(fixture, put);
  CHECK(load(fixture).requests == put.requests);
  fixture.again();
  commit(fixture, erase);
  put.requests[1].subject = "job:4";
  core::Changes again;
  again.requests = {put.requests[1]};
  commit(fixture, again);
  CHECK(load(fixture).requests == again.requests);
}

TEMPLATE_TEST_CASE("the timeline is told oldest first, by subject, in pages", "", MemoryFixture, SqliteFixture) {
  TestType fixture;
  core::Changes changes;
  for (std::uint64_t n = 1; n <= 20; ++n) {
    const std::string subject = n % 2 == 0 ? "job:1 g/w/e/one" : "job:17 g/w/e/seventeen";
    changes.timeline.push_back({n, static_cast<TimeMs>(n), "node:n1", subject, "a -> b", "because"});
  }
  commit(fixture, changes);
  fixture.again();
  auto sequences = [&](const std::string& subject, std::uint64_t after, std::uint32_t limit) {
    auto lines = fixture.store().timeline(subject, after, limit);
    REQUIRE(lines.ok());
    std::vector<std::uint64_t> found;
    for (const core::TimelineLine& line : *lines) found.push_back(line.sequence);
    return found;
  };
  CHECK(sequences("job:1", 0, 100).size() == 10);
  CHECK(sequences("job:17", 0, 3) == std::vector<std::uint64_t>{1, 3, 5});
  CHECK(sequences("job:17", 5, 2) == std::vector<std::uint64_t>{7, 9});
  CHECK(sequences("job:1 g/w/e/one", 18, 9) == std::vector<std::uint64_t>{20});
  CHECK(sequences("", 18, 9) == std::vector<std::uint64_t>{19, 20});
  CHECK(sequences("job:2", 0, 9).empty());
}

TEMPLATE_TEST_CASE("the accounting's rows of a span of time, by their end; they outlive everything", "", MemoryFixture,
                   SqliteFixture) {
  TestType fixture;
  core::Changes changes;
  const auto row = [](std::uint64_t node, TimeMs from, TimeMs to) {
    return core::Usage{{{7}, 1}, {node}, "g/w/e/j", "ann", "g/w/c", "n", 1, {}, from, from, to, to, core::Work::kept};
  };
  changes.usage = {row(1, 0, 100), row(2, 0, 100), row(1, 100, 200)};
  commit(fixture, changes);
  changes.usage = {row(1, 50, 300)};
  changes.erased_jobs = {{7}};
  commit(fixture, changes);
  fixture.again();
  using Ends = std::vector<std::pair<std::uint64_t, TimeMs>>;
  const auto found = [&fixture](TimeMs from_ms, TimeMs to_ms) {
    Ends ends;
    for (const core::Usage& one : usage(fixture, from_ms, to_ms)) ends.emplace_back(one.node.value, one.to_ms);
    return ends;
  };
  CHECK(found(0, 1'000) == Ends{{1, 100}, {2, 100}, {1, 200}, {1, 300}});
  CHECK(found(100, 1'000) == Ends{{1, 200}, {1, 300}});  // what ended at 100 has nothing after it
  CHECK(found(0, 100) == Ends{{1, 100}, {2, 100}, {1, 300}});
  CHECK(found(0, 50) == Ends{{1, 100}, {2, 100}});
  CHECK(found(300, 400).empty());
}

TEMPLATE_TEST_CASE("text that is no UTF-8 in a node's message does not stop a commit", "", MemoryFixture,
                   SqliteFixture) {
  TestType fixture;
  core::Changes changes = full_changes(1);
  changes.jobs[0].errors[0].message = "\xff\xfe broken \x01";
  changes.jobs[0].cause.message = "\xff";
  commit(fixture, changes);
  fixture.again();
  core::Tables tables = load(fixture);
  REQUIRE(tables.jobs.size() == 1);
  CHECK(tables.jobs[0].errors[0].message.find("broken") != std::string::npos);
}

TEST_CASE("the stored spec says what the shared JSON form says") {
  core::Job job = full_job(1);
  nlohmann::json stored = nlohmann::json::parse(job_spec_text(job)).at("spec");
  CHECK(stored == nlohmann::json(*job.spec));  // every field is set: nothing was left out
  job.spec = std::make_shared<const JobSpec>();
  stored = nlohmann::json::parse(job_spec_text(job)).at("spec");
  CHECK(stored.at("recovery") == nlohmann::json(Recovery{}));
  CHECK(stored.get<JobSpec>() == JobSpec{});
}

TEST_CASE("a commit that was told to fail is final, and loses nothing acknowledged") {
  MemoryStore store;
  REQUIRE(store.commit(submitted(1)).ok());
  const auto fault = GENERATE(MemoryStore::Fault::nothing_written, MemoryStore::Fault::all_written);
  store.fail_commit(2, fault);
  REQUIRE(store.commit(submitted(2)).ok());
  REQUIRE(!store.commit(submitted(3)).ok());
  REQUIRE(!store.commit(submitted(4)).ok());
  store.restart();
  auto tables = store.load();
  REQUIRE(tables.ok());
  CHECK(tables->jobs.size() == (fault == MemoryStore::Fault::all_written ? 3 : 2));
  CHECK(store.commit(submitted(5)).ok());
}

}  // namespace trainyard::storage::test
