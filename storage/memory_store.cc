#include "storage/memory_store.h"

#include "storage/row_sql.h"

namespace trainyard::storage {

namespace {

template <class Map>
auto values(const Map& map) {
  std::vector<typename Map::mapped_type> all;
  all.reserve(map.size());
  for (const auto& [key, value] : map) all.push_back(value);
  return all;
}

template <class Map, class Rows, class Keys>
void merge(Map& map, const Rows& rows, const Keys& erased) {
  for (const auto& row : rows) map.insert_or_assign(row.id, row);
  for (const auto& key : erased) map.erase(key);
}

}  // namespace

Result<core::Tables> MemoryStore::load() {
  core::Tables tables{x_meta,
                      values(x_groups),
                      values(x_workspaces),
                      values(x_experiments),
                      values(x_clusters),
                      values(x_nodes),
                      values(x_jobs),
                      values(x_holdings),
                      values(x_accounts),
                      values(x_shares),
                      values(x_file_servers),
                      values(x_requests),
                      values(x_spent),
                      values(x_reservations),
                      values(x_arrays),
                      values(x_schedules)};
  for (core::Node& node : tables.nodes) node.live = {};  // memory only: not part of the row
  return tables;
}

Status MemoryStore::commit(const core::Changes& changes) {
  const bool fails = x_failed || x_commits + 1 == x_fail_at;
  if (!fails) {
    apply(changes);
    ++x_commits;
    return {};
  }
  if (!x_failed && x_fault == Fault::all_written) apply(changes);
  x_failed = true;
  return Error{Code::internal, "commit failed (ordered by the test)"};
}

void MemoryStore::fail_commit(std::uint64_t n, Fault fault) {
  x_fail_at = x_commits + n;
  x_fault = fault;
}

void MemoryStore::apply(const core::Changes& changes) {
  x_meta = changes.meta;
  merge(x_groups, changes.groups, changes.erased_groups);
  merge(x_workspaces, changes.workspaces, changes.erased_workspaces);
  merge(x_experiments, changes.experiments, changes.erased_experiments);
  merge(x_clusters, changes.clusters, changes.erased_clusters);
  merge(x_nodes, changes.nodes, changes.erased_nodes);
  merge(x_jobs, changes.jobs, changes.erased_jobs);
  merge(x_accounts, changes.accounts, changes.erased_accounts);
  merge(x_shares, changes.shares, changes.erased_shares);
  merge(x_arrays, changes.arrays, changes.erased_arrays);
  merge(x_schedules, changes.schedules, changes.erased_schedules);
  merge(x_reservations, changes.reservations, changes.erased_reservations);
  merge(x_file_servers, changes.file_servers, changes.erased_file_servers);
  for (const core::Holding& row : changes.holdings) x_holdings.insert_or_assign(core::key_of(row), row);
  for (const core::HoldingKey& key : changes.erased_holdings) x_holdings.erase(key);
  for (const core::Spent& row : changes.spent) x_spent.insert_or_assign(row.payer, row);
  for (const core::Payer& payer : changes.erased_spent) x_spent.erase(payer);
  for (const core::RequestRecord& row : changes.requests) x_requests.insert_or_assign(row.request_id, row);
  for (const std::string& id : changes.erased_requests) x_requests.erase(id);
  for (const core::TimelineLine& line : changes.timeline) x_timeline.insert_or_assign(line.sequence, line);
  x_usage.insert(x_usage.end(), changes.usage.begin(), changes.usage.end());
}

Result<std::vector<core::TimelineLine>> MemoryStore::timeline(const std::string& subject, std::uint64_t after,
                                                              std::uint32_t limit) {
  const std::string key = subject_key(subject);
  std::vector<core::TimelineLine> lines;
  for (auto line = x_timeline.upper_bound(after); line != x_timeline.end() && lines.size() < limit; ++line) {
    if (key.empty() || subject_key(line->second.subject) == key) lines.push_back(line->second);
  }
  return lines;
}

namespace {

class CopyReader : public UsageReader {
 public:
  explicit CopyReader(std::vector<core::Usage> rows) : x_rows(std::move(rows)) {}
  Status each(TimeMs from_ms, TimeMs to_ms, const std::function<void(const core::Usage&)>& take) override {
    for (const core::Usage& row : x_rows) {
      if (row.to_ms > from_ms && row.from_ms < to_ms) take(row);
    }
    return {};
  }

 private:
  const std::vector<core::Usage> x_rows;
};

}  // namespace

std::unique_ptr<UsageReader> MemoryStore::usage_reader() {
  return std::make_unique<CopyReader>(x_usage);
}

}  // namespace trainyard::storage
