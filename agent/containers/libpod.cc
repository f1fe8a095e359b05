#include "agent/containers/libpod.h"

namespace trainyard::agent {

using nlohmann::json;

json libpod_body(const json& docker, const std::string& name, const std::vector<std::string>& cdi_devices) {
  const json& host = docker.at("HostConfig");
  json mounts = json::array(), limits = json::array(), devices = json::array();
  // "SOURCE:DESTINATION:ro" or "...:rw[,rslave]"; ours have no colon in them.
  for (const std::string bind : host.at("Binds")) {
    const auto first = bind.find(':'), second = bind.find(':', first + 1);
    json options{"rbind", bind.substr(second + 1, 2)};
    if (bind.ends_with(",rslave")) options.push_back("rslave");
    mounts.push_back({{"type", "bind"},
                      {"source", bind.substr(0, first)},
                      {"destination", bind.substr(first + 1, second - first - 1)},
                      {"options", std::move(options)}});
  }
  for (const json& limit : host.at("Ulimits")) {
    const auto value = limit.at("Hard").get<std::int64_t>();
    json number = value < 0 ? json(UINT64_MAX) : json(value);
    limits.push_back({{"type", limit.at("Name")}, {"hard", number}, {"soft", number}});
  }
  for (const std::string& device : cdi_devices) devices.push_back({{"path", device}});
  return {{"name", name},
          {"image", docker.at("Image")},
          {"entrypoint", docker.at("Entrypoint")},
          {"command", json::array()},
          {"user", docker.at("User")},
          {"work_dir", docker.at("WorkingDir")},
          {"labels", docker.at("Labels")},
          {"netns", {{"nsmode", "host"}}},
          {"utsns", {{"nsmode", "host"}}},
          {"cgroup_parent", host.at("CgroupParent")},
          {"shm_size", host.at("ShmSize")},
          {"mounts", std::move(mounts)},
          {"no_new_privileges", true},
          {"cap_drop", host.at("CapDrop")},
          {"groups", host.at("GroupAdd")},
          {"r_limits", std::move(limits)},
          {"devices", std::move(devices)}};
}

}  // namespace trainyard::agent
