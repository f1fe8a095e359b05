#include "agent/config.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/topology.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

Error bad(const std::string& message) {
  return {Code::invalid_argument, message};
}

bool is_node_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-');
         });
}

bool is_loopback(const std::string& target) {
  const std::string host = target.substr(0, target.rfind(':'));
  return host == "localhost" || host.rfind("127.", 0) == 0 || host == "[::1]" || host == "::1";
}

std::vector<DiskLimit> disks_in(const json& list) {
  constexpr std::uint64_t kMb = 1024 * 1024;
  std::vector<DiskLimit> disks;
  for (const json& each : list.get<std::vector<json>>()) {
    DiskLimit& disk = disks.emplace_back();
    for (const auto& [key, value] : each.get<std::map<std::string, json>>()) {
      if (key == "device") {
        value.get_to(disk.device);
        continue;
      }
      const bool read = key == "read_mb_per_s" || key == "reads_per_s", bytes = key.find("_mb_") != std::string::npos;
      if (!read && key != "write_mb_per_s" && key != "writes_per_s") {
        throw json::other_error::create(501, "unknown key " + key, &list);
      }
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() == 0 ||
          value.get<std::uint64_t>() > 1'000'000'000) {
        throw json::other_error::create(501, key + " must be a number above 0", &list);
      }
      std::uint64_t& limit = bytes ? (read ? disk.read_bytes : disk.write_bytes) : (read ? disk.reads : disk.writes);
      limit = value.get<std::uint64_t>() * (bytes ? kMb : 1);
    }
  }
  return disks;
}

void apply(const std::string& key, const json& value, Config& config) {
  if (key == "controller") return value.get_to(config.controller), void();
  if (key == "node_name") return value.get_to(config.node_name), void();
  if (key == "flavour") return value.get_to(config.flavour), void();
  if (key == "pool") return value.get_to(config.pool), void();
  if (key == "topology") return value.get_to(config.topology), void();
  if (key == "address") return value.get_to(config.address), void();
  if (key == "network_cidr") return value.get_to(config.network_cidr), void();
  if (key == "spool_dir") return value.get_to(config.spool_dir), void();
  if (key == "work_dir") return value.get_to(config.work_dir), void();
  if (key == "run_dir") return value.get_to(config.run_dir), void();
  if (key == "cgroup_parent") return value.get_to(config.cgroup_parent), void();
  if (key == "pretend_gpus") return value.get_to(config.pretend_gpus), void();
  if (key == "file_server_directory") return value.get_to(config.file_server_directory), void();
  if (key == "file_server_port") return value.get_to(config.file_server_port), void();
  if (key == "memory_limit_mb") return value.get_to(config.memory_limit_mb), void();
  if (key == "process_limit") return value.get_to(config.process_limit), void();
  if (key == "log_limit_mb") return value.get_to(config.log_limit_mb), void();
  if (key == "part_limits") return value.get_to(config.part_limits), void();
  if (key == "cpu_limit_percent") return value.get_to(config.cpu_limit_percent), void();
  if (key == "disk_limits") return config.disk_limits = disks_in(value), void();
  if (key == "isolation") return value.get_to(config.isolation), void();
  if (key == "container_runtime") return value.get_to(config.container_runtime), void();
  if (key == "container_socket") return value.get_to(config.container_socket), void();
  if (key == "container_auth_file") return value.get_to(config.container_auth_file), void();
  if (key == "container_image_dir") return value.get_to(config.container_image_dir), void();
  if (key == "image_cache_gb") return value.get_to(config.image_cache_gb), void();
  if (key == "image_pull_limit_ms") return value.get_to(config.image_pull_limit_ms), void();
  if (key == "insecure_lab") return value.get_to(config.insecure_lab), void();
  if (key == "heartbeat_ms") return value.get_to(config.heartbeat_ms), void();
  if (key == "reconnect_max_ms") return value.get_to(config.reconnect_max_ms), void();
  if (key == "volume_check_every_ms") return value.get_to(config.volume_check_every_ms), void();
  if (key == "counters_every_ms") return value.get_to(config.counters_every_ms), void();
  if (key == "gpus_every_ms") return value.get_to(config.gpus_every_ms), void();
  if (key == "doctor_every_ms") return value.get_to(config.doctor_every_ms), void();
  if (key == "tls") {
    config.tls.certificate = value.value("certificate", std::string());
    config.tls.key = value.value("key", std::string());
    config.tls.ca = value.value("ca", std::string());
    return;
  }
  throw json::other_error::create(501, "unknown key", &value);
}

// The directory goes into nfs-ganesha's configuration as it is.
Status check_storage(const Config& config) {
  const std::string& directory = config.file_server_directory;
  if (config.file_server_port < 1 || config.file_server_port > 65'535) {
    return bad("file_server_port must be 1 to 65535, e.g. 2049");
  }
  if (directory.empty()) return {};
  const bool plain = std::all_of(directory.begin(), directory.end(), [](unsigned char c) {
    return c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '/');
  });
  if (!plain || directory.front() != '/' || directory.size() < 2 || directory.back() == '/' ||
      directory.find("..") != std::string::npos) {
    return bad("file_server_directory '" + directory +
               "' must be an absolute path of A-Z a-z 0-9 . _ - and / that does not end with /, e.g. /srv/trainyard");
  }
  return {};
}

