#include "agent/loop/file_mounts.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "agent/volumes/helper.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kMountDeadlineMs = 30'000, kUnmountDeadlineMs = 60'000;
constexpr std::chrono::seconds kKeepFor(10);

}  // namespace

FileMounts::FileMounts(ExecutorContext& context) : x_context(context) {}

void FileMounts::use(const Volume& volume, const std::string& credential, Ready ready) {
  const auto known = std::find_if(x_entries.begin(), x_entries.end(), [&](const auto& entry) {
    return entry.second->volume == volume && entry.second->credential == credential;
  });
  std::shared_ptr<Entry> entry;
  if (known != x_entries.end()) {
    entry = known->second;
  } else {
    const std::string directory = place() + "/" + std::to_string(++x_next);
    entry = std::make_shared<Entry>(x_context.io, volume, credential, directory);
    x_entries.emplace(directory, entry);
  }
  ++entry->users;
  entry->idle.cancel();
  if (entry->mounted) return ready(entry->directory);
  entry->waiting.push_back(std::move(ready));
  if (entry->waiting.size() > 1) return;
  x_context.mounter->mount(volume, entry->directory, {}, credential, kMountDeadlineMs,
                           [this, entry](const Status& status) { mounted(entry, status); });
}

void FileMounts::mounted(const std::shared_ptr<Entry>& entry, const Status& status) {
  entry->mounted = status.ok();
  const auto waiting = std::exchange(entry->waiting, {});
  if (!status) x_entries.erase(entry->directory);
  for (const Ready& ready : waiting) {
    ready(status ? Result<std::string>(entry->directory) : Result<std::string>(status.error()));
  }
}

void FileMounts::release(const std::string& directory) {
  const auto found = x_entries.find(directory);
  if (found != x_entries.end() && --found->second->users == 0) leave_later(found->second);
}

void FileMounts::leave_later(const std::shared_ptr<Entry>& entry) {
  entry->idle.expires_after(kKeepFor);
  entry->idle.async_wait([this, entry](const boost::system::error_code& error) {
    if (error || entry->users > 0) return;
    x_entries.erase(entry->directory);
    x_context.mounter->unmount(entry->volume, entry->directory, kUnmountDeadlineMs, [](const Status& status) {
      if (!status) spdlog::warn("{}", status.error().message);
    });
  });
}

void FileMounts::forget() {
  const auto sweep = [this] {
    if (!path_exists(shared_mounts(x_context).work)) return;
    x_context.mounter->sweep(kUnmountDeadlineMs, [](const Status& status) {
      if (!status) spdlog::warn("{}", status.error().message);
    });
  };
  const auto mounts = mounts_under(place());
  if (mounts.empty()) return sweep();
  std::vector<std::string> words{"unmount"};
  words.insert(words.end(), mounts.begin(), mounts.end());
  run_helper(x_context.io, helper_command(x_context, words), {}, kUnmountDeadlineMs,
             [sweep](const HelperResult&) { sweep(); });
}

}  // namespace trainyard::agent
