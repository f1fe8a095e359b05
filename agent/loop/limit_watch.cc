#include "agent/loop/limit_watch.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

#include "agent/exec/mpirun.h"
#include "agent/loop/isolation.h"
#include "agent/loop/node_files.h"
#include "agent/probe/shares.h"
#include "common/cpu_list.h"

namespace trainyard::agent {
namespace {

// What this attempt has of the node, against its neighbours.
LimitSettings with_share(const ExecutorContext& context, const Launch& launch,
                         const std::vector<std::string>& gpu_uuids) {
  LimitSettings settings = context.limits;
  if (launch.spec.gpus_per_node == 0) return settings;
  const auto share = [&](std::uint64_t& limit) {
    if (limit != 0) limit = part_of(limit, context.gpus, gpu_uuids);
  };
  settings.gpus = static_cast<std::uint32_t>(gpu_uuids.size());
  settings.node_gpus = count_parts(context.gpus);
  settings.cores = cores_of(context.gpus, gpu_uuids);
  if (context.parts_memory_bytes != 0) settings.memory_bytes = context.parts_memory_bytes, share(settings.memory_bytes);
  share(settings.cpu_percent);
  for (DiskLimit& disk : settings.disks) {
    for (std::uint64_t* limit : {&disk.read_bytes, &disk.write_bytes, &disk.reads, &disk.writes}) share(*limit);
  }
  settings.refused_devices = devices_of_others("/proc/driver/nvidia/gpus", gpu_uuids);
  return settings;
}

constexpr std::chrono::milliseconds kLookEvery(250);
constexpr double kGib = 1024.0 * 1024 * 1024;

}  // namespace

LimitWatch::LimitWatch(ExecutorContext& context, const Place& place, std::shared_ptr<const Launch> launch,
                       std::uint32_t member, const HoldingPaths& paths, const std::vector<std::string>& gpu_uuids)
    : x_context(context),
      x_place(place),
      x_launch(std::move(launch)),
      x_member(member),
      x_paths(paths),
      x_limits(limits_of(context, place, with_share(context, *x_launch, gpu_uuids))),
      x_timer(context.io) {}

Status LimitWatch::create() const {
  if (auto made = x_limits.create(); !made) return made;
  if (const auto made = x_limits.create_share(); !made) {
    spdlog::warn("job {} shares the node without all of what is its own: {}", x_launch->job_name, made.error().message);
  }
  const LimitSettings& has = x_limits.settings();
  if (has.gpus == 0) return {};
  std::string text = "has " + part() + " of the node";
  if (!has.cores.empty()) {
    text += fmt::format(", processors {} ({})", has.cores,
                        affinity().empty() ? "by cpuset" : "by affinity only: there is no cpuset controller to use");
  }
  if (has.memory_bytes != 0)
    text += fmt::format(", {:.2f} GiB of memory", static_cast<double>(has.memory_bytes) / kGib);
  say_in(x_place, x_context.node_name, text);
  return {};
}

std::string LimitWatch::part() const {
  return fmt::format("{} of {} GPUs", x_limits.settings().gpus, x_limits.settings().node_gpus);
}

NodeFacts LimitWatch::facts() const {
  NodeFacts facts = x_context.facts;
  const LimitSettings& has = x_limits.settings();
  facts.part = has.gpus != 0;
  if (!has.cores.empty()) facts.cores = static_cast<std::uint32_t>(parse_cpu_list(has.cores).size());
  return facts;
}

void LimitWatch::start(std::function<void(NodeError)> exceeded) {
  const bool bounds_logs = x_context.log_limit_bytes != 0 && runs_under_mpi(*x_launch);
  if (x_limits.settings().memory_bytes == 0 && !bounds_logs) return;  // nothing to look at
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
  const bool shares = x_limits.settings().gpus != 0 && x_context.parts_memory_bytes != 0;
  std::string peak;
  if (found->peak_bytes != 0) peak = fmt::format(", at its peak {:.2f}", static_cast<double>(found->peak_bytes) / kGib);
  return NodeError{.code = "OutOfMemory",
                   .message = fmt::format("the job's processes on node {} needed more than the {:.2f} GiB of memory "
                                          "that they may use there{}{}; {} of them were killed",
                                          x_context.node_name, static_cast<double>(found->limit_bytes) / kGib,
                                          shares ? " (the job has " + part() + ")" : "", peak, found->kills),
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
