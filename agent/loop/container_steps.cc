#include "agent/loop/container_steps.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/loop/node_files.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr DurationMs kStartDeadlineMs = 300'000, kTrimDeadlineMs = 600'000;

// "8g" as docker reads it; 0: not given.
std::uint64_t bytes_of(const std::string& size) {
  std::uint64_t bytes = std::strtoull(size.c_str(), nullptr, 10);
  const char unit = size.empty() ? 'b' : static_cast<char>(size.back() | 0x20);
  if (unit == 'k') bytes <<= 10U;
  if (unit == 'm') bytes <<= 20U;
  if (unit == 'g') bytes <<= 30U;
  return bytes;
}

// As the kernel sizes a host's own /dev/shm: MPI and data loaders need more than docker's 64 MB.
std::uint64_t half_of_memory() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) /
         2;
}

}  // namespace

std::shared_ptr<JobContainer> JobContainer::of(ExecutorContext& context, const Place& place, const HeldAttempt& held,
                                               Events events) {
  if (!held.launch || held.launch->mapping.container_image.empty()) return nullptr;
  return std::make_shared<JobContainer>(context, place, held, std::move(events));
}

JobContainer::JobContainer(ExecutorContext& context, Place place, const HeldAttempt& held, Events events)
    : x_context(context),
      x_place(std::move(place)),
      x_id(held.id),
      x_member(held.member),
      x_launch(held.launch),
      x_gpu_uuids(held.gpu_uuids),
      x_events(std::move(events)),
      x_pinned(held.pinned_digest) {}

// ---- The image ----

void JobContainer::pull(const std::vector<SealedValue>& credentials) {
  if (x_fetching || x_image) return;
  if (x_context.containers.kind == "none") {
    x_error = failure(
        {"FailedStartingContainer", "no container runtime runs on node " + x_context.node_name, "engine", true});
    return go_on();
  }
  auto password = unseal_credential(x_context, secrets::purpose_of(x_id), credentials, kRegistryCredential);
  if (!password) {
    x_error = failure(
        {"FailedStartingContainer", "the registry's password: " + password.error().message, "unauthorized", true});
    return go_on();
  }
  x_password = std::move(password).value();
  fetch();
}

void JobContainer::fetch() {
  x_fetching = true;
  const ImageRequest request{x_launch->mapping.container_image, x_pinned, x_launch->spec.container.user_name,
                             x_password};
  x_pull = ContainerCall::start(x_context, "pull", request, x_context.containers.pull_limit_ms + 60'000, x_events.say,
                                [weak = weak_from_this()](const json& result, const ContainerError& error) {
                                  if (const auto self = weak.lock()) self->fetched(result, error);
                                });
}

void JobContainer::fetched(const json& result, const ContainerError& error) {
  x_fetching = false;
  x_pull = nullptr;
  if (!result.is_object()) {
    x_error = failure(error);
    return go_on();
  }
  auto image = result.get<Image>();
  if (!x_pinned.empty() && !image.digest.empty() && image.digest != x_pinned) return fetch();  // pinned meanwhile
  x_events.say("image " + x_launch->mapping.container_image + " is here" +
               (image.digest.empty() ? std::string(" (not pinned: " + x_context.containers.kind + " knows no digests)")
                                     : ": " + image.digest));
  if (!image.digest.empty()) x_events.image_known(image.digest);
  x_image = std::move(image);
  go_on();
}

void JobContainer::pin(const std::string& digest) {
  x_pinned = digest;
  if (x_fetching || !x_image || x_image->digest.empty() || x_image->digest == digest) return go_on();
  x_events.say("the first node runs another image of that name, " + digest);
  x_image.reset();
  fetch();
}

void JobContainer::go_on() {
  if (!x_started || x_start) return;
  if (x_error) return finish(x_error);
  if (!x_image || x_fetching) return;
  const bool decides = x_member == 0 || x_image->digest.empty();
  if (!decides && x_pinned.empty()) {
    if (!std::exchange(x_waiting_said, true)) x_events.say("waiting for what the first node's image is");
    return;
  }
  std::fill(x_password.begin(), x_password.end(), '\0');
  start_now();
}

// ---- The container ----

void JobContainer::start(std::vector<std::string> limit_groups, std::string cores, Started started) {
  x_limit_groups = std::move(limit_groups);
  x_cores = std::move(cores);
  x_started = std::move(started);
  go_on();
}

