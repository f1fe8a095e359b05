#include "agent/containers/request.h"

namespace trainyard::agent {

using nlohmann::json;

void to_json(json& out, const RuntimeSettings& in) {
  out = {{"kind", in.kind},
         {"socket", in.socket},
         {"auth_file", in.auth_file},
         {"image_directory", in.image_directory},
         {"record", in.record},
         {"cache_bytes", in.cache_bytes},
         {"pull_limit_ms", in.pull_limit_ms},
         {"owner", in.owner}};
}

void from_json(const json& in, RuntimeSettings& out) {
  in.at("kind").get_to(out.kind);
  in.at("socket").get_to(out.socket);
  in.at("auth_file").get_to(out.auth_file);
  in.at("image_directory").get_to(out.image_directory);
  in.at("record").get_to(out.record);
  in.at("cache_bytes").get_to(out.cache_bytes);
  in.at("pull_limit_ms").get_to(out.pull_limit_ms);
  in.at("owner").get_to(out.owner);
}

void to_json(json& out, const FoundRuntime& in) {
  out = {{"kind", in.kind}, {"version", in.version}, {"socket", in.socket}, {"why", in.why}};
}

void from_json(const json& in, FoundRuntime& out) {
  in.at("kind").get_to(out.kind);
  in.at("version").get_to(out.version);
  in.at("socket").get_to(out.socket);
  in.at("why").get_to(out.why);
}

void to_json(json& out, const ImageRequest& in) {
  out = {{"image", in.image}, {"pinned_digest", in.pinned_digest}, {"user", in.user}, {"password", in.password}};
}

void from_json(const json& in, ImageRequest& out) {
  in.at("image").get_to(out.image);
  in.at("pinned_digest").get_to(out.pinned_digest);
  in.at("user").get_to(out.user);
  in.at("password").get_to(out.password);
}

void to_json(json& out, const Image& in) {
  out = {{"digest", in.digest}, {"id", in.id}};
}

void from_json(const json& in, Image& out) {
  in.at("digest").get_to(out.digest);
  in.at("id").get_to(out.id);
}

void to_json(json& out, const ContainerRequest& in) {
  json binds = json::array();
  for (const Bind& bind : in.binds) binds.push_back({{"path", bind.path}, {"read_only", bind.read_only}});
  out = {{"name", in.name},
         {"image", in.image},
         {"uid", in.uid},
         {"gid", in.gid},
         {"groups", in.groups},
         {"job_cgroup", in.job_cgroup},
         {"cgroup_parent", in.cgroup_parent},
         {"limit_groups", in.limit_groups},
         {"cores", in.cores},
         {"shm_bytes", in.shm_bytes},
         {"binds", std::move(binds)},
         {"gpu_uuids", in.gpu_uuids},
         {"scratch", in.scratch},
         {"program", in.program},
         {"socket", in.socket}};
}

void from_json(const json& in, ContainerRequest& out) {
  in.at("name").get_to(out.name);
  in.at("image").get_to(out.image);
  in.at("uid").get_to(out.uid);
  in.at("gid").get_to(out.gid);
  in.at("groups").get_to(out.groups);
  in.at("job_cgroup").get_to(out.job_cgroup);
  in.at("cgroup_parent").get_to(out.cgroup_parent);
  in.at("limit_groups").get_to(out.limit_groups);
  in.at("cores").get_to(out.cores);
  in.at("shm_bytes").get_to(out.shm_bytes);
  for (const json& bind : in.at("binds")) {
    out.binds.push_back({bind.at("path").get<std::string>(), bind.at("read_only").get<bool>()});
  }
  in.at("gpu_uuids").get_to(out.gpu_uuids);
  in.at("scratch").get_to(out.scratch);
  in.at("program").get_to(out.program);
  in.at("socket").get_to(out.socket);
}

void to_json(json& out, const ContainerError& in) {
  out = {{"code", in.code}, {"message", in.message}, {"reason", in.reason}, {"infrastructure", in.infrastructure}};
}

void from_json(const json& in, ContainerError& out) {
  in.at("code").get_to(out.code);
  in.at("message").get_to(out.message);
  in.at("reason").get_to(out.reason);
  in.at("infrastructure").get_to(out.infrastructure);
}

std::string line_of(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace) + "\n";
}

}  // namespace trainyard::agent
