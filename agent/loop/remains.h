// What an attempt leaves on the machine beside processes, mounts and directories, and what cannot be ended. Reads the
// kernel's files only, never a user's file system: no call blocks.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard::agent {

// Files in the sandbox's own /dev/shm; they and its System V segments end with it. 0: there is no such sandbox.
std::uint64_t shared_memory_in(const std::string& sandbox);
// Without a sandbox: removes System V segments of the user and its files in /dev/shm. How many there were.
std::uint64_t remove_shared_memory(std::uint32_t uid);

// How many of the `count` ports from `first` on somebody listens at.
std::uint64_t ports_listened_at(std::uint32_t first, std::uint32_t count);

// For people: the first process of the cgroup that SIGKILL does not end, with what it waits for, and mounts below
// `directory` that may be why. Empty: none lives.
std::string unkillable_in(const std::string& cgroup, const std::string& directory);

}  // namespace trainyard::agent
