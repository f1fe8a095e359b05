#include "proto/place_convert.h"

#include <fmt/format.h>

#include "common/topology.h"
#include "proto/convert.h"
#include "proto/toolkit_convert.h"

namespace trainyard {

namespace {

constexpr int kMaxDependencies = 100, kMaxDomains = 100;

}  // namespace

Status topology_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  const v1::Topology& in = message.topology();
  if (in.block_size() < 0) return invalid("topology.blockSize", "must be at least 1, or 0: all nodes");
  if (in.within_size() > kMaxDomains) {
    return invalid("topology.within", fmt::format("has more than {} domains", kMaxDomains));
  }
  spec.topology.level = in.level();
  spec.topology.required = in.required();
  spec.topology.block_size = static_cast<std::uint32_t>(in.block_size());
  spec.topology.within.assign(in.within().begin(), in.within().end());
  const auto wrong = wrong_with(spec.topology, spec.node_count);
  return wrong ? invalid("topology", *wrong) : Status{};
}

void to_proto(const Topology& topology, v1::Topology& message) {
  message.set_level(topology.level);
  message.set_required(topology.required);
  message.set_block_size(static_cast<std::int32_t>(topology.block_size));
  for (const std::string& domain : topology.within) message.add_within(domain);
}

Status dependencies_from_proto(const v1::JobSpec& message, std::vector<core::DependsOn>& dependencies) {
  using D = v1::Dependency;
  if (message.dependencies_size() > kMaxDependencies) {
    return invalid("dependencies", fmt::format("has more than {} jobs", kMaxDependencies));
  }
  for (int i = 0; i < message.dependencies_size(); ++i) {
    const D& one = message.dependencies(i);
    const std::string field = fmt::format("dependencies[{}]", i);
    const auto names = split(one.job(), '/');
    if (one.job().empty() || names.size() > 2) {
      return invalid(field + ".job", "must be the name of a job or a job array, or experiment/name");
    }
    core::DependsOn& out = dependencies.emplace_back();
    if (names.size() == 2) out.experiment = std::string(names[0]);
    out.job = std::string(names.back());
    out.array = one.array();
    switch (one.condition()) {
      case D::CONDITION_UNSPECIFIED:
      case D::CONDITION_AFTER_OK:
        out.after = core::After::ok;
        break;
      case D::CONDITION_AFTER_ANY:
        out.after = core::After::any;
        break;
      case D::CONDITION_AFTER_NOT_OK:
        out.after = core::After::not_ok;
        break;
      default:
        return invalid(field + ".condition", "is not known: use afterOk, afterAny or afterNotOk");
    }
  }
  return {};
}

}  // namespace trainyard
