// What runs containers on a node, behind one interface with two families: engines (docker, podman: Docker's REST API
// over a Unix socket) and wrappers (charliecloud, enroot, apptainer: the prefix of a command line, under a shim of
// ours). Everything here blocks, with deadlines, in the program trainyard-container; the agent's loop only reads what
// that prints.
//
// A container is one per holding and holds one program of ours (init.h), which starts the job's processes. So an engine
// is asked only for the container's beginning and end: its daemon may die while the job runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

// What the agent found when it started (`trainyard-container probe`), and what it is configured with.
struct RuntimeSettings {
  std::string kind = "auto";      // docker | podman | charliecloud | enroot | apptainer; to be probed: auto | none
  std::string socket;             // of an engine; empty: the usual places
  std::string auth_file;          // of docker's form, for jobs without credentials; empty: none
  std::string image_directory;    // of wrappers: unpacked images and image files
  std::string record;             // directory with a file per image that was pulled for jobs (cache.h)
  std::uint64_t cache_bytes = 0;  // of pulled images, as far as they are not in use; 0: no limit
  DurationMs pull_limit_ms = 30 * 60'000;
  std::string owner;  // which agent's a container is: label of all that it makes
};

struct FoundRuntime {
  std::string kind, version, socket;
  std::string why;  // none was found: why
};

// A path that is the same inside.
struct Bind {
  std::string path;
  bool read_only = false;
};

struct ImageRequest {
  std::string image;          // fully qualified
  std::string pinned_digest;  // what all nodes of the job run; empty: what the tag means now
  std::string user, password;
};

struct Image {
  std::string digest;  // that all nodes of a job are to run: of the manifest; of a local image, its id
  std::string id;      // in this node's store: what a container is made of
};

struct ContainerRequest {
  std::string name;  // of the holding
  Image image;
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;
  std::string job_cgroup;                 // absolute; the container's is below it
  std::string cgroup_parent;              // the same as engines name it: below the cgroup2 mount
  std::vector<std::string> limit_groups;  // of cgroup v1, which the container's first process joins
  std::string cores;                      // processors to which it keeps; empty: all, or a cgroup says it
  std::uint64_t shm_bytes = 0;
  std::vector<Bind> binds;
  std::vector<std::string> gpu_uuids;  // to be seen inside, by CDI
  std::string scratch;  // of the job on this node: wrappers keep there what the job writes over the image
  std::string program;  // trainyard-container, bound at its path
  std::string socket;   // where init listens, in a bound directory
};

// code: Batch AI's, or of the machine. Never holds a password.
struct ContainerError {
  std::string code = "FailedStartingContainer", message, reason;
  bool infrastructure = false;
};

template <class T>
struct Outcome {
  std::optional<T> value;
  ContainerError error;
};

using Say = std::function<void(const std::string&)>;

class ContainerRuntime {
 public:
  virtual ~ContainerRuntime() = default;
  // What would run containers, or why nothing does.
  virtual FoundRuntime probe() = 0;
  // Brings the image into the node's store unless the pinned one is there.
  virtual Outcome<Image> pull(const ImageRequest& request, const Say& say) = 0;
  // Makes and starts the container; one of that name that runs is taken as it is. The program of ours in it answers.
  virtual Outcome<bool> start(const ContainerRequest& request) = 0;
  // Of an engine: ends and removes it. How many there were: 0 or 1.
  virtual Result<std::uint64_t> remove(const std::string& name) = 0;
  // Removes this agent's containers that are not named. How many.
  virtual Result<std::uint64_t> sweep(const std::vector<std::string>& keep) = 0;
  // Removes images that were pulled for jobs, the longest unused first, until the rest is within the cache's limit.
  virtual void trim_cache(const Say& say) = 0;
};

std::unique_ptr<ContainerRuntime> make_engine(const RuntimeSettings& settings);
std::unique_ptr<ContainerRuntime> make_wrapper(const RuntimeSettings& settings);
bool is_engine(const std::string& kind);
// The first that is there, in the order docker, podman, enroot, apptainer, charliecloud, or the one that is configured.
FoundRuntime probe_runtime(const RuntimeSettings& settings);

// Groups of cgroup v1 that an engine made above the container's, in every hierarchy.
void remove_v1_groups(const std::string& cgroup_parent);

// The words that start a container of a wrapper: its shim runs them.
std::vector<std::string> wrapper_command(const RuntimeSettings& settings, const ContainerRequest& request);

// Waits until init answers in its socket; false at the deadline, or when `alive` says that it need not be waited for.
bool wait_for_init(const std::string& socket, DurationMs deadline_ms, const std::function<bool()>& alive);

}  // namespace trainyard::agent
