#include "storage/counter_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "storage/counter_codec.h"
#include "storage/sqlite.h"

namespace trainyard::storage {
namespace {

constexpr std::int64_t kSchema = 1;
constexpr std::size_t kMostGpusOfANode = 64;
enum Kind : std::int64_t { kAsSent = 0, kAverage = 1 };

// A node's rows lie beside each other. A number of a GPU that was removed is in old samples still: never used again.
// averaged_to: the end of its last interval that was averaged.
constexpr const char* kTables = R"(
  CREATE TABLE nodes(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, averaged_to INTEGER NOT NULL);
  CREATE TABLE gpus(id INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, uuid TEXT NOT NULL, UNIQUE(node, uuid));
  CREATE TABLE samples(node INTEGER NOT NULL, kind INTEGER NOT NULL, time INTEGER NOT NULL, sample BLOB NOT NULL,
                       PRIMARY KEY(node, kind, time)) WITHOUT ROWID;
  PRAGMA user_version = 1;
)";

// Some pages of many nodes change per second: a longer log lets them change several times before they are copied.
constexpr const char* kPragmas = R"(
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA wal_autocheckpoint = 4000;
  PRAGMA journal_size_limit = 67108864;
  PRAGMA cache_size = -16000;
)";

// Of the interval that has the time: intervals are (start, start + kAveragedOverMs].
TimeMs interval_start(TimeMs time_ms) {
  return (time_ms - 1) / kAveragedOverMs * kAveragedOverMs;
}

}  // namespace

struct CounterStore::Impl {
  struct Node {
    std::int64_t id = 0;
    TimeMs averaged_to = 0;
    std::map<std::string, std::uint64_t> gpus;
  };

  Impl(Connection opened, CounterRetention kept) : connection(std::move(opened)), retention(kept) {}

  Status prepare();
  Status check(const char* doing, int code) {
    return code == kSqlOk ? Status() : Status(connection.error(std::string("counters: ") + doing, code));
  }
  template <class Work>
  Status in_transaction(Work work);

  Result<Node*> find(const std::string& name);
  Result<Node*> find_or_add(const std::string& name, TimeMs time_ms);
  Result<std::vector<CounterSample>> rows(const Node& node, Kind kind, TimeMs from_ms, TimeMs to_ms);
  std::optional<std::uint64_t> number_of(Node& node, const std::string& uuid, const CounterSample& sample);
  Status insert(Node& node, Kind kind, const CounterSample& sample);
  Status average(Node& node, TimeMs to_ms);
  Status forget_old(const Node& node, TimeMs now_ms);
  Status remove_if_empty(const std::string& name);

  Connection connection;
  const CounterRetention retention;
  std::map<std::string, Node> nodes;  // those that were looked at
  Statement find_node, find_names, add_node, set_averaged, silent_nodes, remove_node, find_gpus, add_gpu, remove_gpu,
      remove_gpus, put, select, oldest, any, forget;
};

Status CounterStore::Impl::prepare() {
  const std::pair<Statement*, const char*> all[] = {
      {&find_node, "SELECT id, averaged_to FROM nodes WHERE name = ?"},
      {&find_names, "SELECT name FROM nodes WHERE name >= ? AND name < ? ORDER BY name"},
      {&add_node, "INSERT INTO nodes(name, averaged_to) VALUES(?, ?)"},
      {&set_averaged, "UPDATE nodes SET averaged_to = ? WHERE id = ?"},
      {&silent_nodes, "SELECT name FROM nodes WHERE averaged_to < ?"},
      {&remove_node, "DELETE FROM nodes WHERE id = ?"},
      {&find_gpus, "SELECT id, uuid FROM gpus WHERE node = ?"},
      {&add_gpu, "INSERT INTO gpus(node, uuid) VALUES(?, ?)"},
      {&remove_gpu, "DELETE FROM gpus WHERE id = ?"},
      {&remove_gpus, "DELETE FROM gpus WHERE node = ?"},
      {&put, "INSERT OR REPLACE INTO samples(node, kind, time, sample) VALUES(?, ?, ?, ?)"},
      {&select,
       "SELECT time, sample FROM samples WHERE node = ? AND kind = ? AND time > ? AND time <= ? ORDER BY time"},
      {&oldest, "SELECT time FROM samples WHERE node = ? AND kind = ? ORDER BY time LIMIT 1"},
      {&any, "SELECT 1 FROM samples WHERE node = ? LIMIT 1"},
      {&forget, "DELETE FROM samples WHERE node = ? AND kind = ? AND time <= ?"},
  };
  for (const auto& [statement, sql] : all) {
    auto prepared = connection.prepare(sql);
    if (!prepared) return prepared.error();
    *statement = std::move(prepared).value();
  }
  return {};
}

