// Whom the processes of an attempt run as on this node, and what they see of it. Loop thread only.
#pragma once

#include <string>
#include <vector>

#include "agent/exec/shim.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

// Makes the directories of an attempt that its user owns, with what is its /tmp. The place's own is made by root, who
// keeps it: others cannot enter, and the user cannot put something else where the agent will look.
Status make_user_directories(const Place& place, const std::vector<std::string>& directories, const RunAs& user);

// The place's sandbox, with the devices of these GPUs and no other; after its volumes are mounted. Nothing where the
// agent's configuration says so.
Status make_sandbox(const ExecutorContext& context, const Place& place, const std::vector<std::string>& gpu_uuids);

// Devices of NVIDIA's GPUs that are not among these, by what the driver says below `driver_gpus`
// (/proc/driver/nvidia/gpus). A part of a GPU (MIG) has the devices of the whole one: with one, none is left out.
std::vector<std::string> devices_of_others(const std::string& driver_gpus, const std::vector<std::string>& gpu_uuids);

// What `spec` needs to run as the job's user in the place's sandbox.
void isolate(const ExecutorContext& context, const Place& place, const RunAs& user, ShimSpec& spec);

// The words with which a helper's mkdir makes directories that the job's user can write to.
std::vector<std::string> mkdir_words(const RunAs& user);

// `path` as open_guarded takes it: from `base` on, which lies in a directory of ours, the job's user may change things.
std::string guarded(const std::string& base, const std::string& path);

}  // namespace trainyard::agent
