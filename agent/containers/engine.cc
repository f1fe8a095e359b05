// docker and podman: one client of the Docker Engine's REST API 1.41.
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/containers/cache.h"
#include "agent/containers/cdi.h"
#include "agent/containers/http.h"
#include "agent/containers/image.h"
#include "agent/containers/libpod.h"
#include "agent/containers/pull_progress.h"
#include "agent/containers/request.h"
#include "agent/containers/runtime.h"
#include "agent/exec/child.h"
#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr int kRemoveTries = 40, kRemovePauseMs = 250;
constexpr std::int64_t kRecentSeconds = 15 * 60;
constexpr const char* kApi = "/v1.41";
constexpr const char* kHoldingLabel = "trainyard.holding";
constexpr const char* kOwnerLabel = "trainyard.agent";
constexpr DurationMs kAnswerMs = 30'000, kStartMs = 120'000, kSilenceMs = 300'000, kInitMs = 30'000;

std::string escaped(const std::string& text) {
  static const char* digits = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out += static_cast<char>(c);
    } else {
      out += {'%', digits[c >> 4U], digits[c & 15U]};
    }
  }
  return out;
}

// An engine's own words: {"message": "..."}.
std::string message_of(const HttpReply& reply) {
  const json body = json::parse(reply.body, nullptr, false);
  if (body.is_object() && body.contains("message") && body["message"].is_string()) return body["message"];
  return "answer " + std::to_string(reply.status) + ": " + reply.body.substr(0, 300);
}

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A mount below which something may be unmounted later must tell the container; engines refuse that of a private one.
bool is_shared_mount(const std::string& path) {
  const auto mounts = mount_table();
  if (!mounts) return false;
  std::size_t longest = 0;
  bool shared = false;
  for (const MountEntry& mount : *mounts) {
    const bool above = path == mount.point || mount.point == "/" || path.starts_with(mount.point + "/");
    if (!above || mount.point.size() < longest) continue;
    longest = mount.point.size();
    shared = mount.propagation.find("shared:") != std::string::npos ||
             mount.propagation.find("master:") != std::string::npos;
  }
  return shared;
}

