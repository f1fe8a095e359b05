// The volumes of one attempt, or of one run of a set-up: mounted in their order, and looked at while they are in use.
// Loop thread only; nothing is called from inside a call.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/loop/place.h"

namespace trainyard::agent {

struct MountItem {
  Volume volume;
  MountSettings settings;
  const char* error_code;  // Batch AI's, by what is mounted
};

// `volumes` are those of the spec's lists, in the order of those (Launch::volumes, ClusterSetup::volumes).
template <class Spec>  // JobSpec or NodeSetup
std::vector<MountItem> items_of(const Spec& spec, const std::vector<Volume>& volumes) {
  std::vector<MountItem> items;
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const std::size_t blob = i - spec.file_shares.size(), served = blob - spec.blob_file_systems.size();
    MountItem item{volumes[i], {}, "UnmanagedFileSystemMountError"};
    if (i < spec.file_shares.size()) {
      item = {volumes[i], {spec.file_shares[i].file_mode, spec.file_shares[i].directory_mode}, "AZFMountError"};
    } else if (blob < spec.blob_file_systems.size()) {
      item.error_code = "BFSMountError";
    } else if (served < spec.file_server_mounts.size()) {
      item.error_code = "NFSMountError";
    }
    items.push_back(std::move(item));
  }
  return items;
}

class VolumeSet : public std::enable_shared_from_this<VolumeSet> {
 public:
  using Say = std::function<void(const std::string& line)>;
  // The key or password of that name; empty: the user gave none.
  using Unseal = std::function<Result<std::string>(const std::string& name)>;
  // `root`: the directory below which they are mounted.
  VolumeSet(ExecutorContext& context, std::string root, std::vector<MountItem> items, Say say);

  // Mounts them one after the other; the first error ends it. What is mounted already stays.
  void mount(Unseal unseal, std::function<void(std::optional<NodeError>)> done);
  bool all_mounted() const;
  // Reads each that is on another machine now and then: `failed` is called, once, when one does not work any more.
  void watch(std::function<void(NodeError)> failed);
  // No further mount begins (the one under way still answers), and no one is watched.
  void stop();

 private:
  void mount_next();
  void mounted(const Status& status);
  void check_later();
  void check_next(std::size_t index);
  void checked(std::size_t index, const Status& status);
  NodeError error_of(const MountItem& item, const std::string& what, const Error& error) const;
  std::string target_of(const MountItem& item) const { return x_root + "/" + item.volume.relative_mount_path; }

  ExecutorContext& x_context;
  const std::string x_root;
  const std::vector<MountItem> x_items;
  const Say x_say;
  Unseal x_unseal;
  std::function<void(std::optional<NodeError>)> x_done;
  std::function<void(NodeError)> x_failed;
  std::vector<int> x_failures;  // of each, one after the other
  std::size_t x_mounting = 0;
  bool x_stopped = false;
  boost::asio::steady_timer x_timer;
};

}  // namespace trainyard::agent
