#include "agent/loop/spool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/model_json.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

json id_to_json(AttemptId id) {
  return json{{"job", id.job.value}, {"attempt", id.attempt}};
}

AttemptId id_from_json(const json& value) {
  return {JobId{value.at("job").get<std::uint64_t>()}, value.at("attempt").get<std::uint32_t>()};
}

json held_to_json(const HeldAttempt& held) {
  json value{{"id", id_to_json(held.id)},      {"state", name_of(held.state)},
             {"member", held.member},          {"gpu_uuids", held.gpu_uuids},
             {"lease_ms", held.lease_ms},      {"error", held.error},
             {"receipt", held.receipt},        {"head_start_requested", held.head_start_requested},
             {"run_ordered", held.run_ordered}};
  if (held.launch) value["launch"] = *held.launch;
  if (!held.secrets.empty()) value["secrets"] = held.secrets;
  if (!held.image_digest.empty()) value["image_digest"] = held.image_digest;
  if (!held.pinned_digest.empty()) value["pinned_digest"] = held.pinned_digest;
  if (held.exit_code) value["exit_code"] = *held.exit_code;
  return value;
}

HeldAttempt held_from_json(const json& value) {
  HeldAttempt held;
  held.id = id_from_json(value.at("id"));
  const auto state = holding_state_named(value.at("state").get<std::string>());
  if (!state) throw json::other_error::create(501, "unknown holding state", &value);
  held.state = *state;
  held.member = value.at("member").get<std::uint32_t>();
  held.gpu_uuids = value.at("gpu_uuids").get<std::vector<std::string>>();
  held.lease_ms = value.at("lease_ms").get<DurationMs>();
  held.error = value.at("error").get<NodeError>();
  held.receipt = value.at("receipt").get<CleanupReceipt>();
  held.head_start_requested = value.at("head_start_requested").get<bool>();
  held.run_ordered = value.at("run_ordered").get<bool>();
  if (value.contains("launch")) held.launch = std::make_shared<const Launch>(value.at("launch").get<Launch>());
  if (value.contains("secrets")) value.at("secrets").get_to(held.secrets);
  held.image_digest = value.value("image_digest", std::string());
  held.pinned_digest = value.value("pinned_digest", std::string());
  if (value.contains("exit_code")) held.exit_code = value.at("exit_code").get<std::int32_t>();
  return held;
}

json setup_to_json(const HeldSetup& held) {
  json value{{"run", held.run}, {"state", name_of(held.state)}, {"begun_ms", held.begun_ms}, {"error", held.error}};
  if (held.setup) value["setup"] = *held.setup;
  if (!held.secrets.empty()) value["secrets"] = held.secrets;
  return value;
}

HeldSetup setup_from_json(const json& value) {
  HeldSetup held;
  held.run = value.at("run").get<std::uint64_t>();
  const auto state = setup_state_named(value.at("state").get<std::string>());
  if (!state) throw json::other_error::create(501, "unknown set-up state", &value);
  held.state = *state;
  held.begun_ms = value.at("begun_ms").get<TimeMs>();
  held.error = value.at("error").get<NodeError>();
  held.setup = std::make_shared<const ClusterSetup>(value.at("setup").get<ClusterSetup>());
  if (value.contains("secrets")) value.at("secrets").get_to(held.secrets);
  return held;
}

Result<std::string> draw_generation() {
  unsigned char bytes[8];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return system_error("cannot draw random bytes", errno);
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Status make_directory(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return system_error("cannot create " + part, errno);
    if (slash == std::string::npos) return {};
  }
}

}  // namespace

Result<std::string> boot_identity() {
  auto boot = read_whole_file("/proc/sys/kernel/random/boot_id");
  if (!boot) return boot.error();
  const std::uint64_t start = process_start_time(1);
  if (start == 0) return Error{Code::failed_precondition, "cannot read /proc/1/stat: is /proc mounted here?"};
  return trimmed(*boot) + "." + std::to_string(start);
}

Result<SpoolDirectory> SpoolDirectory::open(const std::string& path, const std::string& boot) {
  SpoolDirectory spool;
  spool.x_path = path;
  spool.x_boot = boot;
  if (auto made = make_directory(path + "/holdings"); !made) return made.error();
  if (::chmod(path.c_str(), 0700) != 0) return system_error("cannot chmod " + path, errno);
  spool.x_lock.reset(::open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!spool.x_lock.valid()) return system_error("cannot open " + path + "/lock", errno);
  if (::flock(spool.x_lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{Code::failed_precondition, "another trainyard-agent runs on the spool " + path +
                                                "; stop it first, or give this one a spool_dir of its own"};
  }
  if (auto loaded = spool.load(); !loaded) return loaded.error();
  auto lease = LeaseFile::open(path + "/lease");
  if (!lease) return lease.error();
  spool.x_lease = std::move(lease).value();
  return spool;
}

Status SpoolDirectory::load() {
  const std::string generation_file = x_path + "/generation";
  if (::access(generation_file.c_str(), F_OK) != 0) {
    auto drawn = draw_generation();
    if (!drawn) return drawn.error();
    if (auto written = write_file_durably(generation_file, *drawn + "\n", 0600); !written) return written;
  }
  auto generation = read_whole_file(generation_file);
  if (!generation) return generation.error();
  x_generation = trimmed(*generation);
  const std::string state_file = x_path + "/state.json";
  if (::access(state_file.c_str(), F_OK) != 0) return {};
  auto text = read_whole_file(state_file);
  if (!text) return text.error();
  try {
    const json value = json::parse(*text);
    x_record.revision = value.at("revision").get<std::uint64_t>();
    x_record.store_generation = value.at("store_generation").get<std::string>();
    x_record.cluster = value.at("cluster").get<std::string>();
    for (const json& id : value.at("tombstones")) x_record.tombstones.push_back(id_from_json(id));
    if (value.at("boot").get<std::string>() != x_boot) return {};
    x_record.acked_send_ms = value.at("acked_send_ms").get<TimeMs>();
    for (const json& held : value.at("holdings")) x_holdings.push_back(held_from_json(held));
    if (value.contains("setup")) x_setup = setup_from_json(value.at("setup"));
  } catch (const json::exception& error) {
    return Error{Code::data_loss, state_file + " cannot be read: " + error.what() +
                                      "; when nothing of a job runs on this machine any more, remove the directory " +
                                      x_path + " and start the agent again"};
  }
  return {};
}

Spool SpoolDirectory::for_core() const {
  return {.revision = x_record.revision,
          .store_generation = x_record.store_generation,
          .holdings = x_holdings,
          .tombstones = x_record.tombstones,
          .acked_send_ms = x_record.acked_send_ms,
          .setup = x_setup};
}

Status SpoolDirectory::save(const std::map<AttemptId, HeldAttempt>& holdings, const std::optional<HeldSetup>& setup) {
  json value{{"boot", x_boot},
             {"revision", x_record.revision},
             {"store_generation", x_record.store_generation},
             {"cluster", x_record.cluster},
             {"acked_send_ms", x_record.acked_send_ms},
             {"tombstones", json::array()},
             {"holdings", json::array()}};
  for (const AttemptId id : x_record.tombstones) value["tombstones"].push_back(id_to_json(id));
  for (const auto& [id, held] : holdings) value["holdings"].push_back(held_to_json(held));
  if (setup) value["setup"] = setup_to_json(*setup);
  return rewrite_file_durably(x_path + "/state.json", value.dump(-1, ' ', false, json::error_handler_t::replace), 0600);
}

}  // namespace trainyard::agent
