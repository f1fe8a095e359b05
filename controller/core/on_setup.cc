// What a cluster makes of its nodes: set up when they are taken and after every boot; unusable for a while when that
// failed, then tried again, sooner when an operator says so.
#include <algorithm>

#include "common/check.h"
#include "controller/core/engine.h"
#include "controller/core/lookup.h"
#include "controller/core/setup.h"

namespace trainyard::core {

void begin_setup(Engine& e, NodeId id) {
  Node& node = e.edit(id);
  TY_CHECK(node.cluster.has_value());
  node.setup_run = e.state.setups.contains(*node.cluster) ? e.next_id() : 0;
  node.setup_retry_ms = 0;
  node.setup_error = {};
  node.reason.clear();
}

void take_setup(Engine& e, NodeId id, const Report& report) {
  Node::Live& live = e.live(id);
  if (report.sequence >= live.sequence) live.setup = report.setup;  // not from a report that was overtaken
}

bool is_set_up(const Node& node) {
  const std::optional<SetupReport>& there = node.live.setup;
  return node.setup_run == 0 || (there && there->run == node.setup_run && there->state == SetupState::done);
}

void consider_setup(Engine& e, NodeId id) {
  if (!setup_failed(e.state.nodes.at(id))) return;
  Node& row = e.edit(id);
  row.setup_error = row.live.setup->error;
  if (row.setup_error.code.empty()) row.setup_error.code = "NodeSetupFailed";
  row.setup_error.details.push_back({"node", row.name});
  row.reason = row.setup_error.code + ": " + row.setup_error.message;
  DurationMs pause = e.settings.setup_retry_ms;
  for (std::uint32_t i = 0; i < row.setup_failures && pause < e.settings.setup_retry_longest_ms; ++i) pause *= 2;
  ++row.setup_failures;
  row.setup_retry_ms = e.now + std::min(pause, e.settings.setup_retry_longest_ms);
  set_node_state(e, id, NodeState::unusable, row.reason);
}

void retry_setup(Engine& e, NodeId id, const std::string& why) {
  TY_CHECK(e.state.nodes.at(id).state == NodeState::unusable);
  begin_setup(e, id);
  e.edit(id).awaited_revision = e.bump(id);
  set_node_state(e, id, NodeState::preparing, why);
}

Result<Subject> apply(Engine& e, const RepairNode& c) {
  const auto id = find_node(e.state, c.node);
  if (!id.ok()) return id.error();
  const Node& node = e.state.nodes.at(*id);
  if (node.state != NodeState::unusable) {
    return Error{Code::failed_precondition, "node " + node.name + " is " + name_of(node.state) +
                                                ": there is nothing to repair; only an unusable node is set up again"};
  }
  e.edit(*id).setup_failures = 0;
  retry_setup(e, *id, "to be repaired, says " + e.who);
  return Subject{Subject::Kind::node, id->value};
}

}  // namespace trainyard::core
