// GPUs in containers: the Container Device Interface, whose files nvidia-ctk writes. Only looks.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

// "nvidia.com/gpu=UUID" of each; NOT_FOUND when a file that describes the device is missing, with what to do.
Result<std::vector<std::string>> cdi_devices(const std::vector<std::string>& gpu_uuids,
                                             const std::vector<std::string>& directories);
// /etc/cdi and /var/run/cdi, as both engines look.
std::vector<std::string> cdi_directories();

}  // namespace trainyard::agent
