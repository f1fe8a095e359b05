// The oracle's half for who has how much: limits of workspaces; and for the accounting: what was held, watched from
// outside, against the rows that the core writes.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "controller/core/accounting.h"
#include "tests/support/simulator/oracle.h"

namespace trainyard::simulator {
namespace {

std::string text(AttemptId id) {
  return fmt::format("job {} attempt {}", id.job.value, id.attempt);
}

}  // namespace

void Oracle::held(TimeMs controller_ms, const core::State& state) {
  std::int64_t units = 0;
  for (const auto& [key, holding] : state.holdings) units += std::max<std::int64_t>(1, std::ssize(holding.gpu_uuids));
  x_held.push_back({controller_ms, units});
}

// What a workspace is given keeps it within its limit, as that is when it is given. (It may be lowered later: nobody is
// ended for that.)
void Oracle::check_quotas(const core::Changes& changes, const Disk& disk) {
  std::map<WorkspaceId, std::uint32_t> has;  // those that are given something
  for (const core::Holding& holding : changes.holdings) {
    if (!disk.holdings.contains(core::key_of(holding))) has[holding.payer.workspace] += core::gpus_of(holding);
  }
  if (has.empty()) return;
  const auto& erased = changes.erased_holdings;
  for (const auto& [key, holding] : disk.holdings) {
    const auto of = has.find(holding.payer.workspace);
    if (of != has.end() && std::find(erased.begin(), erased.end(), key) == erased.end()) {
      of->second += core::gpus_of(holding);
    }
  }
  for (const auto& [id, gpus] : has) {
    const auto stored = disk.workspaces.find(id);
    std::uint32_t limit = stored == disk.workspaces.end() ? 0 : stored->second.quota.limit;
    for (const core::Workspace& written : changes.workspaces) {
      if (written.id == id) limit = written.quota.limit;
    }
    if (limit == 0) continue;
    x_world.hit("GPUs given within a limit");
    if (gpus == limit) x_world.hit("limit reached");
    if (gpus > limit)
      x_world.fail(fmt::format("I16: workspace {} is given {} GPUs, its limit is {}", id.value, gpus, limit));
  }
}

// A row for each holding that ends; rows of one attempt agree on when it ran and how it ended.
void Oracle::check_usage(const core::Changes& changes, const Disk& disk) {
  std::set<core::HoldingKey> rows;
  for (const core::Usage& row : changes.usage) {
    const std::string about = fmt::format("{} on {}", text(row.id), row.node_name);
    if (!rows.insert({row.node, row.id}).second) x_world.fail(fmt::format("I11: {} is accounted twice", about));
    const auto [first, is_first] = x_attempts.try_emplace(row.id, row);
    const core::Usage& other = first->second;
    if (other.running_ms != row.running_ms || other.stopped_ms != row.stopped_ms || other.work != row.work ||
        other.from_ms != row.from_ms || other.job_path != row.job_path || other.owner != row.owner) {
      x_world.fail(fmt::format("I11: the rows of {} do not agree", about));
    }
    if (row.running_ms < row.stopped_ms && !x_started.contains(row.id)) {
      x_world.fail(fmt::format("I11: {} is accounted as running, no head was started", about));
    }
    x_accounted_ms += core::gpu_time(row).sum();
    constexpr const char* kNames[] = {"usage kept", "usage lost", "usage requeued"};
    if (is_first && row.running_ms < row.stopped_ms) x_world.hit(kNames[static_cast<int>(row.work)]);
  }
  for (const core::HoldingKey& key : changes.erased_holdings) {
    if (disk.holdings.contains(key) && !rows.contains(key)) {
      x_world.fail(fmt::format("I11: {} ended and is not accounted", text(key.second)));
    }
  }
}

// What was accounted, and what open holdings have had, is what was held, to the millisecond.
void Oracle::check_allocated(const core::Changes& changes) {
  for (const core::HoldingKey& key : changes.erased_holdings) x_open.erase(key);
  for (const core::Holding& holding : changes.holdings) {
    core::Usage& open = x_open[core::key_of(holding)];
    open.units = static_cast<std::uint32_t>(std::max<std::int64_t>(1, std::ssize(holding.gpu_uuids)));
    open.from_ms = holding.since_ms;
  }
  if (x_held.empty()) return;
  for (const Held& next : x_held) {
    x_allocated_ms += x_held_last.units * (next.at_ms - x_held_last.at_ms);
    x_held_last = next;
  }
  x_held.clear();
  std::int64_t sum_ms = x_accounted_ms;
  for (const auto& [key, open] : x_open) sum_ms += open.units * (x_held_last.at_ms - open.from_ms);
  if (sum_ms != x_allocated_ms) {
    x_world.fail(fmt::format("I11: {} GPU ms are accounted, {} were allocated", sum_ms, x_allocated_ms));
  }
}

}  // namespace trainyard::simulator
