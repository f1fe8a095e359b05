// What only the SQLite store promises: kill -9, one controller, versions, poison rows, copies.
#include "storage/sqlite_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <random>
#include <set>

#include "storage/schema.h"
#include "storage/sqlite.h"
#include "tests/storage/rows.h"

namespace trainyard::storage::test {

namespace {

SqliteOptions small_options() {
  SqliteOptions options;
  options.space = {0, 0};
  return options;
}

std::unique_ptr<SqliteStore> open_store(const std::string& path) {
  auto opened = SqliteStore::open(path, small_options());
  REQUIRE((opened.ok() ? "" : opened.error().message) == std::string());
  return std::move(*opened);
}

std::string refusal(const std::string& path) {
  auto opened = SqliteStore::open(path, small_options());
  REQUIRE(!opened.ok());
  return opened.error().message;
}

// The database while no store has it.
Connection raw(const std::string& directory) {
  auto opened = Connection::open(directory + "/trainyard.db", Connection::Mode::read_write);
  REQUIRE(opened.ok());
  return std::move(*opened);
}

// Commits jobs from `first` on, in batches of growing size, and writes each committed number to the pipe. Never
// returns.
[[noreturn]] void commit_until_killed(const std::string& path, std::uint64_t first, int acknowledgements) {
  SqliteOptions options = small_options();
  options.checkpoint_pages = 50;  // checkpoints often: they must survive too
  auto opened = SqliteStore::open(path, options);
  if (!opened) _exit(3);
  for (std::uint64_t n = first;;) {
    core::Changes batch;
    const std::uint64_t end = n + 1 + n % 7;
    for (; n < end; ++n) {
      core::Changes one = submitted(n);
      batch.meta = one.meta;
      batch.jobs.push_back(one.jobs[0]);
      batch.requests.push_back(one.requests[0]);
      batch.timeline.push_back(one.timeline[0]);
    }
    if (!(*opened)->commit(batch)) _exit(4);
    const std::uint64_t acknowledged = n - 1;
    if (::write(acknowledgements, &acknowledged, sizeof acknowledged) != sizeof acknowledged) _exit(5);
  }
}

// One life of the child; returns the last number it acknowledged.
std::uint64_t live_and_die(const std::string& path, std::uint64_t first, std::uint64_t after_acknowledgements,
                           std::uint64_t after_us) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) commit_until_killed(path, first, ends[1]);
  ::close(ends[1]);
  std::uint64_t last = first - 1, number = 0, count = 0;
  while (count < after_acknowledgements && ::read(ends[0], &number, sizeof number) == sizeof number) {
    last = number;
    ++count;
  }
  ::usleep(static_cast<useconds_t>(after_us));  // somewhere inside the next commits
  ::kill(child, SIGKILL);
  while (::read(ends[0], &number, sizeof number) == sizeof number) last = number;
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  return last;
}

}  // namespace

