#include "agent/loop/limit_watch.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "agent/exec/mpirun.h"
#include "agent/loop/isolation.h"
#include "agent/loop/node_files.h"

namespace trainyard::agent {
namespace {

// What this attempt has of the node, against its neighbours.
LimitSettings with_share(const ExecutorContext& context, const Launch& launch,
                         const std::vector<std::string>& gpu_uuids) {
  LimitSettings settings = context.limits;
  if (launch.spec.gpus_per_node == 0) return settings;
  settings.gpus = static_cast<std::uint32_t>(gpu_uuids.size());
  settings.node_gpus = context.facts.gpu_count;
  settings.refused_devices = devices_of_others("/proc/driver/nvidia/gpus", gpu_uuids);
  return settings;
}

constexpr std::chrono::milliseconds kLookEvery(250);

}  // namespace

LimitWatch::LimitWatch(ExecutorContext& context, const Place& place, std::shared_ptr<const Launch> launch,
                       std::uint32_t member, const HoldingPaths& paths, const std::vector<std::string>& gpu_uuids)
    : x_context(context),
      x_launch(std::move(launch)),
      x_member(member),
      x_paths(paths),
      x_limits(limits_of(context, place, with_share(context, *x_launch, gpu_uuids))),
      x_timer(context.io) {}

Status LimitWatch::create() const {
  if (auto made = x_limits.create(); !made) return made;
  if (const auto made = x_limits.create_share(); !made) {
    spdlog::warn("job {} shares the node without all of its weights: {}", x_launch->job_name, made.error().message);
  }
  return {};
}

void LimitWatch::start(std::function<void(NodeError)> exceeded) {
  const bool bounds_logs = x_context.log_limit_bytes != 0 && runs_under_mpi(*x_launch);
  if (x_context.limits.memory_bytes == 0 && !bounds_logs) return;  // nothing to look at
  x_exceeded = std::move(exceeded);
  look();
}

void LimitWatch::stop() {
  x_exceeded = nullptr;
  x_timer.cancel();
}

std::optional<NodeError> LimitWatch::out_of_memory() const {
  const auto found = x_limits.out_of_memory();
  if (!found) return std::nullopt;
  constexpr double kGib = 1024.0 * 1024 * 1024;
  std::string peak;
  if (found->peak_bytes != 0) peak = fmt::format(", at its peak {:.2f}", static_cast<double>(found->peak_bytes) / kGib);
  return NodeError{
      .code = "OutOfMemory",
      .message = fmt::format("the job's processes on node {} needed more than the {:.2f} GiB of memory "
                             "that they may use there{}; {} of them were killed",
                             x_context.node_name, static_cast<double>(found->limit_bytes) / kGib, peak, found->kills),
      .details = {{"node", x_context.node_name},
                  {"limitBytes", std::to_string(found->limit_bytes)},
                  {"peakBytes", std::to_string(found->peak_bytes)}}};
}

void LimitWatch::look() {
  if (!x_exceeded) return;
  if (auto error = out_of_memory()) return std::exchange(x_exceeded, nullptr)(std::move(*error));
  bound_rank_logs();
  x_timer.expires_after(kLookEvery);
  x_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!error && self) self->look();
  });
}

// Open MPI writes these without a limit. What is beyond ours is never shipped, so its room on the disk is given back.
void LimitWatch::bound_rank_logs() const {
  if (x_context.log_limit_bytes == 0 || !runs_under_mpi(*x_launch)) return;
  const RankLayout layout = rank_layout(*x_launch);
  for (const std::uint32_t rank : logged_ranks(layout, x_member)) {
    for (const char* name : {"/stdout", "/stderr"}) {
      const std::string path = rank_log_directory(layout, x_paths, rank) + name;
      give_back_beyond(guarded(x_paths.rank_logs, path), x_context.log_limit_bytes);
    }
  }
}

}  // namespace trainyard::agent
