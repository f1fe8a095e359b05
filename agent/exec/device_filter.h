// Devices that the processes of a v2 cgroup may not open. v2 has no controller with files for that: the kernel asks a
// BPF program of the cgroup at every open and mknod of a device (Documentation/admin-guide/cgroup-v2.rst, "Device
// controller"). A program stays with its cgroup, whoever attached it. Decision 0064.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

struct CharDevice {
  std::uint32_t major = 0, minor = 0;
};

// The program: refuses these and allows every other device. Pure.
std::vector<bpf_insn> device_program(const std::vector<CharDevice>& refused);

// Whether the kernel takes such programs from this process. Only looks.
bool takes_device_programs();

// For the processes of `cgroup` and of all below it. A cgroup that has such a program keeps the one it has.
Status refuse_devices(const std::string& cgroup, const std::vector<CharDevice>& refused);

}  // namespace trainyard::agent
