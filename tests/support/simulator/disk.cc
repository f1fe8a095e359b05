#include "tests/support/simulator/disk.h"

namespace trainyard::simulator {
namespace {

template <class Map, class Row, class KeyOf>
void upsert(Map& map, const std::vector<Row>& rows, KeyOf key) {
  for (const Row& row : rows) map.insert_or_assign(key(row), row);
}
template <class Map, class Key>
void erase(Map& map, const std::vector<Key>& keys) {
  for (const Key& key : keys) map.erase(key);
}
template <class Map>
auto values(const Map& map) {
  std::vector<typename Map::mapped_type> rows;
  rows.reserve(map.size());
  for (const auto& [key, row] : map) rows.push_back(row);
  return rows;
}

}  // namespace

bool Disk::apply(const core::Changes& changes) {
  const auto id = [](const auto& row) { return row.id; };
  meta = changes.meta;
  upsert(groups, changes.groups, id);
  upsert(workspaces, changes.workspaces, id);
  upsert(experiments, changes.experiments, id);
  upsert(clusters, changes.clusters, id);
  upsert(nodes, changes.nodes, id);
  upsert(jobs, changes.jobs, id);
  upsert(holdings, changes.holdings, [](const core::Holding& row) { return core::key_of(row); });
  upsert(accounts, changes.accounts, id);
  upsert(shares, changes.shares, id);
  upsert(file_servers, changes.file_servers, id);
  upsert(reservations, changes.reservations, id);
  erase(reservations, changes.erased_reservations);
  upsert(arrays, changes.arrays, id);
  erase(arrays, changes.erased_arrays);
  upsert(schedules, changes.schedules, id);
  erase(schedules, changes.erased_schedules);
  upsert(requests, changes.requests, [](const core::RequestRecord& row) { return row.request_id; });
  upsert(spent, changes.spent, [](const core::Spent& row) { return row.payer; });
  erase(spent, changes.erased_spent);
  erase(groups, changes.erased_groups);
  erase(workspaces, changes.erased_workspaces);
  erase(experiments, changes.erased_experiments);
  erase(clusters, changes.erased_clusters);
  erase(nodes, changes.erased_nodes);
  erase(jobs, changes.erased_jobs);
  erase(holdings, changes.erased_holdings);
  erase(accounts, changes.erased_accounts);
  erase(shares, changes.erased_shares);
  erase(file_servers, changes.erased_file_servers);
  erase(requests, changes.erased_requests);
  bool gap_free = true;
  for (const core::TimelineLine& line : changes.timeline) gap_free = gap_free && line.sequence == ++last_timeline;
  return gap_free && meta.next_timeline == last_timeline + 1;
}

core::Tables Disk::tables() const {
  core::Tables tables{.meta = meta,
                      .groups = values(groups),
                      .workspaces = values(workspaces),
                      .experiments = values(experiments),
                      .clusters = values(clusters),
                      .nodes = values(nodes),
                      .jobs = values(jobs),
                      .holdings = values(holdings),
                      .accounts = values(accounts),
                      .shares = values(shares),
                      .file_servers = values(file_servers),
                      .requests = values(requests),
                      .spent = values(spent),
                      .reservations = values(reservations),
                      .arrays = values(arrays),
                      .schedules = values(schedules)};
  for (core::Node& node : tables.nodes) node.live = {};  // memory only
  return tables;
}

}  // namespace trainyard::simulator
