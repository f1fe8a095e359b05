#include "agent/containers/cdi.h"

#include <dirent.h>

#include <algorithm>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

// All files of one kind, one after the other: they are JSON or YAML, and a UUID occurs in them as a device's name only.
std::string nvidia_specifications(const std::vector<std::string>& directories) {
  std::string text;
  for (const std::string& directory : directories) {
    DIR* files = ::opendir(directory.c_str());
    if (files == nullptr) continue;
    while (const dirent* entry = ::readdir(files)) {
      const std::string name = entry->d_name;
      if (!name.ends_with(".json") && !name.ends_with(".yaml")) continue;
      const auto read = read_whole_file(directory + "/" + name);
      if (read && read->find("nvidia.com/gpu") != std::string::npos) text += *read + "\n";
    }
    ::closedir(files);
  }
  return text;
}

}  // namespace

std::vector<std::string> cdi_directories() {
  return {"/etc/cdi", "/var/run/cdi"};
}

Result<std::vector<std::string>> cdi_devices(const std::vector<std::string>& gpu_uuids,
                                             const std::vector<std::string>& directories) {
  std::vector<std::string> names;
  if (gpu_uuids.empty()) return names;
  const std::string specifications = nvidia_specifications(directories);
  for (const std::string& uuid : gpu_uuids) {
    if (specifications.find(uuid) == std::string::npos) {
      return Error{Code::not_found, "no file in /etc/cdi or /var/run/cdi describes nvidia.com/gpu=" + uuid +
                                        ": run `nvidia-ctk cdi generate --device-name-strategy=uuid "
                                        "--output=/etc/cdi/nvidia.yaml` on the node"};
    }
    names.push_back("nvidia.com/gpu=" + uuid);
  }
  return names;
}

}  // namespace trainyard::agent
