#include "controller/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <strings.h>
#include <sys/stat.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "common/model_json.h"
#include "controller/priority_classes.h"

namespace trainyard::controller {
namespace {

using nlohmann::json;

Error wrong(const std::string& where, const std::string& text) {
  return {Code::invalid_argument, fmt::format("configuration: {}: {}", where, text)};
}

// Reads one object of the file: every key must be known, every value of the right type. The first mistake stays.
class ObjectReader {
 public:
  ObjectReader(const json& object, std::string where) : x_object(object), x_where(std::move(where)) {
    if (!object.is_object()) fail(x_where.empty() ? "file" : x_where, "must be an object");
  }
  template <class T>
  void value(const char* key, T& into) {
    if (const json* found = find(key)) {
      try {
        found->get_to(into);
      } catch (const json::exception&) {
        fail(path(key), fmt::format("has the wrong type: {}", found->dump().substr(0, 80)));
      }
    }
  }
  void positive(const char* key, DurationMs& into) {
    value(key, into);
    if (into <= 0) fail(path(key), "must be a number of milliseconds above 0");
  }
  const json* find(const char* key) {
    x_known.insert(key);
    if (!x_object.is_object()) return nullptr;
    const auto found = x_object.find(key);
    return found == x_object.end() ? nullptr : &*found;
  }
  std::string path(const std::string& key) const { return x_where.empty() ? key : x_where + "." + key; }
  void fail(const std::string& where, const std::string& text) {
    if (!x_error) x_error = wrong(where, text);
  }
  Status finish() {
    if (x_object.is_object()) {
      for (const auto& [key, unused] : x_object.items()) {
        if (!x_known.contains(key)) fail(path(key), "is no key that is known");
      }
    }
    return x_error ? Status(*x_error) : Status();
  }