Status check_containers(const Config& config) {
  static const char* const kinds[] = {"auto", "docker", "podman", "enroot", "apptainer", "charliecloud", "none"};
  if (std::find(std::begin(kinds), std::end(kinds), config.container_runtime) == std::end(kinds)) {
    return bad("container_runtime '" + config.container_runtime +
               "' must be auto, docker, podman, enroot, apptainer, charliecloud or none");
  }
  if (!config.container_socket.empty() && config.container_runtime != "docker" &&
      config.container_runtime != "podman") {
    return bad("container_socket is of an engine: set container_runtime to docker or podman");
  }
  if (config.image_cache_gb < 0 || config.image_pull_limit_ms < 1'000) {
    return bad("image_cache_gb must not be below 0 (no limit), image_pull_limit_ms not below 1000");
  }
  return {};
}

Status check_limits(const Config& config) {
  if (config.memory_limit_mb < -1 || config.process_limit < -1 || config.log_limit_mb < -1) {
    return bad(
        "memory_limit_mb, process_limit and log_limit_mb must be numbers above 0; 0 is no limit, -1 the default");
  }
  if (config.cpu_limit_percent < 0 || config.cpu_limit_percent > 1'000'000) {
    return bad("cpu_limit_percent must be 0 (no limit) to 1000000, per cent of one processor: 400 is four");
  }
  for (const DiskLimit& disk : config.disk_limits) {
    if (disk.device.empty() || disk.device.front() != '/') {
      return bad("disk_limits: each needs the device of a whole disk, e.g. /dev/nvme0n1");
    }
    if (disk.read_bytes + disk.write_bytes + disk.reads + disk.writes == 0) {
      return bad("disk_limits: " + disk.device + " needs read_mb_per_s, write_mb_per_s, reads_per_s or writes_per_s");
    }
  }
  return {};
}

}  // namespace

Status read_config(const std::string& path, Config& config) {
  std::ifstream file(path);
  if (!file) return bad("cannot read the configuration file " + path);
  std::stringstream text;
  text << file.rdbuf();
  const json root = json::parse(text.str(), nullptr, false, true);
  if (!root.is_object()) return bad(path + " is not a JSON object");
  for (const auto& [key, value] : root.items()) {
    try {
      apply(key, value, config);
    } catch (const json::exception& error) {
      return bad(path + ": " + key + ": " + error.what());
    }
  }
  return {};
}

std::vector<std::string> needs_restart(const Config& running, const Config& wanted) {
  std::vector<std::string> names;
  const auto compare = [&](const char* name, const auto member) {
    if (running.*member != wanted.*member) names.push_back(name);
  };
  compare("controller", &Config::controller);
  compare("node_name", &Config::node_name);
  compare("flavour", &Config::flavour);
  compare("pool", &Config::pool);
  compare("topology", &Config::topology);
  compare("address", &Config::address);
  compare("network_cidr", &Config::network_cidr);
  compare("spool_dir", &Config::spool_dir);
  compare("work_dir", &Config::work_dir);
  compare("run_dir", &Config::run_dir);
  compare("cgroup_parent", &Config::cgroup_parent);
  compare("pretend_gpus", &Config::pretend_gpus);
  compare("file_server_directory", &Config::file_server_directory);
  compare("file_server_port", &Config::file_server_port);
  compare("part_limits", &Config::part_limits);
  compare("tls", &Config::tls);
  compare("insecure_lab", &Config::insecure_lab);
  compare("gpus_every_ms", &Config::gpus_every_ms);
  compare("doctor_every_ms", &Config::doctor_every_ms);
  return names;
}

Status check_config(const Config& config) {
  if (!is_node_name(config.node_name)) {
    return bad("node_name '" + config.node_name +
               "' must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit");
  }
  if (config.flavour.empty()) return bad("flavour is missing: the VM size that clusters ask for, e.g. STANDARD_NC6");
  if (const auto wrong = wrong_with_place(config.topology)) return bad("topology " + *wrong);
  for (const std::string& directory : {config.spool_dir, config.work_dir, config.run_dir}) {
    if (directory.empty() || directory.front() != '/')
      return bad("spool_dir, work_dir and run_dir must be absolute: '" + directory + "'");
  }
  if (auto checked = check_storage(config); !checked) return checked;
  if (auto checked = check_containers(config); !checked) return checked;
  if (config.cgroup_parent.empty() || config.cgroup_parent.find("..") != std::string::npos) {
    return bad("cgroup_parent must name a cgroup below the root, e.g. trainyard");
  }
  if (auto checked = check_limits(config); !checked) return checked;
  if (config.isolation != "full" && config.isolation != "user" && config.isolation != "none") {
    return bad("isolation '" + config.isolation + "' must be full, user or none");
  }
  if (config.heartbeat_ms < 100 || config.reconnect_max_ms < 100) {
    return bad("heartbeat_ms and reconnect_max_ms must be at least 100");
  }
  // The controller keeps at most two a second, and averages over five minutes.
  if (config.counters_every_ms < 1'000 || config.counters_every_ms > 300'000) {
    return bad("counters_every_ms must be from 1000 to 300000: a sample a second to one in five minutes");
  }
  if (config.gpus_every_ms < 100) return bad("gpus_every_ms must be at least 100");
  if (config.doctor_every_ms != 0 && config.doctor_every_ms < 1'000) {
    return bad("doctor_every_ms must be at least 1000, or 0: never");
  }
  const bool some_tls = !config.tls.certificate.empty() || !config.tls.key.empty() || !config.tls.ca.empty();
  const bool all_tls = !config.tls.certificate.empty() && !config.tls.key.empty() && !config.tls.ca.empty();
  if (some_tls && !all_tls) return bad("tls needs all of certificate, key and ca");
  if (!all_tls && !config.insecure_lab && !is_loopback(config.controller)) {
    return bad("the controller " + config.controller +
               " is not on this machine: give tls.certificate, tls.key and tls.ca, or --insecure-lab in a closed lab");
  }
  return {};
}

}  // namespace trainyard::agent
