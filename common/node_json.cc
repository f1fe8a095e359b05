// JSON forms of what nodes have and say: see model_json.h.
#include "common/json_parts.h"
#include "common/model_json.h"

namespace trainyard {
namespace {

using namespace json_parts;

constexpr Names<Fabric::Kind, 2> kFabrics{{{Fabric::Kind::infiniband, "infiniband"}, {Fabric::Kind::roce, "roce"}}};

}  // namespace

const char* name_of(Fabric::Kind kind) {
  return name_in(kFabrics, kind);
}
std::optional<Fabric::Kind> fabric_kind_named(const std::string& name) {
  return named_in(kFabrics, name);
}
void to_json(json& out, const Gpu& in) {
  out = {{"uuid", in.uuid}, {"model", in.model}, {"memoryBytes", in.memory_bytes}, {"pretend", in.pretend}};
  write_some(out, "fault", in.fault);
  write_some(out, "pciBusId", in.pci_bus_id);
  write_some(out, "parentUuid", in.parent_uuid);
  if (in.numa_node >= 0) out["numaNode"] = in.numa_node;
  if (in.nvlink_island >= 0) out["nvlinkIsland"] = in.nvlink_island;
  write_some(out, "cores", in.cores);
}
void from_json(const json& in, Gpu& out) {
  read(in, "uuid", out.uuid);
  read(in, "model", out.model);
  read(in, "memoryBytes", out.memory_bytes);
  read(in, "pretend", out.pretend);
  read(in, "fault", out.fault);
  read(in, "pciBusId", out.pci_bus_id);
  read(in, "parentUuid", out.parent_uuid);
  read(in, "numaNode", out.numa_node);
  read(in, "nvlinkIsland", out.nvlink_island);
  read(in, "cores", out.cores);
}

void to_json(json& out, const Fabric& in) {
  out = {{"kind", name_in(kFabrics, in.kind)}, {"name", in.name}, {"port", in.port}};
}
void from_json(const json& in, Fabric& out) {
  read_enum(in, "kind", kFabrics, out.kind);
  read(in, "name", out.name);
  read(in, "port", out.port);
}

void to_json(json& out, const Finding& in) {
  out = {{"check", in.check}, {"level", in.level}, {"message", in.message}};
}
void from_json(const json& in, Finding& out) {
  read(in, "check", out.check);
  read(in, "level", out.level);
  read(in, "message", out.message);
}

void to_json(json& out, const Inventory& in) {
  out = {{"flavour", in.flavour}, {"pool", in.pool},
         {"address", in.address}, {"networkCidr", in.network_cidr},
         {"cores", in.cores},     {"memoryBytes", in.memory_bytes},
         {"gpus", in.gpus},       {"agentVersion", in.agent_version}};
  write_some(out, "sealingKey", in.sealing_key);
  write_some(out, "fileServerSoftware", in.file_server_software);
  write_some(out, "networkInterface", in.network_interface);
  write_some(out, "fabrics", in.fabrics);
  write_some(out, "containerRuntime", in.container_runtime);
  write_some(out, "findings", in.findings);
  write_some(out, "topology", in.topology);
}
void from_json(const json& in, Inventory& out) {
  read(in, "flavour", out.flavour);
  read(in, "pool", out.pool);
  read(in, "address", out.address);
  read(in, "networkCidr", out.network_cidr);
  read(in, "cores", out.cores);
  read(in, "memoryBytes", out.memory_bytes);
  read(in, "gpus", out.gpus);
  read(in, "agentVersion", out.agent_version);
  read(in, "sealingKey", out.sealing_key);
  read(in, "fileServerSoftware", out.file_server_software);
  read(in, "networkInterface", out.network_interface);
  read(in, "fabrics", out.fabrics);
  read(in, "containerRuntime", out.container_runtime);
  read(in, "findings", out.findings);
  read(in, "topology", out.topology);
}

void to_json(json& out, const NodeError& in) {
  out = {{"code", in.code}, {"message", in.message}, {"details", in.details}, {"infrastructure", in.infrastructure}};
}
void from_json(const json& in, NodeError& out) {
  read(in, "code", out.code);
  read(in, "message", out.message);
  read(in, "details", out.details);
  read(in, "infrastructure", out.infrastructure);
}

void to_json(json& out, const CleanupPart& in) {
  out = {{"what", in.what}, {"count", in.count}, {"tookMs", in.took_ms}};
}
void from_json(const json& in, CleanupPart& out) {
  read(in, "what", out.what);
  read(in, "count", out.count);
  read(in, "tookMs", out.took_ms);
}

void to_json(json& out, const CleanupReceipt& in) {
  out = {{"nodeName", in.node_name},
         {"processesKilled", in.processes_killed},
         {"mountsRemoved", in.mounts_removed},
         {"directoriesRemoved", in.directories_removed},
         {"tookMs", in.took_ms}};
  write_some(out, "parts", in.parts);
}
void from_json(const json& in, CleanupReceipt& out) {
  read(in, "nodeName", out.node_name);
  read(in, "processesKilled", out.processes_killed);
  read(in, "mountsRemoved", out.mounts_removed);
  read(in, "directoriesRemoved", out.directories_removed);
  read(in, "tookMs", out.took_ms);
  read(in, "parts", out.parts);
}

}  // namespace trainyard