 private:
  const json& x_object;
  std::string x_where;
  std::set<std::string> x_known;
  std::optional<Error> x_error;
};

void drop_slashes(std::string& path) {
  while (path.size() > 1 && path.ends_with("/")) path.pop_back();
}

// {"endpoint": "http://10.0.0.5:9000", "bucket": "B/prefix"}; of Azure Blob "container" for "bucket".
Status read_objects(const json& body, const std::string& where, Volume& place) {
  const char* bucket = place.kind == Volume::Kind::s3 ? "bucket" : "container";
  ObjectReader reader(body, where);
  reader.value("endpoint", place.endpoint);
  reader.value(bucket, place.source);
  if (const Status status = reader.finish(); !status) return status;
  if (!place.endpoint.starts_with("http://") && !place.endpoint.starts_with("https://")) {
    return wrong(where + ".endpoint", "must be the server's URL, like \"https://s3.example.com\"");
  }
  drop_slashes(place.source);
  if (place.source.starts_with("/")) return wrong(where + "." + bucket, "must not start with a slash");
  return {};
}

bool source_is_good(const Volume& place) {
  const std::string& source = place.source;
  if (place.kind == Volume::Kind::nfs) return source.find(":/") != source.npos && source.find(":/") > 0;
  const auto slash = source.find('/', 2);
  return source.starts_with("//") && slash != source.npos && slash > 2 && slash + 1 < source.size();
}

Status read_place(const json& entry, ObjectReader& reader, const std::string& where, Volume& place) {
  using Kind = Volume::Kind;
  struct Form {
    const char* key;
    Kind kind;
    const char* rule;
  };
  std::string given;
  for (const Form& form : {Form{"local", Kind::local, "must be an absolute directory on the nodes"},
                           Form{"nfs", Kind::nfs, "must look like \"HOST:/export\""},
                           Form{"smb", Kind::smb, "must look like \"//HOST/share\""}, Form{"s3", Kind::s3, ""},
                           Form{"azure_blob", Kind::azure_blob, ""}}) {
    const json* found = reader.find(form.key);
    if (found == nullptr) continue;
    if (!given.empty()) return wrong(where + "." + form.key, "is given together with " + given + ": give one of them");
    given = form.key;
    place.kind = form.kind;
    if (*form.rule == '\0') {
      if (const Status status = read_objects(*found, where + "." + form.key, place); !status) return status;
      continue;
    }
    reader.value(form.key, place.source);
    drop_slashes(place.source);
    const bool good = form.kind == Kind::local ? place.source.starts_with("/") : source_is_good(place);
    if (found->is_string() && !good) return wrong(where + "." + form.key, form.rule);
  }
  if (given.empty())
    return wrong(where, "needs one of local, nfs, smb, s3 and azure_blob: where the account's shares are");
  if (place.kind == Kind::local &&
      (entry.contains("options") || entry.contains("user") || entry.contains("credentials_file"))) {
    return wrong(where, "a local directory has no options, user or credentials_file");
  }
  return {};
}

Status read_storage(const json& list, Config& config) {
  if (!list.is_array()) return wrong("storage", "must be a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    StorageEntry entry;
    const std::string where = fmt::format("storage[{}]", i);
    ObjectReader reader(list[i], where);
    reader.value("account", entry.account);
    if (list[i].is_object()) {
      if (const Status place = read_place(list[i], reader, where, entry.place); !place) return place;
    }
    reader.value("options", entry.place.options);
    reader.value("user", entry.place.user);
    reader.value("credentials_file", entry.place.credentials_file);
    if (const Status status = reader.finish(); !status) return status;
    if (entry.account.empty()) return wrong(where + ".account", "is missing: a name, or \"*\" for every other name");
    const std::string& file = entry.place.credentials_file;
    if (!file.empty() && !file.starts_with("/")) {
      return wrong(where + ".credentials_file", "must be the absolute path of a file on the nodes");
    }
    config.storage.push_back(std::move(entry));
  }
  return {};
}

Status read_exports(const json& list, Config& config) {
  if (!list.is_array()) return wrong("file_servers", "must be a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    ExportEntry entry;
    const std::string where = fmt::format("file_servers[{}]", i);
    ObjectReader reader(list[i], where);
    reader.value("name", entry.name);
    reader.value("address", entry.address);
    reader.value("export", entry.path);
    if (const Status status = reader.finish(); !status) return status;
    if (entry.name.empty()) return wrong(where + ".name", "is missing: a name, or \"*\" for every other name");
    if (entry.address.empty()) return wrong(where + ".address", "is missing: the NFS server's name or address");
    if (!entry.path.starts_with("/")) return wrong(where + ".export", "must be an absolute directory on the server");
    while (entry.path.size() > 1 && entry.path.ends_with("/")) entry.path.pop_back();
    config.exports.push_back(std::move(entry));
  }
  return {};
}

Status read_images(const json& list, Config& config) {
  if (!list.is_array()) return wrong("images", "must be a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    ImageEntry entry;
    std::string run;
    const std::string where = fmt::format("images[{}]", i);
    ObjectReader reader(list[i], where);
    reader.value("image", entry.image);
    reader.value("run", run);
    reader.value("pull", entry.pull);
    std::string preparation;
    if (reader.find("preparation") != nullptr) {
      reader.value("preparation", preparation);
      entry.mapping.preparation = preparation;
    }
    reader.value("interpreter", entry.mapping.python_interpreter);
    if (const Status status = reader.finish(); !status) return status;
    if (entry.image.empty()) return wrong(where + ".image", "is missing");
    if (run != "host" && run != "container") return wrong(where + ".run", "must be \"host\" or \"container\"");
    entry.on_host = run == "host";
    if (entry.on_host && !entry.pull.empty()) return wrong(where + ".pull", "is of \"run\": \"container\" only");
    config.images.push_back(std::move(entry));
  }
  return {};
}

constexpr std::int64_t kFirstUser = 1000;          // below are the system's
constexpr std::int64_t kLastUser = 4'294'967'293;  // the two above mean "none"

Status read_user(ObjectReader& reader, const std::string& where, bool system_users, RunAs& user) {
  std::int64_t uid = -1, gid = -1;
  std::vector<std::int64_t> groups;
  reader.value("uid", uid);
  gid = uid;
  reader.value("gid", gid);
  reader.value("groups", groups);
  if (const Status status = reader.finish(); !status) return status;
  if (uid < 0 || uid > kLastUser) return wrong(where + ".uid", "must be a user id, e.g. 20000");
  const auto refused = [&](const char* key, std::int64_t id, const char* what) {
    return wrong(where + "." + key, fmt::format("{} is {}: set \"allow_system_users\": true to allow it", id, what));
  };
  if (uid < kFirstUser && !system_users) return refused("uid", uid, "a user of the system (below 1000)");
  if (gid < 0 || gid > kLastUser) return wrong(where + ".gid", "must be a group id");
  if (gid == 0 && !system_users) return refused("gid", gid, "root's group");
  for (const std::int64_t group : groups) {
    if (group < 0 || group > kLastUser) return wrong(where + ".groups", "must be a list of group ids");
    if (group == 0 && !system_users) return refused("groups", group, "root's group");
    user.groups.push_back(static_cast<std::uint32_t>(group));
  }
  user.uid = static_cast<std::uint32_t>(uid);
  user.gid = static_cast<std::uint32_t>(gid);
  return {};
}

Status read_users(const json& list, Config& config) {
  if (!list.is_array()) return wrong("users", "must be a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    UserEntry entry;
    const std::string where = fmt::format("users[{}]", i);
    ObjectReader reader(list[i], where);
    reader.value("workspace", entry.workspace);
    if (const Status read = read_user(reader, where, config.allow_system_users, entry.run_as); !read) return read;
    const auto slash = entry.workspace.find('/');
    const bool one_slash = slash != std::string::npos && slash != 0 && slash + 1 != entry.workspace.size() &&
                           entry.workspace.find('/', slash + 1) == std::string::npos;
    if (!one_slash && entry.workspace != "*") {
      return wrong(where + ".workspace", "must be \"group/workspace\", \"group/*\", or \"*\" for all others");
    }
    config.users.push_back(std::move(entry));
  }
  return {};
}

Status read_mirrors(const json& list, Config& config) {
  if (!list.is_array()) return wrong("image_mirrors", "must be a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    ImageMirror mirror;
    const std::string where = fmt::format("image_mirrors[{}]", i);
    ObjectReader reader(list[i], where);
    reader.value("prefix", mirror.prefix);
    reader.value("replace", mirror.replace);
    if (const Status status = reader.finish(); !status) return status;
    if (mirror.prefix.empty()) return wrong(where + ".prefix", "is missing, e.g. \"docker.io/\"");
    if (mirror.replace.empty()) return wrong(where + ".replace", "is missing, e.g. \"mirror.example:5000/docker/\"");
    config.image_mirrors.push_back(std::move(mirror));
  }
  return {};
}

Status read_pools(const json& pools, Config& config) {
  if (!pools.is_object()) return wrong("pools", "must be an object");
  for (const auto& [name, body] : pools.items()) {
    PoolEntry entry;
    ObjectReader reader(body, "pools." + name);
    reader.value("fence_command", entry.fence_command);
    if (const Status status = reader.finish(); !status) return status;
    if (!entry.fence_command.empty()) {
      if (!entry.fence_command[0].starts_with("/")) {
        return wrong(fmt::format("pools.{}.fence_command", name), "must start with the absolute path of a program");
      }
      config.timing.pools_with_fence_command.push_back(name);
    }
    config.pools[name] = std::move(entry);
  }
  return {};
}

Status read_timing(const json& timing, Config& config) {
  ObjectReader reader(timing, "timing");
  reader.positive("unreachable_after_ms", config.timing.unreachable_after_ms);
  reader.positive("gang_abort_after_ms", config.timing.gang_abort_after_ms);
  reader.positive("kill_time_ms", config.timing.kill_time_ms);
  reader.positive("prepare_limit_ms", config.timing.prepare_limit_ms);
  reader.positive("setup_retry_ms", config.timing.setup_retry_ms);
  reader.positive("setup_retry_longest_ms", config.timing.setup_retry_longest_ms);
  reader.positive("heartbeat_ms", config.heartbeat_ms);
  return reader.finish();
}

Status read_scheduling(const json& scheduling, Config& config) {
  ObjectReader reader(scheduling, "scheduling");
  reader.value("fair_share", config.scheduling.order.fair_share);
  reader.positive("usage_half_life_ms", config.timing.usage_half_life_ms);
  reader.positive("age_limit_ms", config.scheduling.order.age_limit_ms);
  reader.value("reservations", config.scheduling.reservations);
  reader.value("backfill_depth", config.scheduling.depth);
  reader.positive("preemption_min_run_ms", config.scheduling.preemption_min_run_ms);
  std::map<std::string, std::int32_t> classes;
  reader.value("classes", classes);
  if (const Status status = read_classes(classes, config.timing.classes); !status) return status;
  std::string preemption = "quota";
  reader.value("preemption", preemption);
  const std::map<std::string, plan::Preemption> kinds{
      {"off", plan::Preemption::off}, {"quota", plan::Preemption::quota}, {"classes", plan::Preemption::classes}};
  const auto kind = kinds.find(preemption);
  if (kind == kinds.end()) return wrong("scheduling.preemption", "must be \"off\", \"quota\" or \"classes\"");
  config.scheduling.preemption = kind->second;
  return reader.finish();
}

Status read_tls(const json& body, Config& config) {
  TlsFiles files;
  ObjectReader reader(body, "tls");
  reader.value("certificate", files.certificate);
  reader.value("key", files.key);
  reader.value("client_ca", files.client_ca);
  if (const Status status = reader.finish(); !status) return status;
  if (files.certificate.empty() || files.key.empty() || files.client_ca.empty()) {
    return wrong("tls", "needs all of certificate, key and client_ca");
  }
  config.tls = std::move(files);
  return {};
}

}  // namespace

Result<Config> parse_config(const std::string& json_text) {
  json root;
  try {
    root = json::parse(json_text, nullptr, true, true);
  } catch (const json::exception& error) {
    return Error{Code::invalid_argument, fmt::format("configuration: is not JSON: {}", error.what())};
  }
  Config config;
  ObjectReader reader(root, "");
  reader.value("state_dir", config.state_dir);
  reader.value("secrets_key_file", config.secrets_key_file);
  reader.value("listen", config.listen);
  reader.value("insecure_lab", config.insecure_lab);
  reader.value("allow_system_users", config.allow_system_users);
  reader.value("free_space_floor_mb", config.free_space_floor_mb);
  std::string unmapped = "container";
  reader.value("unmapped_images", unmapped);
  if (unmapped != "container" && unmapped != "refuse") {
    return wrong("unmapped_images", "must be \"container\" or \"refuse\"");
  }
  config.unmapped_images_in_containers = unmapped == "container";
  reader.value("unmanaged_file_systems", config.unmanaged_file_systems);
  using Part = std::pair<const char*, Status (*)(const json&, Config&)>;
  for (const auto& [key, read] :
       {Part{"tls", read_tls}, Part{"storage", read_storage}, Part{"file_servers", read_exports},
        Part{"images", read_images}, Part{"image_mirrors", read_mirrors}, Part{"users", read_users},
        Part{"pools", read_pools}, Part{"timing", read_timing}, Part{"scheduling", read_scheduling}}) {
    const json* found = reader.find(key);
    if (found == nullptr) continue;
    if (const Status status = read(*found, config); !status) return status.error();
  }
  if (const Status status = reader.finish(); !status) return status.error();
  if (const auto address = parse_listen(config.listen); !address) return address.error();
  return config;
}

Result<Config> load_config(const std::string& file) {
  std::ifstream in(file);
  if (!in) {
    return Error{Code::not_found, fmt::format("configuration: cannot read {}: {}", file, std::strerror(errno))};
  }
  std::ostringstream text;
  text << in.rdbuf();
  auto config = parse_config(text.str());
  if (!config) return Error{config.error().code, fmt::format("{}: {}", file, config.error().message)};
  return config;
}

Result<ListenAddress> parse_listen(const std::string& text) {
  const auto colon = text.rfind(':');
  ListenAddress address;
  unsigned port = 0;
  const char* end = text.data() + text.size();
  if (colon == text.npos || colon == 0 || std::from_chars(text.data() + colon + 1, end, port).ptr != end ||
      colon + 1 == text.size() || port > 65535) {
    return wrong("listen", fmt::format("\"{}\" must look like 127.0.0.1:7470 or [::1]:7470", text));
  }
  address.host = text.substr(0, colon);
  if (address.host.starts_with("[") && address.host.ends_with("]")) {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  address.port = static_cast<std::uint16_t>(port);
  return address;
}

bool is_loopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

Status check_security(const Config& config) {
  const auto address = parse_listen(config.listen);
  if (!address) return address.error();
  if (!config.tls) {
    if (is_loopback(address->host) || config.insecure_lab) return {};
    return Error{
        Code::failed_precondition,
        fmt::format("listen {} can be reached by others, but no TLS is configured: set tls.certificate, tls.key "
                    "and tls.client_ca, or listen on 127.0.0.1, or give --insecure-lab on a network where "
                    "everybody may do everything",
                    config.listen)};
  }
  for (const std::string& file : {config.tls->certificate, config.tls->key, config.tls->client_ca}) {
    if (!std::ifstream(file)) {
      return Error{Code::failed_precondition, fmt::format("tls: cannot read {}: {}", file, std::strerror(errno))};
    }
  }
  struct stat info {};
  if (stat(config.tls->key.c_str(), &info) != 0 || (info.st_mode & (S_IROTH | S_IWOTH)) != 0) {
    return Error{Code::failed_precondition,
                 fmt::format("tls.key: {} can be read by every user of this machine: chmod 0600 it and, if others may "
                             "have seen it, make a new one",
                             config.tls->key)};
  }
  return {};
}

Result<std::string> place_of(const Config& config, const std::string& account) {
  const StorageEntry* any = nullptr;
  const StorageEntry* found = nullptr;
  for (const StorageEntry& entry : config.storage) {
    if (entry.account == account && found == nullptr) found = &entry;
    if (entry.account == "*" && any == nullptr) any = &entry;
  }
  if (found == nullptr && any == nullptr) {
    return Error{
        Code::failed_precondition,
        fmt::format("storage account {0} has no place: add {{\"account\":\"{0}\",\"local\":\"/a/directory/on/the/"
                    "nodes\"}} (or nfs, smb, s3, azure_blob) to \"storage\" in the controller's configuration",
                    account)};
  }
  Volume place = found != nullptr ? found->place : any->place;
  // Of a server of objects without a bucket, accounts have nothing of their own to be below.
  if (found == nullptr && !place.source.empty()) place.source += "/" + account;
  if (place.kind == Volume::Kind::local) return place.source;
  if (place.kind == Volume::Kind::azure_blob && place.user.empty()) place.user = account;
  return json(place).dump();
}

std::optional<ExportEntry> export_of(const Config& config, const std::string& file_server) {
  const ExportEntry* any = nullptr;
  for (const ExportEntry& entry : config.exports) {
    if (entry.name == file_server) return entry;
    if (entry.name == "*" && any == nullptr) any = &entry;
  }
  if (any == nullptr) return std::nullopt;
  return ExportEntry{any->name, any->address, any->path + "/" + file_server};
}

Status check_unmanaged(const Config& config, const std::string& at, bool none) {
  if (none || config.unmanaged_file_systems) return {};
  return Error{
      Code::failed_precondition,
      fmt::format("properties.{}mountVolumes.unmanagedFileSystems: are off here, because their commands run as "
                  "root: ask the operator (unmanaged_file_systems in the controller's configuration), or mount "
                  "a share or a file server",
                  at)};
}

std::optional<RunAs> user_of(const Config& config, const std::string& group, const std::string& workspace) {
  for (const std::string& asked : {group + "/" + workspace, group + "/*", std::string("*")}) {
    for (const UserEntry& entry : config.users) {
      if (::strcasecmp(entry.workspace.c_str(), asked.c_str()) == 0) return entry.run_as;
    }
  }
  return std::nullopt;
}

}  // namespace trainyard::controller
