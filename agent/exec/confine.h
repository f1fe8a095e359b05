// What a process of a job gives up before its program runs: capabilities, limits that are the machine's, and system
// calls that only serve to get out. For the child between fork and exec; every call says by false, with errno, that it
// failed, and the caller must not go on then.
#pragma once

#include <cstdint>

namespace trainyard::agent {

// Before the change of user. Locked memory is unlimited where that is allowed (InfiniBand needs it), core files are
// off, many files may be open; never fails: what is not allowed stays as it is.
void set_resource_limits();

// The bounding set: whatever is run later, even by root, never has others than `kept` (bits 1 << CAP_...).
bool bound_capabilities(std::uint64_t kept);
// All sets but the bounding one, to `kept`; after the change of user. And no new privileges.
bool give_up_capabilities(std::uint64_t kept);

// What a job that the operator lets run as root keeps: to own, change and kill what is its own sandbox's.
std::uint64_t capabilities_of_root();

// Refuses, with EPERM, calls that make namespaces or mounts, load kernel code, or reach keys of the kernel: those that
// capabilities do not cover. Needs no new privileges set before.
bool refuse_dangerous_calls();

}  // namespace trainyard::agent
