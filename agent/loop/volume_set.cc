#include "agent/loop/volume_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "agent/loop/node_files.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kMountDeadlineMs = 60'000;
constexpr DurationMs kLeastCheckDeadlineMs = 5'000, kLongestCheckDeadlineMs = 15'000;
constexpr int kFailuresThatCount = 2;  // an error may pass; no answer does not

bool on_this_machine(const Volume& volume) {
  return volume.kind == Volume::Kind::local;
}

// A user's command may hold what is not for others: its own list has it.
std::string shown(const Volume& volume) {
  return volume.kind == Volume::Kind::command ? "the unmanaged file system" : volume.source;
}

}  // namespace

VolumeSet::VolumeSet(ExecutorContext& context, std::string root, std::vector<MountItem> items, Say say)
    : x_context(context),
      x_root(std::move(root)),
      x_items(std::move(items)),
      x_say(std::move(say)),
      x_failures(x_items.size(), 0),
      x_timer(context.io) {}

void VolumeSet::mount(Unseal unseal, std::function<void(std::optional<NodeError>)> done) {
  x_unseal = std::move(unseal);
  x_done = std::move(done);
  x_mounting = 0;
  mount_next();
}

void VolumeSet::mount_next() {
  const auto end = [&](std::optional<NodeError> error) {
    boost::asio::post(x_context.io, [done = std::exchange(x_done, nullptr), error = std::move(error)] { done(error); });
  };
  if (x_mounting == x_items.size() || x_stopped) return end(std::nullopt);
  const MountItem& item = x_items[x_mounting];
  const std::string& path = item.volume.relative_mount_path;
  if (!is_safe_relative(path)) {
    return end(
        NodeError{.code = item.error_code,
                  .message = "relativeMountPath '" + path + "' must be a relative path without '.' and '..' parts"});
  }
  const auto credential = x_unseal("mount:" + path);
  if (!credential) return end(error_of(item, "mount", credential.error()));
  if (item.volume.source.empty()) {
    return end(error_of(item, "mount", {Code::not_found, "the file server " + item.volume.file_server + " is gone"}));
  }
  x_context.mounter->mount(item.volume, target_of(item), item.settings, *credential, kMountDeadlineMs,
                           [self = shared_from_this()](const Status& status) { self->mounted(status); });
}

void VolumeSet::mounted(const Status& status) {
  const MountItem& item = x_items[x_mounting];
  if (!status) return std::exchange(x_done, nullptr)(error_of(item, "mount", status.error()));
  x_say(fmt::format("mounted {} at {}", shown(item.volume), item.volume.relative_mount_path));
  ++x_mounting;
  mount_next();
}

NodeError VolumeSet::error_of(const MountItem& item, const std::string& what, const Error& error) const {
  return {.code = item.error_code,
          .message = fmt::format("cannot {} {} at {} on node {}: {}", what, shown(item.volume),
                                 item.volume.relative_mount_path, x_context.node_name, error.message),
          .details = {{"node", x_context.node_name}},
          .infrastructure = is_machines_fault(error.code)};
}

bool VolumeSet::all_mounted() const {
  const auto mounts = mounts_under(x_root);
  return std::all_of(x_items.begin(), x_items.end(), [&](const MountItem& item) {
    return std::find(mounts.begin(), mounts.end(), target_of(item)) != mounts.end();
  });
}

void VolumeSet::watch(std::function<void(NodeError)> failed) {
  const bool all_here =
      std::all_of(x_items.begin(), x_items.end(), [](const MountItem& item) { return on_this_machine(item.volume); });
  if (all_here || x_context.volume_check_every_ms <= 0) return;
  x_failed = std::move(failed);
  check_later();
}

void VolumeSet::stop() {
  x_stopped = true;
  x_failed = nullptr;
  x_timer.cancel();
}

void VolumeSet::check_later() {
  x_timer.expires_after(std::chrono::milliseconds(x_context.volume_check_every_ms));
  x_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    if (const auto self = weak.lock(); self && !error && self->x_failed) self->check_next(0);
  });
}

void VolumeSet::check_next(std::size_t index) {
  while (index < x_items.size() && on_this_machine(x_items[index].volume)) ++index;
  if (index == x_items.size()) return check_later();
  const DurationMs limit = std::clamp(x_context.volume_check_every_ms, kLeastCheckDeadlineMs, kLongestCheckDeadlineMs);
  x_context.mounter->check(target_of(x_items[index]), limit, [weak = weak_from_this(), index](const Status& status) {
    if (const auto self = weak.lock(); self && self->x_failed) self->checked(index, status);
  });
}

void VolumeSet::checked(std::size_t index, const Status& status) {
  x_failures[index] = status ? 0 : x_failures[index] + 1;
  const bool silent = !status && status.error().code == Code::deadline_exceeded;
  if (!silent && x_failures[index] < kFailuresThatCount) return check_next(index + 1);
  // The job's own matter, not a reason to try it elsewhere: its data may be half written.
  NodeError error = error_of(x_items[index], "use", status.error());
  error.infrastructure = false;
  std::exchange(x_failed, nullptr)(std::move(error));
}

}  // namespace trainyard::agent