// podman asks for more than a service may give; docker's containers have its daemon's.
json ulimits(bool is_podman) {
  json list = json::array();
  const auto add = [&](const char* name, int resource, rlim_t most) {
    rlimit limit{};
    if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return;
    const auto value = limit.rlim_max == RLIM_INFINITY && most == RLIM_INFINITY
                           ? std::int64_t{-1}
                           : static_cast<std::int64_t>(std::min(limit.rlim_max, most));
    list.push_back({{"Name", name}, {"Soft", value}, {"Hard", value}});
  };
  if (is_podman) {
    add("nofile", RLIMIT_NOFILE, 1'048'576);
    add("nproc", RLIMIT_NPROC, 32'768);
  }
  // RDMA and pinned memory of GPUs need it without limit, where the node has none.
  rlimit locked{};
  if (::getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_max == RLIM_INFINITY) {
    add("memlock", RLIMIT_MEMLOCK, RLIM_INFINITY);
  }
  return list;
}

class Engine : public ContainerRuntime {
 public:
  explicit Engine(RuntimeSettings settings) : x_settings(std::move(settings)), x_podman(x_settings.kind == "podman") {}

  FoundRuntime probe() override;
  Outcome<Image> pull(const ImageRequest& request, const Say& say) override;
  Outcome<bool> start(const ContainerRequest& request) override;
  Result<std::uint64_t> remove(const std::string& name) override;
  Result<std::uint64_t> sweep(const std::vector<std::string>& keep) override;
  void trim_cache(const Say& say) override;

 private:
  Result<HttpReply> call(const std::string& method, const std::string& target, const std::string& body = {},
                         DurationMs deadline_ms = kAnswerMs) const {
    return http_call(x_settings.socket, {method, kApi + target, body}, deadline_ms);
  }
  ContainerError silent(const Error& error) const {
    return {"FailedStartingContainer", x_settings.kind + ": " + error.message, "engine", true};
  }
  ContainerError complaint(const std::string& what, const std::string& message) const;
  std::optional<Image> find_image(const std::string& reference, const ImageName& name, const std::string& pinned) const;
  std::string auth_for(const ImageRequest& request, const ImageName& name) const;
  std::optional<ContainerError> fetch(const std::string& reference, const std::string& auth, const Say& say) const;
  Result<json> inspect(const std::string& name) const;
  json create_body(const ContainerRequest& request) const;
  Result<HttpReply> create(const std::string& name, json body, const std::vector<std::string>& gpus) const;
  std::string last_words(const std::string& name) const;
  Outcome<bool> started(const ContainerRequest& request, const std::string& name);
  Result<std::uint64_t> remove_container(const std::string& name) const;

  const RuntimeSettings x_settings;
  const bool x_podman;
};

ContainerError Engine::complaint(const std::string& what, const std::string& message) const {
  const ImageFault fault = judge_complaint(message);
  std::string text = what + ": " + x_settings.kind + " says: " + message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (!fault.advice.empty()) text += " (" + fault.advice + ")";
  return {"FailedStartingContainer", std::move(text), fault.reason, fault.infrastructure};
}

FoundRuntime Engine::probe() {
  FoundRuntime found{x_settings.kind, {}, x_settings.socket, {}};
  const auto version = call("GET", "/version", {}, 5'000), info = call("GET", "/info", {}, 5'000);
  if (!version || version->status != 200 || !info || info->status != 200) {
    found.why = !version ? version.error().message : !info ? info.error().message : message_of(*version);
    return found;
  }
  const json about = json::parse(version->body, nullptr, false), details = json::parse(info->body, nullptr, false);
  if (!about.is_object() || !details.is_object()) {
    found.why = x_settings.socket + " does not speak docker's API";
    return found;
  }
  if (const auto components = about.find("Components"); components != about.end() && components->is_array()) {
    for (const json& component : *components) {
      if (text_at(component, "Name").starts_with("Podman")) found.kind = "podman";
    }
  }
  found.version = text_at(about, "Version");
  if (text_at(details, "CgroupDriver") != "cgroupfs") {
    found.why =
        found.kind + " at " + x_settings.socket +
        " puts containers into systemd's cgroups, not into their jobs': set " +
        (found.kind == "podman" ? "cgroup_manager = \"cgroupfs\" in /etc/containers/containers.conf"
                                : "\"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in /etc/docker/daemon.json");
  }
  return found;
}

// ---- Images ----

std::optional<Image> Engine::find_image(const std::string& reference, const ImageName& name,
                                        const std::string& pinned) const {
  const auto reply = call("GET", "/images/" + escaped(reference) + "/json");
  if (!reply || reply->status != 200) return std::nullopt;
  const json about = json::parse(reply->body, nullptr, false);
  if (!about.is_object()) return std::nullopt;
  Image image{{}, text_at(about, "Id")};
  if (!image.id.empty() && !image.id.starts_with("sha256:")) image.id = "sha256:" + image.id;
  if (is_local(name)) {
    image.digest = image.id;
    return image;
  }
  const auto digests = about.find("RepoDigests");
  if (digests == about.end() || !digests->is_array()) return image;
  for (const json& digest : *digests) {
    const ImageName of = parse_image(digest.is_string() ? digest.get<std::string>() : std::string());
    // docker leaves out its own registry's name.
    if (!name.repository.ends_with(of.repository)) continue;
    if (image.digest.empty() || of.digest == pinned) image.digest = of.digest;
  }
  return image;
}

std::string Engine::auth_for(const ImageRequest& request, const ImageName& name) const {
  if (!request.user.empty()) return registry_auth(request.user, request.password, name.host);
  if (x_settings.auth_file.empty()) return {};
  const auto text = read_whole_file(x_settings.auth_file);
  return text ? registry_auth_from_file(*text, name.host) : std::string();
}

std::optional<ContainerError> Engine::fetch(const std::string& reference, const std::string& auth,
                                            const Say& say) const {
  const std::string what = "cannot pull image " + reference;
  PullProgress progress(say, reference);
  const auto status = http_stream(
      x_settings.socket, {"POST", kApi + std::string("/images/create?fromImage=") + escaped(reference), {}, auth},
      kSilenceMs, x_settings.pull_limit_ms, [&](std::string_view piece) { progress.feed(piece); });
  if (!status && status.error().code == Code::deadline_exceeded) {
    return ContainerError{"FailedStartingContainer", what + ": " + status.error().message, "timeout", true};
  }
  if (!status) return silent(status.error());
  const std::string said = progress.error();
  if (*status >= 400 || !said.empty()) {
    return complaint(what, said.empty() ? "answer " + std::to_string(*status) : said);
  }
  return std::nullopt;
}

Outcome<Image> Engine::pull(const ImageRequest& request, const Say& say) {
  const ImageName name = parse_image(request.image);
  const bool pinned = !request.pinned_digest.empty();
  const std::string reference =
      pinned && !is_local(name) ? name.repository + "@" + request.pinned_digest : request.image;
  if (is_local(name)) {
    auto image = find_image(reference, name, {});
    if (!image) {
      return {{},
              {"FailedStartingContainer",
               "image " + reference + " is not in this node's own store, and no registry has it", "notFound", false}};
    }
    if (pinned && image->digest != request.pinned_digest) {
      return {{},
              {"FailedStartingContainer",
               "image " + reference + " is " + image->id + " on this node, but " + request.pinned_digest +
                   " on the job's first one: give all nodes the same",
               "notFound", false}};
    }
    return {std::move(image), {}};
  }
  // A pinned image was given to this job before, with its credentials. A tag is asked for every time: it may have
  // moved, and who may not pull the image must not get it because somebody else did.
  auto image = pinned ? find_image(reference, name, request.pinned_digest) : std::nullopt;
  if (!image) {
    if (auto error = fetch(reference, auth_for(request, name), say)) return {{}, std::move(*error)};
    image = find_image(reference, name, request.pinned_digest);
  }
  if (!image)
    return {{}, {"FailedStartingContainer", "image " + reference + " was pulled, but is not there", "other", true}};
  if (pinned) image->digest = request.pinned_digest;
  if (image->digest.empty()) image->digest = image->id;
  record_use(x_settings.record, image->id);
  return {std::move(image), {}};
}

void Engine::trim_cache(const Say& say) {
  auto images = recorded_images(x_settings.record);
  if (x_settings.cache_bytes == 0 || images.empty()) return;
  const auto reply = call("GET", "/images/json?all=1");
  const json list = reply && reply->status == 200 ? json::parse(reply->body, nullptr, false) : json();
  if (!list.is_array()) return;
  std::map<std::string, std::uint64_t> sizes;
  for (const json& image : list) {
    std::string id = text_at(image, "Id");
    if (!id.starts_with("sha256:")) id = "sha256:" + id;
    sizes[id] = image.value("Size", std::uint64_t{0});
  }
  std::vector<CachedImage> there;
  for (CachedImage& image : images) {
    const auto found = sizes.find(image.id);
    if (found == sizes.end()) {
      forget_image(x_settings.record, image.id);
      continue;
    }
    image.bytes = found->second;
    there.push_back(image);
  }
  trim_images(there, x_settings.cache_bytes, std::time(nullptr) - kRecentSeconds, [&](const std::string& id) {
    // By its id, with all its names. One that a container uses is refused.
    const auto removed = call("DELETE", "/images/" + escaped(id) + "?force=" + (x_podman ? "0" : "1"), {}, kStartMs);
    if (!removed || removed->status >= 300) return false;
    forget_image(x_settings.record, id);
    say("removed image " + id.substr(0, 19) + " from the node's cache");
    return true;
  });
}

// ---- Containers ----

Result<json> Engine::inspect(const std::string& name) const {
  const auto reply = call("GET", "/containers/" + name + "/json");
  if (!reply) return reply.error();
  if (reply->status == 404) return Error{Code::not_found, "no container " + name};
  json about = json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !about.is_object()) return Error{Code::internal, message_of(*reply)};
  return about;
}