TEST_CASE("kill -9 at random moments loses nothing that was acknowledged") {
  TemporaryDirectory directory;
  {
    auto store = open_store(directory.path());
    REQUIRE(store->commit(full_changes(1'000'000'000)).ok());  // the experiment the jobs are in
  }
  std::mt19937 random(20261123);
  std::uint64_t last = 99;
  for (int kill = 0; kill < 60; ++kill) {
    last = live_and_die(directory.path(), last + 1, 1 + random() % 12, random() % 3000);
    auto store = open_store(directory.path());
    auto tables = store->load();
    REQUIRE(tables.ok());
    REQUIRE(store->take_warnings().empty());
    std::set<std::uint64_t> jobs, requests;
    for (const core::Job& job : tables->jobs) jobs.insert(job.id.value);
    jobs.erase(6);
    REQUIRE(jobs.size() >= last - 99);
    REQUIRE(*jobs.begin() == 100);
    // A batch is there whole or not at all: jobs, requests and lines agree, without a gap.
    REQUIRE(*jobs.rbegin() - 99 == jobs.size());
    REQUIRE(tables->requests.size() == jobs.size() + 1);
    REQUIRE(tables->meta.next_id == *jobs.rbegin() + 1);
    auto lines = store->timeline("", *jobs.rbegin() - 1, 2);
    REQUIRE(lines.ok());
    REQUIRE(lines->front().sequence == *jobs.rbegin());
    last = *jobs.rbegin();
  }
}

TEST_CASE("a second controller on the same state directory is refused and told who has it") {
  TemporaryDirectory directory;
  auto first = open_store(directory.path());
  const std::string why = refusal(directory.path());
  CHECK(why.find("in use by another controller") != std::string::npos);
  CHECK(why.find(fmt::format("pid {}", ::getpid())) != std::string::npos);
  first.reset();
  CHECK(open_store(directory.path()) != nullptr);
}

TEST_CASE("the state directory is made private, and one that everybody may read is refused") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/a/state";
  open_store(path).reset();
  struct stat made {};
  REQUIRE(::stat(path.c_str(), &made) == 0);
  CHECK((made.st_mode & 0777) == 0700);
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
  CHECK(refusal(path).find("chmod 700") != std::string::npos);
}

TEST_CASE("a database of a newer schema is refused and left alone") {
  TemporaryDirectory directory;
  open_store(directory.path()).reset();
  const auto newer = static_cast<std::int64_t>(migrations().size()) + 1;
  REQUIRE(raw(directory.path()).execute(fmt::format("PRAGMA user_version={}", newer)).ok());
  CHECK(refusal(directory.path()).find("newer Trainyard") != std::string::npos);
  CHECK(*raw(directory.path()).integer("PRAGMA user_version") == newer);
}

TEST_CASE("an upgrade copies the old database first and is all or nothing") {
  TemporaryDirectory directory;
  const std::string file = directory.path() + "/some.db", prefix = directory.path() + "/before-";
  auto opened = Connection::open(file, Connection::Mode::read_write);
  REQUIRE(opened.ok());
  const Migration first[] = {"CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (7)"};
  auto made = migrate(*opened, first, prefix);
  REQUIRE(made.ok());
  CHECK(made->empty());  // nothing to copy in a new database

  const Migration broken[] = {first[0], "ALTER TABLE t ADD COLUMN y INTEGER; INSERT INTO nowhere VALUES (1)"};
  CHECK(!migrate(*opened, broken, prefix).ok());
  CHECK(*opened->integer("PRAGMA user_version") == 1);
  CHECK(*opened->integer("SELECT count(*) FROM pragma_table_info('t')") == 1);

  const Migration good[] = {first[0], "ALTER TABLE t ADD COLUMN y INTEGER"};
  auto upgraded = migrate(*opened, good, prefix);
  REQUIRE(upgraded.ok());
  CHECK(*upgraded == prefix + "1.db");
  CHECK(*opened->integer("PRAGMA user_version") == 2);
  auto copy = Connection::open(*upgraded, Connection::Mode::read_only);
  REQUIRE(copy.ok());
  CHECK(*copy->integer("PRAGMA user_version") == 1);
  CHECK(*copy->integer("SELECT x FROM t") == 7);
}

TEST_CASE("clusters and nodes of the first schema are read as what they were: manual scale, nothing to set up") {
  TemporaryDirectory directory;
  REQUIRE(::chmod(directory.path().c_str(), 0700) == 0);
  {
    auto old = raw(directory.path());
    REQUIRE(migrate(old, migrations().first(1), directory.path() + "/before-").ok());
    REQUIRE(
        old.execute("INSERT INTO meta VALUES (1,'generation',10,1,1000);"
                    "INSERT INTO groups VALUES (1,'g','here',1,0,'{}');"
                    "INSERT INTO workspaces VALUES (2,1,'w','here',1,0,'{}');"
                    "INSERT INTO clusters VALUES (3,2,'nc6','Standard_NC6','dedicated',4,'terminate','u','k',0,1,2,0);"
                    "INSERT INTO accounts VALUES (5,1,'a','here','','/srv/a',3);"
                    "INSERT INTO shares VALUES (6,5,'s',4);"
                    "INSERT INTO nodes VALUES (4,'n1',3,'idle','',5,'boot-1','[]',7,6,'{}');")
            .ok());
  }
  auto store = open_store(directory.path());
  auto tables = store->load();
  REQUIRE(tables.ok());
  REQUIRE(tables->clusters.size() == 1);
  CHECK(tables->clusters[0].spec.target_node_count == 4);
  CHECK_FALSE(tables->clusters[0].spec.auto_scale.has_value());
  CHECK(tables->clusters[0].spec.node_setup == NodeSetup{});
  REQUIRE(tables->nodes.size() == 1);
  CHECK(tables->nodes[0].state == core::NodeState::idle);
  CHECK(tables->nodes[0].setup_run == 0);
  CHECK(tables->shares == std::vector<core::Share>{{{6}, {5}, "s", 4, false}});
}

TEST_CASE("holdings of the schema before the accounting are counted for their job, and as stopping where they do") {
  TemporaryDirectory directory;
  REQUIRE(::chmod(directory.path().c_str(), 0700) == 0);
  {
    auto old = raw(directory.path());
    REQUIRE(migrate(old, migrations().first(7), directory.path() + "/before-").ok());
    const auto job = [](int id, const char* state) {
      return fmt::format(
          "INSERT INTO jobs VALUES ({},4,9,'G/w/c','j{}','','{}','none',2,0,1,70,1,0,NULL,0,'','',0,0,"
          "'{{\"owner\":\"ann\"}}');",
          id, id, state);
    };
    REQUIRE(old.execute("INSERT INTO groups VALUES (2,'G','here',1,0,'{}');"
                        "INSERT INTO workspaces VALUES (3,2,'w','here',1,0,'{}','{}');"
                        "INSERT INTO experiments VALUES (4,3,'e',1,0);" +
                        job(5, "running") + job(6, "stopping") +
                        "INSERT INTO holdings VALUES (1,5,2,'j5','b',0,9,50,'running',0,0,'[]',0,0,'');"
                        "INSERT INTO holdings VALUES (1,6,1,'j6','b',0,9,51,'running',1,0,'[]',0,0,'');"
                        "INSERT INTO holdings VALUES (1,6,2,'j6','b',0,9,52,'running',1,0,'[]',0,0,'');"
                        "INSERT INTO holdings VALUES (1,7,1,'gone','b',0,9,53,'running',1,0,'[]',0,0,'');")
                .ok());
  }
  auto store = open_store(directory.path());
  auto tables = store->load();
  REQUIRE(tables.ok());
  REQUIRE(tables->holdings.size() == 4);
  const auto counted = [&](std::size_t at) {
    const core::Holding& row = tables->holdings[at];
    return fmt::format("{} {} {} {} {}", row.job_path, row.payer.owner, row.cluster_path, row.running_ms,
                       row.stopped_ms);
  };
  CHECK(counted(0) == "G/w/e/j5 ann G/w/c 0 0");
  CHECK(counted(1) == "G/w/e/j6 ann G/w/c 51 51");
  CHECK(counted(2) == "G/w/e/j6 ann G/w/c 70 70");
  CHECK(counted(3) == "gone   53 53");
}

TEST_CASE("the accounting is read by a connection of its own while the store writes") {
  TemporaryDirectory directory;
  auto store = open_store(directory.path());
  core::Changes changes = full_changes(1);
  REQUIRE(store->commit(changes).ok());
  const auto reader = store->usage_reader();
  int rows = 0;
  const Status read = reader->each(0, 1'000, [&](const core::Usage&) {
    ++rows;
    changes.usage[0].to_ms += 1;  // committed from inside the read: it neither waits nor fails
    changes.timeline.clear();
    REQUIRE(store->commit(changes).ok());
  });
  REQUIRE(read.ok());
  CHECK(rows == 1);
  CHECK(store->commit(core::Changes{}).ok());
  store.reset();
  REQUIRE(raw(directory.path()).execute("UPDATE usage SET work='sold'").ok());
  store = open_store(directory.path());
  const Status damaged = store->usage_reader()->each(0, 1'000, [](const core::Usage&) {});
  REQUIRE(!damaged.ok());
  CHECK(damaged.error().message == "the accounting's row of job 6 attempt 1 on node 5 is damaged");
}

TEST_CASE("a damaged database is refused with advice") {
  TemporaryDirectory directory;
  {
    auto store = open_store(directory.path());
    for (std::uint64_t n = 100; n < 400; ++n) REQUIRE(store->commit(submitted(n)).ok());
  }
  const std::string file = directory.path() + "/trainyard.db";
  const int database = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  const std::string garbage(3 * 4096, 'x');
  REQUIRE(::pwrite(database, garbage.data(), garbage.size(), 20 * 4096) == static_cast<ssize_t>(garbage.size()));
  ::close(database);
  CHECK(refusal(directory.path()).find("restore") != std::string::npos);
}

TEST_CASE("a poison row goes to quarantine and stops nothing") {
  TemporaryDirectory directory;
  {
    auto store = open_store(directory.path());
    REQUIRE(store->commit(full_changes(1)).ok());
    for (std::uint64_t n = 100; n < 106; ++n) REQUIRE(store->commit(submitted(n)).ok());
  }
  REQUIRE(raw(directory.path())
              .execute("UPDATE job_specs SET body='{\"spec\":17}' WHERE job=100;"
                       "UPDATE jobs SET body='not json' WHERE id=101;"
                       "UPDATE jobs SET state='levitating' WHERE id=102;"
                       "DELETE FROM job_specs WHERE job=103;"
                       "UPDATE jobs SET experiment=999 WHERE id=104;"
                       "UPDATE groups SET tags='[';"
                       "UPDATE nodes SET inventory='{\"gpus\":3}';"
                       "UPDATE holdings SET reported='odd', gpu_uuids='{';"
                       "UPDATE clusters SET vm_priority='spot'")
              .ok());
  auto store = open_store(directory.path());
  auto tables = store->load();
  REQUIRE(tables.ok());
  const auto warnings = store->take_warnings();
  CHECK(warnings.size() == 10);
  REQUIRE(tables->jobs.size() == 2);  // 6 and 105
  CHECK(same(tables->jobs[1], submitted(105).jobs[0]));
  CHECK(tables->clusters.empty());
  // What keeps revisions, names and GPUs stays, without the damaged part.
  REQUIRE(tables->groups.size() == 1);
  CHECK(tables->groups[0].tags.empty());
  REQUIRE(tables->nodes.size() == 1);
  CHECK(tables->nodes[0].revision == 77);
  REQUIRE(tables->holdings.size() == 1);
  CHECK(tables->holdings[0].gpu_uuids.empty());

  store.reset();
  store = open_store(directory.path());
  tables = store->load();
  REQUIRE(tables.ok());
  CHECK(tables->jobs.size() == 2);
  CHECK(store->take_warnings().size() == 4);  // the damaged parts that were kept, until their rows are written again
  store.reset();
  Connection database = raw(directory.path());
  CHECK(*database.integer("SELECT count(*) FROM quarantine") == 10);
  CHECK(*database.text("SELECT row_json FROM quarantine WHERE row_key='id=101'") != "");
  CHECK(*database.integer("SELECT count(*) FROM jobs WHERE id BETWEEN 100 AND 104") == 0);
}

TEST_CASE("of a job array that cannot be read, the tasks go on as jobs of none") {
  TemporaryDirectory directory;
  REQUIRE(open_store(directory.path())->commit(full_changes(1)).ok());
  REQUIRE(raw(directory.path())
              .execute("UPDATE job_array_specs SET body=replace(body, '\"tasks\":2', '\"tasks\":3') WHERE job_array=14;"
                       "UPDATE job_arrays SET state='levitating' WHERE id=13")
              .ok());
  auto store = open_store(directory.path());
  const auto tables = store->load();
  REQUIRE(tables.ok());
  CHECK(tables->arrays.empty());
  REQUIRE(tables->jobs.size() == 1);
  CHECK(!tables->jobs[0].array);
  CHECK(store->take_warnings().size() == 3);
  store.reset();
  Connection database = raw(directory.path());
  CHECK(*database.integer("SELECT count(*) FROM quarantine") == 3);
  CHECK(*database.integer("SELECT count(*) FROM job_array_specs") == 0);
}

TEST_CASE("a job schedule that cannot be read goes to quarantine; what it made and the other ones are there") {
  TemporaryDirectory directory;
  const std::string damage = GENERATE(as<std::string>(), "cron='0 3 * *'", "cron='0 0 30 2 *'", "utc_offset='CET'",
                                      "overlap='sometimes'", "spec='{}'", "body='{\"recent\":[{}]}'", "experiment=77");
  REQUIRE(open_store(directory.path())->commit(full_changes(1)).ok());
  REQUIRE(raw(directory.path()).execute("UPDATE job_schedules SET " + damage + " WHERE id=15").ok());
  const auto tables = open_store(directory.path())->load();
  REQUIRE(tables.ok());
  INFO(damage);
  REQUIRE(tables->schedules.size() == 1);
  CHECK(tables->schedules[0].id == JobScheduleId{16});
  REQUIRE(tables->jobs.size() == 1);
  CHECK(tables->jobs[0].schedule == JobScheduleId{15});
  auto database = raw(directory.path());
  CHECK(*database.integer("SELECT count(*) FROM quarantine WHERE table_name='job_schedules'") == 1);
}

TEST_CASE("what was given of a job array is written once, however often its counts change") {
  TemporaryDirectory directory;
  {
    auto store = open_store(directory.path());
    REQUIRE(store->commit(full_changes(1)).ok());
  }
  REQUIRE(raw(directory.path()).execute("UPDATE job_array_specs SET body=body||' ' WHERE job_array=13").ok());
  {
    auto store = open_store(directory.path());
    core::Changes more;
    more.meta = full_changes(1).meta;
    more.arrays = {full_array(13)};
    for (more.arrays[0].next = 43; more.arrays[0].next < 46; ++more.arrays[0].next) REQUIRE(store->commit(more).ok());
    CHECK(store->load()->arrays[0].next == 45);
  }
  CHECK(*raw(directory.path()).integer("SELECT body LIKE '% ' FROM job_array_specs WHERE job_array=13") == 1);
}

TEST_CASE("a backup is one whole file that a controller can start from") {
  TemporaryDirectory directory;
  auto store = open_store(directory.path() + "/state");
  REQUIRE(store->commit(full_changes(1)).ok());
  const std::string restored = directory.path() + "/restored";
  REQUIRE(::mkdir(restored.c_str(), 0700) == 0);
  REQUIRE(store->backup(restored + "/trainyard.db").ok());
  CHECK(!store->backup(restored + "/trainyard.db").ok());  // never over an older one
  CHECK(!std::filesystem::exists(restored + "/trainyard.db-wal"));
  REQUIRE(store->commit(submitted(500)).ok());
  auto tables = open_store(restored)->load();
  REQUIRE(tables.ok());
  require_holds(*tables, full_changes(1));
}

}  // namespace trainyard::storage::test