template <class Work>
Status CounterStore::Impl::in_transaction(Work work) {
  if (Status begun = connection.execute("BEGIN IMMEDIATE"); !begun) return begun;
  Status done = work();
  if (done) done = connection.execute("COMMIT");
  if (!done) {
    connection.roll_back();
    nodes.clear();  // what is remembered may not have come to be
  }
  return done;
}

// Null: the node has no samples.
Result<CounterStore::Impl::Node*> CounterStore::Impl::find(const std::string& name) {
  if (const auto known = nodes.find(name); known != nodes.end()) return &known->second;
  Node node;
  find_node.start(name);
  const bool found = find_node.next();
  if (found) {
    node.id = find_node.integer(0);
    node.averaged_to = find_node.integer(1);
  }
  if (Status read = check("finding a node", find_node.finish()); !read) return read.error();
  if (!found) return static_cast<Node*>(nullptr);
  find_gpus.start(node.id);
  while (find_gpus.next()) node.gpus[find_gpus.text(1)] = find_gpus.number(0);
  if (Status read = check("finding its GPUs", find_gpus.finish()); !read) return read.error();
  return &(nodes[name] = std::move(node));
}

Result<CounterStore::Impl::Node*> CounterStore::Impl::find_or_add(const std::string& name, TimeMs time_ms) {
  auto found = find(name);
  if (!found || *found != nullptr) return found;
  if (Status added = check("adding a node", add_node.run(name, interval_start(time_ms))); !added) return added.error();
  return find(name);
}

Result<std::vector<CounterSample>> CounterStore::Impl::rows(const Node& node, Kind kind, TimeMs from_ms, TimeMs to_ms) {
  std::map<std::uint64_t, std::string> uuids;
  for (const auto& [uuid, number] : node.gpus) uuids[number] = uuid;
  const auto uuid_of = [&](std::uint64_t number) {
    const auto found = uuids.find(number);
    return found == uuids.end() ? std::nullopt : std::optional(found->second);
  };
  std::vector<CounterSample> samples;
  select.start(node.id, static_cast<std::int64_t>(kind), from_ms, to_ms);
  while (select.next()) {
    if (auto sample = decode_sample(select.integer(0), select.bytes(1), uuid_of)) samples.push_back(std::move(*sample));
  }
  if (Status read = check("reading samples", select.finish()); !read) return read.error();
  return samples;
}

// A node whose GPUs have ever new names (MIG instances come and go) loses the names that it does not use now.
std::optional<std::uint64_t> CounterStore::Impl::number_of(Node& node, const std::string& uuid,
                                                           const CounterSample& sample) {
  if (const auto known = node.gpus.find(uuid); known != node.gpus.end()) return known->second;
  if (node.gpus.size() >= kMostGpusOfANode) {
    std::set<std::string> used;
    for (const GpuCounters& gpu : sample.gpus) used.insert(gpu.uuid);
    for (auto it = node.gpus.begin(); it != node.gpus.end();) {
      if (!used.contains(it->first) && remove_gpu.run(it->second) == kSqlOk) {
        it = node.gpus.erase(it);
      } else {
        ++it;
      }
    }
    if (node.gpus.size() >= kMostGpusOfANode) return std::nullopt;
  }
  if (add_gpu.run(node.id, uuid) != kSqlOk) return std::nullopt;
  return node.gpus[uuid] = static_cast<std::uint64_t>(connection.last_row_id());
}

Status CounterStore::Impl::insert(Node& node, Kind kind, const CounterSample& sample) {
  const std::string bytes =
      encode_sample(sample, [&](const std::string& uuid) { return number_of(node, uuid, sample); });
  return check("writing a sample", put.run(node.id, static_cast<std::int64_t>(kind), sample.time_ms, Blob{bytes}));
}

// All whole intervals up to `to_ms` that were not averaged yet.
Status CounterStore::Impl::average(Node& node, TimeMs to_ms) {
  auto samples = rows(node, kAsSent, node.averaged_to, to_ms);
  if (!samples) return samples.error();
  for (const CounterSample& mean : averaged_over(*samples, node.averaged_to, kAveragedOverMs)) {
    if (Status written = insert(node, kAverage, mean); !written) return written;
  }
  node.averaged_to = to_ms;
  return check("noting averages", set_averaged.run(to_ms, node.id));
}

Status CounterStore::Impl::forget_old(const Node& node, TimeMs now_ms) {
  // Whole intervals: what is left as it was sent begins where an average ends.
  const TimeMs as_sent = interval_start(now_ms - retention.as_sent_ms);
  if (Status done = check("retention", forget.run(node.id, static_cast<std::int64_t>(kAsSent), as_sent)); !done) {
    return done;
  }
  const TimeMs averages = now_ms - retention.averages_ms;
  return check("retention", forget.run(node.id, static_cast<std::int64_t>(kAverage), averages));
}