Result<ContainerRequest> JobContainer::request() const {
  const std::string directory = x_place.run + "/container";
  if (auto made = make_local_directories({x_place.run, directory}); !made) return made.error();
  const RunAs& user = x_launch->run_as;
  if (::chown(directory.c_str(), user.uid, user.gid) != 0 || ::chmod(directory.c_str(), 0700) != 0) {
    return system_error("cannot prepare " + directory, errno);
  }
  // The processes that enter are beside the engine's own group: with v2's controllers none may be in the one above.
  if (auto made = Cgroup(enter_cgroup()).create(); !made) return made.error();
  const std::string root =
      x_context.cgroup_base.substr(0, x_context.cgroup_base.size() - x_context.cgroup_parent.size() - 1);
  ContainerRequest request;
  request.name = x_place.name;
  request.image = *x_image;
  request.uid = user.uid;
  request.gid = user.gid;
  request.groups = user.groups;
  request.job_cgroup = x_place.job_cgroup();
  request.cgroup_parent = x_place.job_cgroup().substr(root.size());
  request.limit_groups = x_limit_groups;
  request.cores = x_cores;
  request.shm_bytes = bytes_of(x_launch->spec.container.shm_size);
  if (request.shm_bytes == 0) request.shm_bytes = half_of_memory();
  request.binds = {{x_place.job},
                   {x_place.run},
                   {cluster_directory(x_context) + "/mounts"},
                   {x_context.container_program, true},
                   {x_context.rsh_program, true},
                   {x_context.tasks_program, true}};
  std::copy_if(x_gpu_uuids.begin(), x_gpu_uuids.end(), std::back_inserter(request.gpu_uuids),
               [&](const std::string& uuid) { return !x_context.facts.pretend_gpus.contains(uuid); });
  request.scratch = x_place.job + "/container";
  request.program = x_context.container_program;
  request.socket = socket();
  return request;
}

void JobContainer::start_now() {
  const auto wanted = request();
  if (!wanted) {
    return finish(failure({"NodeSetupFailed", wanted.error().message, "other", true}));
  }
  touch(x_place.marker("container"));
  x_start = ContainerCall::start(
      x_context, "start", *wanted, kStartDeadlineMs, x_events.say,
      [self = shared_from_this(), request = *wanted](const json& result, const ContainerError& error) {
        if (!result.is_null() && !is_engine(self->x_context.containers.kind)) {
          return self->start_wrapper(request);
        }
        self->started(result, error);
      });
}

// Its command line runs under a shim, in the job's cgroup, like any process of the job.
void JobContainer::start_wrapper(const ContainerRequest& request) {
  const std::string directory = x_place.spool + "/container";
  if (observe_shim(directory).state == ShimState::never_started) {
    ShimSpec spec;
    spec.argv = wrapper_command(x_context.containers, request);
    spec.environment = {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}};
    spec.working_directory = "/";
    spec.cgroup = x_place.job_cgroup();
    spec.limit_groups = request.limit_groups;
    spec.cores = request.cores;
    spec.uid = request.uid;
    spec.gid = request.gid;
    Status begun = write_shim_spec(directory, spec);
    if (begun) {
      if (const auto run = start_shim(x_context.shim_program, directory); !run) begun = run.error();
    }
    if (!begun) return started(nullptr, {"FailedStartingContainer", begun.error().message, "other", true});
  }
  x_start = ContainerCall::start(x_context, "wait", request.socket, kStartDeadlineMs, nullptr,
                                 [self = shared_from_this(), directory](const json& result, ContainerError error) {
                                   const std::string said = tail_of(directory + "/stderr");
                                   if (!said.empty()) error.message += ": " + said;
                                   self->started(result, error);
                                 });
}

void JobContainer::started(const json& result, const ContainerError& error) {
  if (result.is_null()) return finish(failure(error));
  x_events.say("the job's container runs (" + x_context.containers.kind + ")");
  if (x_context.containers.cache_bytes != 0) {
    const auto kept = std::make_shared<std::shared_ptr<ContainerCall>>();
    *kept = ContainerCall::start(
        x_context, "trim", nullptr, kTrimDeadlineMs, [](const std::string& line) { spdlog::info("{}", line); },
        [kept](const json&, const ContainerError&) { const auto call = std::exchange(*kept, nullptr); });
  }
  finish(std::nullopt);
}

void JobContainer::finish(std::optional<NodeError> error) {
  x_start = nullptr;
  boost::asio::post(x_context.io, [started = std::exchange(x_started, nullptr), error = std::move(error)] {
    if (started) started(error);
  });
}

void JobContainer::cancel() {
  if (x_pull) x_pull->cancel();
  x_pull = nullptr;
  x_fetching = false;
  if (!x_start) finish(std::nullopt);
}

NodeError JobContainer::failure(const ContainerError& error) const {
  return {.code = error.code,
          .message = fmt::format("{} (node {})", error.message, x_context.node_name),
          .details = {{"node", x_context.node_name}, {"reason", error.reason}},
          .infrastructure = error.infrastructure};
}

// ---- Its processes ----

void JobContainer::enter(ShimSpec& spec) const {
  std::vector<std::string> words{x_context.container_program, "enter", socket(), "--"};
  words.insert(words.end(), spec.argv.begin(), spec.argv.end());
  spec.argv = std::move(words);
  spec.cgroup = enter_cgroup();
}

void JobContainer::fit(std::vector<NamedValue>& environment) const {
  const auto& own = x_launch->spec.environment;
  const auto is_path = [](const NamedValue& variable) { return variable.name == "PATH"; };
  if (std::none_of(own.begin(), own.end(), is_path)) std::erase_if(environment, is_path);
}

}  // namespace trainyard::agent