// Nothing in here comes from the user but the image, the size of /dev/shm and who it runs as.
json Engine::create_body(const ContainerRequest& request) const {
  json binds = json::array(), groups = json::array();
  for (const Bind& bind : request.binds) {
    binds.push_back(bind.path + ":" + bind.path + (bind.read_only ? ":ro" : ":rw") +
                    (!bind.read_only && is_shared_mount(bind.path) ? ",rslave" : ""));
  }
  for (const std::uint32_t group : request.groups) groups.push_back(std::to_string(group));
  json host{{"NetworkMode", "host"},
            {"UTSMode", "host"},
            {"CgroupParent", request.cgroup_parent},
            {"ShmSize", request.shm_bytes},
            {"Binds", std::move(binds)},
            {"SecurityOpt", {"no-new-privileges"}},
            {"CapDrop", {"MKNOD", "NET_RAW", "AUDIT_WRITE"}},
            {"GroupAdd", std::move(groups)},
            {"Ulimits", ulimits(x_podman)},
            {"Privileged", false}};
  return json{{"Image", request.image.id},
              {"Entrypoint", {request.program, "init", request.socket}},
              {"Cmd", json::array()},
              {"User", std::to_string(request.uid) + ":" + std::to_string(request.gid)},
              {"WorkingDir", "/"},
              {"Labels", {{kHoldingLabel, request.name}, {kOwnerLabel, x_settings.owner}}},
              {"StopSignal", "SIGTERM"},
              {"Healthcheck", {{"Test", {"NONE"}}}},
              {"HostConfig", std::move(host)}};
}

