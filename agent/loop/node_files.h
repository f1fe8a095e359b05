// Small things that the executors of attempts and of set-ups do with files of the node. None of them touches a mount.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/loop/place.h"

namespace trainyard::agent {

// A helper or mount that failed with this was let down by a machine, not by the user.
bool is_machines_fault(Code code);

// Where a mount appears stays inside its mount root.
bool is_safe_relative(const std::string& path);

// The last bytes of a log of ours, without the last line's end.
std::string tail_of(const std::string& path, std::size_t most = 2'000);

// Root and relative path for a helper: a share's directory is reached from the mounts, anything else from "/".
std::pair<std::string, std::string> split_at_root(const std::string& path, const std::string& mount_root);
// The same with a job's mounts, and its cluster's.
std::pair<std::string, std::string> split_at_root(const std::string& path, const HoldingPaths& paths);

// What HoldingOrder::secrets and SetupOrder::secrets hold of each kind.
std::vector<SealedValue> variables_of(const std::vector<SealedValue>& sealed);
std::vector<SealedValue> credentials_of(const std::vector<SealedValue>& sealed);
// The key or password of that name; empty: there is none. It goes to a helper by its standard input, nowhere else.
Result<std::string> unseal_credential(const ExecutorContext& context, const std::string& purpose,
                                      const std::vector<SealedValue>& credentials, const std::string& name);
// Opens what was sealed to this node for `purpose` and leaves it where the shims of `place` look for it. None: no file.
// An error is a user's or the controller's only where it says so.
std::optional<NodeError> unseal_secrets(const ExecutorContext& context, const Place& place, const std::string& purpose,
                                        const std::vector<SealedValue>& sealed);

// Frees the room that a local file takes beyond its first `most` bytes, if it is there; its length stays.
void give_back_beyond(const std::string& path, std::uint64_t most);

// A line in the place's execution log, and in the agent's.
void say_in(const Place& place, const std::string& node_name, const std::string& line);

}  // namespace trainyard::agent
