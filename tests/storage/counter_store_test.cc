// The series of the nodes' counters: what is kept how long, and what a restart, a full disk or a damaged file costs.
#include "storage/counter_store.h"

#include <sqlite3.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "storage/counter_codec.h"
#include "tests/storage/rows.h"

namespace trainyard::storage::test {

namespace {

constexpr DurationMs kMinute = 60'000, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr TimeMs kStart = 1'700'000'100'000;  // where an interval of five minutes begins
static_assert(kStart % kAveragedOverMs == 0);

NodeSample sample(const std::string& node, TimeMs time_ms, double cpu) {
  CounterSample out;
  out.time_ms = time_ms;
  out.cpu_percent = cpu;
  out.memory_used_bytes = 5ULL << 30;
  out.memory_total_bytes = 64ULL << 30;
  out.received_bytes_per_s = 123'456;
  out.sent_bytes_per_s = 7;
  return {node, out};
}

std::unique_ptr<CounterStore> opened(const std::string& path) {
  auto store = CounterStore::open(path);
  REQUIRE((store ? "" : store.error().message) == std::string());
  return std::move(store).value();
}

std::vector<CounterSample> all(CounterStore& store, const std::string& node) {
  auto samples = store.read(node, 0, kStart + 400 * kDay);
  REQUIRE(samples.ok());
  return std::move(samples).value();
}

// A node that sends every 15 s, its CPU as busy as the hour of the day.
void live(CounterStore& store, const std::string& node, TimeMs from, TimeMs to) {
  std::vector<NodeSample> batch;
  for (TimeMs time = from + 15'000; time <= to; time += 15'000) {
    batch.push_back(sample(node, time, static_cast<double>((time - 1) / kHour % 24)));
    if (batch.size() < 500 && time + 15'000 <= to) continue;
    REQUIRE(store.append(batch).ok());
    batch.clear();
  }
}

std::int64_t count_rows(const std::string& path) {
  sqlite3* database = nullptr;
  std::int64_t rows = -1;
  REQUIRE(sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  const auto take = [](void* into, int, char** values, char**) {
    *static_cast<std::int64_t*>(into) = std::atoll(values[0]);
    return 0;
  };
  sqlite3_exec(database, "SELECT count(*) FROM samples", take, &rows, nullptr);
  sqlite3_close(database);
  return rows;
}

}  // namespace

TEST_CASE("series are listed by how their names begin") {
  const TemporaryDirectory directory;
  const auto store = opened(directory.path() + "/counters.db");
  for (const char* name : {"job/1/1/b", "job/1/2/a", "job/1/1/a", "job/11/1/a", "job", "n1"}) {
    REQUIRE(store->append({sample(name, kStart, 1)}).ok());
  }
  CHECK(store->names("job/1/").value() == std::vector<std::string>{"job/1/1/a", "job/1/1/b", "job/1/2/a"});
  CHECK(store->names("job/2/").value().empty());
}

TEST_CASE("counters: what was written is read back, also after a restart, and only for its node") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/counters.db";
  auto one = sample("one", kStart + 10'000, 12.34);
  one.sample.gpus = {{"GPU-a", 99.5, 40ULL << 30, 312.25, 71.0}, {"GPU-b", std::nullopt, std::nullopt, 60.0, {}}};
  {
    auto store = opened(path);
    REQUIRE(store->append({one, sample("two", kStart + 20'000, 50), sample("one", kStart + 20'000, 60)}).ok());
  }
  auto store = opened(path);
  const auto samples = all(*store, "one");
  REQUIRE(samples.size() == 2);
  CHECK(samples[0] == one.sample);
  CHECK(samples[1].cpu_percent == 60);
  CHECK(all(*store, "two").size() == 1);
  CHECK(all(*store, "three").empty());
  // from < time <= to
  CHECK(store->read("one", kStart + 10'000, kStart + 20'000)->size() == 1);
  CHECK(store->read("one", kStart + 9'999, kStart + 19'999)->front().time_ms == kStart + 10'000);
  // The same time again: the later word counts.
  REQUIRE(store->append({sample("one", kStart + 20'000, 61)}).ok());
  CHECK(all(*store, "one")[1].cpu_percent == 61);
}

TEST_CASE("counters: 6 hours as they were sent, before that averages over 5 minutes, after 30 days nothing") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/counters.db";
  const TimeMs end = kStart + 32 * kDay;
  {
    auto store = opened(path);
    live(*store, "one", kStart, kStart + 16 * kDay + 7 * kMinute);
  }
  auto store = opened(path);  // in the middle of an interval
  live(*store, "one", kStart + 16 * kDay + 7 * kMinute, end);
  const auto samples = all(*store, "one");
  const auto as_sent = std::count_if(samples.begin(), samples.end(),
                                     [&](const CounterSample& each) { return each.time_ms > end - 6 * kHour; });
  CHECK(as_sent == 6 * 240);
  CHECK(samples.front().time_ms >= end - 30 * kDay);
  CHECK(samples.front().time_ms <= end - 30 * kDay + 2 * kAveragedOverMs);
  bool every_interval_once = true, right = true;
  for (std::size_t i = 1; i < samples.size(); ++i) {
    const DurationMs apart = samples[i].time_ms - samples[i - 1].time_ms;
    every_interval_once &= apart == 15'000 || (apart == kAveragedOverMs && samples[i].time_ms <= end - 6 * kHour);
    right &= samples[i].cpu_percent == static_cast<double>((samples[i].time_ms - 1) / kHour % 24);
    right &= samples[i].memory_used_bytes == 5ULL << 30 && samples[i].received_bytes_per_s == 123'456;
  }
  CHECK(every_interval_once);
  CHECK(right);
  store = nullptr;
  // The bound that docs/decisions/0030 states, with an interval's worth to go at the next one's end.
  CHECK(count_rows(path) <= 6 * 240 + 30 * 288 + 21 + 1);
}

TEST_CASE("counters: an average is the mean of what there is, GPU by GPU") {
  TemporaryDirectory directory;
  auto store = opened(directory.path() + "/counters.db");
  auto first = sample("one", kStart + 1000, 10), second = sample("one", kStart + 2000, 20),
       last = sample("one", kStart + kAveragedOverMs, 60);
  first.sample.gpus = {{"GPU-a", 100.0, 10ULL << 30, std::nullopt, 50.0}};
  second.sample.gpus = {{"GPU-a", 50.0, 20ULL << 30, std::nullopt, 60.0}, {"GPU-b", 7.0, {}, {}, {}}};
  REQUIRE(store->append({first, second, last, sample("one", kStart + kAveragedOverMs + 1, 99)}).ok());
  // Seven hours later only the averages are left of it.
  REQUIRE(store->append({sample("one", kStart + 7 * kHour, 1)}).ok());
  const auto samples = all(*store, "one");
  REQUIRE(samples.size() == 3);
  CHECK(samples[0].time_ms == kStart + kAveragedOverMs);
  CHECK(samples[0].cpu_percent == 30);
  const std::vector<GpuCounters> gpus = {{"GPU-a", 75.0, 15ULL << 30, std::nullopt, 55.0}, {"GPU-b", 7.0, {}, {}, {}}};
  CHECK(samples[0].gpus == gpus);
  CHECK(samples[1].cpu_percent == 99);
}

TEST_CASE("counters: a node that fell silent is averaged and then forgotten by sweeps") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/counters.db";
  auto store = opened(path);
  live(*store, "gone", kStart, kStart + kHour + kMinute);
  live(*store, "stays", kStart + 29 * kDay, kStart + 29 * kDay + kMinute);
  REQUIRE(store->sweep(kStart + 8 * kHour).ok());
  auto left = all(*store, "gone");
  REQUIRE(left.size() == 13);
  CHECK(left.back().time_ms == kStart + kHour + kAveragedOverMs);
  REQUIRE(store->sweep(kStart + 31 * kDay).ok());
  CHECK(all(*store, "gone").empty());
  CHECK(all(*store, "stays").size() == 1);
  store = nullptr;
  CHECK(count_rows(path) == 1);
}

TEST_CASE("counters: GPUs with ever new names do not pile up") {
  TemporaryDirectory directory;
  auto store = opened(directory.path() + "/counters.db");
  for (int i = 0; i < 500; ++i) {
    auto each = sample("one", kStart + 1000 * (i + 1), 1);
    each.sample.gpus = {{"MIG-" + std::to_string(i), 1.0, {}, {}, {}}};
    REQUIRE(store->append({each}).ok());
  }
  const auto samples = all(*store, "one");
  CHECK(samples.back().gpus.at(0).uuid == "MIG-499");
  CHECK(std::count_if(samples.begin(), samples.end(), [](const auto& each) { return !each.gpus.empty(); }) <= 64);
}

TEST_CASE("counters: a damaged file is told from one that cannot be opened, and put aside") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/counters.db";
  SECTION("no database") {
    std::ofstream(path) << std::string(10'000, 'x');
  }
  SECTION("of another version") {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    sqlite3_exec(database, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
    sqlite3_close(database);
  }
  SECTION("without its tables") {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    sqlite3_exec(database, "PRAGMA user_version = 1", nullptr, nullptr, nullptr);
    sqlite3_close(database);
  }
  const auto failed = CounterStore::open(path);
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Code::data_loss);
  REQUIRE(put_aside(path).ok());
  CHECK(std::filesystem::exists(path + ".damaged"));
  CHECK(opened(path)->append({sample("one", kStart + 1, 1)}).ok());
  CHECK(CounterStore::open(directory.path() + "/none/counters.db").error().code != Code::data_loss);
}

TEST_CASE("counters: damage in the middle is found when it is met") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/counters.db";
  {
    auto store = opened(path);
    live(*store, "one", kStart, kStart + kDay);
  }
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::string junk(std::filesystem::file_size(path) - 4096, '\xff');
    file.seekp(4096);
    file << junk;
  }
  auto store = CounterStore::open(path);
  if (store) {
    const auto samples = (*store)->read("one", 0, kStart + 2 * kDay);
    REQUIRE_FALSE(samples.ok());
    CHECK(samples.error().code == Code::data_loss);
    CHECK((*store)->append({sample("one", kStart + 2 * kDay, 1)}).error().code == Code::data_loss);
  } else {
    CHECK(store.error().code == Code::data_loss);
  }
}

TEST_CASE("counters: bytes that no sample was written as are no sample") {
  const auto uuid_of = [](std::uint64_t) { return std::optional<std::string>("GPU"); };
  const auto number_of = [](const std::string&) { return std::optional<std::uint64_t>(300); };
  auto whole = sample("one", 1, 50).sample;
  whole.gpus = {{"GPU", 1.0, 1 << 20, 2.0, 3.0}};
  const std::string bytes = encode_sample(whole, number_of);
  CHECK(decode_sample(1, bytes, uuid_of) == whole);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto part = decode_sample(1, std::string_view(bytes).substr(0, size), uuid_of);
    CHECK((!part || part->gpus.empty()));
  }
  CHECK_FALSE(decode_sample(1, std::string(40, '\xff'), uuid_of));
  CHECK_FALSE(decode_sample(1, "\x02 of a newer version", uuid_of));
}

}  // namespace trainyard::storage::test