Status CounterStore::Impl::remove_if_empty(const std::string& name) {
  const Node& node = nodes.at(name);
  any.start(node.id);
  const bool has_samples = any.next();
  if (Status read = check("looking for samples", any.finish()); !read || has_samples) return read;
  if (Status done = check("removing GPUs", remove_gpus.run(node.id)); !done) return done;
  if (Status done = check("removing a node", remove_node.run(node.id)); !done) return done;
  nodes.erase(name);
  return {};
}

CounterStore::CounterStore(std::unique_ptr<Impl> impl) : x_impl(std::move(impl)) {}
CounterStore::~CounterStore() = default;

Result<std::unique_ptr<CounterStore>> CounterStore::open(const std::string& path, CounterRetention retention) {
  auto connection = Connection::open(path, Connection::Mode::read_write);
  if (!connection) return connection.error();
  if (Status set = connection->execute(kPragmas); !set) return set.error();
  auto version = connection->integer("PRAGMA user_version");
  if (!version) return version.error();
  if (*version == 0) {
    if (Status made = connection->execute(kTables); !made) return made.error();
  } else if (*version != kSchema) {
    return Error{Code::data_loss, fmt::format("{} is of another version of Trainyard (schema {})", path, *version)};
  }
  auto impl = std::make_unique<Impl>(std::move(connection).value(), retention);
  if (Status prepared = impl->prepare(); !prepared) {
    return Error{Code::data_loss, fmt::format("{} has not the tables it should: {}", path, prepared.error().message)};
  }
  return std::unique_ptr<CounterStore>(new CounterStore(std::move(impl)));
}

Status CounterStore::append(const std::vector<NodeSample>& samples) {
  Impl& impl = *x_impl;
  return impl.in_transaction([&]() -> Status {
    for (const NodeSample& each : samples) {
      const TimeMs time_ms = each.sample.time_ms;
      auto node = impl.find_or_add(each.node, time_ms);
      if (!node) return node.error();
      if (interval_start(time_ms) > (*node)->averaged_to) {
        if (Status done = impl.average(**node, interval_start(time_ms)); !done) return done;
        if (Status done = impl.forget_old(**node, time_ms); !done) return done;
      }
      if (Status done = impl.insert(**node, kAsSent, each.sample); !done) return done;
    }
    return {};
  });
}

Status CounterStore::sweep(TimeMs now_ms) {
  Impl& impl = *x_impl;
  return impl.in_transaction([&]() -> Status {
    const TimeMs to_ms = interval_start(now_ms);
    std::vector<std::string> silent;
    impl.silent_nodes.start(to_ms);
    while (impl.silent_nodes.next()) silent.push_back(impl.silent_nodes.text(0));
    if (Status read = impl.check("listing nodes", impl.silent_nodes.finish()); !read) return read;
    for (const std::string& name : silent) {
      auto node = impl.find(name);
      if (!node) return node.error();
      if (Status done = impl.average(**node, to_ms); !done) return done;
      if (Status done = impl.forget_old(**node, now_ms); !done) return done;
      if (Status done = impl.remove_if_empty(name); !done) return done;
    }
    return {};
  });
}

Result<std::vector<CounterSample>> CounterStore::read(const std::string& name, TimeMs from_ms, TimeMs to_ms) {
  Impl& impl = *x_impl;
  auto node = impl.find(name);
  if (!node) return node.error();
  if (*node == nullptr) return std::vector<CounterSample>();
  impl.oldest.start((*node)->id, static_cast<std::int64_t>(kAsSent));
  const TimeMs as_sent_from = impl.oldest.next() ? interval_start(impl.oldest.integer(0)) : to_ms;
  if (Status read = impl.check("reading samples", impl.oldest.finish()); !read) return read.error();
  auto samples = impl.rows(**node, kAverage, from_ms, std::min(to_ms, as_sent_from));
  if (!samples) return samples;
  auto newer = impl.rows(**node, kAsSent, from_ms, to_ms);
  if (!newer) return newer;
  samples->insert(samples->end(), newer->begin(), newer->end());
  return samples;
}

Result<std::vector<std::string>> CounterStore::names(const std::string& prefix) {
  Impl& impl = *x_impl;
  std::vector<std::string> found;
  // Names are ASCII: nothing that begins so comes after this.
  impl.find_names.start(prefix, prefix + "\x7f");
  while (impl.find_names.next()) found.push_back(impl.find_names.text(0));
  if (Status read = impl.check("listing series", impl.find_names.finish()); !read) return read.error();
  return found;
}

Status put_aside(const std::string& path) {
  for (const char* log : {"-wal", "-shm"}) ::unlink((path + log).c_str());
  if (std::rename(path.c_str(), (path + ".damaged").c_str()) != 0 && errno != ENOENT) {
    return Error{Code::internal, fmt::format("cannot rename {}: {}", path, std::strerror(errno))};
  }
  return {};
}

}  // namespace trainyard::storage