// What its first process complained of, without the 8 bytes before each piece.
std::string Engine::last_words(const std::string& name) const {
  const auto reply = call("GET", "/containers/" + name + "/logs?stdout=1&stderr=1&tail=5");
  if (!reply || reply->status != 200) return {};
  std::string text;
  for (std::size_t at = 0; at + 8 <= reply->body.size();) {
    std::uint32_t size = 0;
    for (int i = 4; i < 8; ++i) size = size << 8U | static_cast<unsigned char>(reply->body[at + i]);
    text += reply->body.substr(at + 8, size);
    at += 8 + size;
  }
  return text.substr(0, 500);
}

Result<HttpReply> Engine::create(const std::string& name, json body, const std::vector<std::string>& gpus) const {
  if (!gpus.empty() && x_podman) {
    return http_call(x_settings.socket, {"POST", kLibpodCreate, line_of(libpod_body(body, name, gpus))}, kStartMs);
  }
  if (!gpus.empty()) body["HostConfig"]["DeviceRequests"] = {{{"Driver", "cdi"}, {"DeviceIDs", gpus}}};
  return call("POST", "/containers/create?name=" + name, line_of(body), kStartMs);
}

Outcome<bool> Engine::start(const ContainerRequest& request) {
  const std::string name = "trainyard-" + request.name;
  const auto before = inspect(name);
  if (before && before->contains("State") && (*before)["State"].value("Running", false)) return started(request, name);
  if (before) {
    // Of an attempt to start it that did not get to its end.
    if (const auto removed = remove_container(name); !removed) return {{}, silent(removed.error())};
  } else if (before.error().code != Code::not_found) {
    return {{}, silent(before.error())};
  }
  const auto gpus = cdi_devices(request.gpu_uuids, cdi_directories());
  if (!gpus) return {{}, {"FailedStartingContainer", gpus.error().message, "gpu", true}};
  const std::string what = "cannot start the container";
  const auto created = create(name, create_body(request), *gpus);
  if (!created) return {{}, silent(created.error())};
  if (created->status >= 300) return {{}, complaint(what, message_of(*created))};
  const auto run = call("POST", "/containers/" + name + "/start", {}, kStartMs);
  if (!run) return {{}, silent(run.error())};
  if (run->status >= 300 && run->status != 304) return {{}, complaint(what, message_of(*run))};
  return started(request, name);
}

Outcome<bool> Engine::started(const ContainerRequest& request, const std::string& name) {
  const bool answers = wait_for_init(request.socket, kInitMs, [&] {
    const auto now = inspect(name);
    return now && (*now)["State"].value("Running", false);
  });
  const auto about = inspect(name);
  if (!answers) {
    std::string why = about ? text_at((*about)["State"], "Error") : about.error().message;
    if (why.empty()) why = last_words(name);
    return {{}, complaint("the container ended at once", why.empty() ? "nothing" : why)};
  }
  if (!about) return {{}, silent(about.error())};
  // The engine's own groups of v1 are not where the job's limits are.
  const std::string pid = std::to_string((*about)["State"].value("Pid", 0));
  for (const std::string& group : request.limit_groups) {
    const UniqueFd file(::open((group + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.valid() || !write_fully(file.get(), pid.data(), pid.size())) {
      return {{}, {"FailedStartingContainer", "the container cannot join " + group, "limits", true}};
    }
  }
  // It has started nothing yet: what it starts keeps to them, too.
  if (!keep_to_cores((*about)["State"].value("Pid", 0), request.cores)) {
    return {{},
            {"FailedStartingContainer", "the container cannot keep to processors " + request.cores, "limits", true}};
  }
  return {true, {}};
}

Result<std::uint64_t> Engine::remove_container(const std::string& name) const {
  const auto reply = call("DELETE", "/containers/" + name + "?force=1&v=1", {}, kStartMs);
  if (!reply) return reply.error();
  if (reply->status == 404) return std::uint64_t{0};
  if (reply->status >= 300) return Error{Code::internal, message_of(*reply)};
  return std::uint64_t{1};
}

// An engine that is busy with a container's end, or is being started again, may refuse it at first.
Result<std::uint64_t> Engine::remove(const std::string& name) {
  for (int tries = 1;; ++tries) {
    auto removed = remove_container("trainyard-" + name);
    if (removed || tries == kRemoveTries) return removed;
    ::usleep(kRemovePauseMs * 1000);
  }
}

Result<std::uint64_t> Engine::sweep(const std::vector<std::string>& keep) {
  const std::string filters = json{{"label", {kOwnerLabel + std::string("=") + x_settings.owner}}}.dump();
  const auto reply = call("GET", "/containers/json?all=1&filters=" + escaped(filters));
  if (!reply) return reply.error();
  const json list = json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !list.is_array()) return Error{Code::internal, message_of(*reply)};
  std::uint64_t count = 0;
  for (const json& container : list) {
    const auto labels = container.find("Labels");
    const std::string holding = labels != container.end() && labels->is_object() ? text_at(*labels, kHoldingLabel) : "";
    if (holding.empty() || std::find(keep.begin(), keep.end(), holding) != keep.end()) continue;
    const auto removed = remove_container("trainyard-" + holding);
    if (!removed) return removed.error();
    count += *removed;
  }
  return count;
}

}  // namespace

void remove_v1_groups(const std::string& cgroup_parent) {
  const auto mounts = mount_table();
  if (!mounts || cgroup_parent.empty()) return;
  std::vector<std::string> groups;
  for (const MountEntry& mount : *mounts) {
    if (mount.type == "cgroup") groups.push_back(mount.point + cgroup_parent);
  }
  // The runtime takes its own groups away a moment after it said that the container is gone, and podman's monitor ends
  // by itself.
  for (int tries = 0; tries < 150; ++tries) {
    std::erase_if(groups, [](const std::string& group) {
      const std::string holding = group.substr(0, group.rfind('/'));
      for (const std::string& left : {group + "/conmon", group, holding}) ::rmdir(left.c_str());
      return ::access(holding.c_str(), F_OK) != 0;
    });
    if (groups.empty()) return;
    ::usleep(20'000);
  }
}

std::unique_ptr<ContainerRuntime> make_engine(const RuntimeSettings& settings) {
  return std::make_unique<Engine>(settings);
}

}  // namespace trainyard::agent
