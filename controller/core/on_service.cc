// Nodes that get nothing new: drained by an operator or by a failed health check; or with a faulty GPU, because jobs
// take whole nodes.
#include <algorithm>

#include "controller/core/engine.h"
#include "controller/core/lookup.h"

namespace trainyard::core {

namespace {

bool is_parent(const Inventory& inventory, const Gpu& gpu) {
  return std::any_of(inventory.gpus.begin(), inventory.gpus.end(),
                     [&](const Gpu& other) { return other.parent_uuid == gpu.uuid; });
}

const Gpu* find_gpu(const Inventory& inventory, const std::string& uuid) {
  const auto found =
      std::find_if(inventory.gpus.begin(), inventory.gpus.end(), [&](const Gpu& gpu) { return gpu.uuid == uuid; });
  return found == inventory.gpus.end() ? nullptr : &*found;
}

// Why the holding cannot go on: the first of its GPUs that is faulty.
const Gpu* faulty_gpu_of(const Node& node, const Holding& holding) {
  for (const std::string& uuid : holding.gpu_uuids) {
    const Gpu* gpu = find_gpu(node.inventory, uuid);
    if (gpu != nullptr && !gpu->fault.empty()) return gpu;
  }
  return nullptr;
}

void end_jobs_with_faults(Engine& e, NodeId id) {
  for (JobId job : jobs_on(e.state, id)) {
    const Node& node = e.state.nodes.at(id);
    const AttemptId attempt{job, e.state.jobs.at(job).attempt};
    const Gpu* gpu = faulty_gpu_of(node, e.state.holdings.at({id, attempt}));
    if (gpu == nullptr) continue;
    end_infrastructure(e, job, {"GpuFault", "node " + node.name + ": GPU " + gpu->uuid + ": " + gpu->fault, true});
  }
}

}  // namespace

std::vector<std::string> gpus_to_give(const Inventory& inventory) {
  std::vector<std::string> uuids;
  for (const Gpu& gpu : inventory.gpus) {
    if (gpu.fault.empty() && !is_parent(inventory, gpu)) uuids.push_back(gpu.uuid);
  }
  return uuids;
}

std::uint32_t count_to_give(const Inventory& inventory) {
  return static_cast<std::uint32_t>(std::count_if(inventory.gpus.begin(), inventory.gpus.end(), [&](const Gpu& gpu) {
    return gpu.fault.empty() && !is_parent(inventory, gpu);
  }));
}

const char* verb_of(const Drain& drain) {
  return drain.cordon ? "cordoned" : "drained";
}

bool in_service(const Node& node) {
  const std::vector<Gpu>& gpus = node.inventory.gpus;
  return !node.drain && std::all_of(gpus.begin(), gpus.end(), [](const Gpu& gpu) { return gpu.fault.empty(); });
}

std::string out_of_service(const Node& node) {
  std::string text;
  if (node.drain) text = std::string(verb_of(*node.drain)) + " by " + node.drain->who + ": " + node.drain->why;
  std::size_t faulty = 0;
  std::string first;
  for (const Gpu& gpu : node.inventory.gpus) {
    if (!gpu.fault.empty() && faulty++ == 0) first = gpu.uuid + ": " + gpu.fault;
  }
  if (faulty == 0) return text;
  if (!text.empty()) text += "; ";
  return text + std::to_string(faulty) + " of " + std::to_string(node.inventory.gpus.size()) +
         " GPUs out of service: " + first;
}

// A real GPU that was there and is not listed any more (its agent was restarted after it fell off the bus) stays
// listed as faulty until the machine has booted: a node does not shrink in silence. MIG instances come and go.
void take_inventory(Engine& e, NodeId id, const Inventory& reported) {
  const Inventory& known = e.state.nodes.at(id).inventory;
  Inventory next = reported;
  for (const Gpu& gpu : known.gpus) {
    if (gpu.pretend || !gpu.parent_uuid.empty() || find_gpu(reported, gpu.uuid) != nullptr) continue;
    next.gpus.push_back(gpu);
    if (gpu.fault.empty()) next.gpus.back().fault = "it is not there any more; see to it and boot the machine";
  }
  if (next == known) return;
  const std::string before = out_of_service(e.state.nodes.at(id));
  e.edit(id).inventory = std::move(next);
  const std::string after = out_of_service(e.state.nodes.at(id));
  e.note(subject_of(e.state.nodes.at(id)), "inventory changed",
         before == after ? ""
         : after.empty() ? "its GPUs are in service again"
                         : after);
  e.wake_plan = true;
  end_jobs_with_faults(e, id);
}

void forget_missing_gpus(Engine& e, NodeId id) {
  std::erase_if(e.edit(id).inventory.gpus, [](const Gpu& gpu) { return !gpu.fault.empty(); });
}

// `since` stays that of the first drain: nothing is younger on the node.
void drain(Engine& e, NodeId id, const std::string& why, bool cordon) {
  Node& node = e.edit(id);
  if (node.drain && node.drain->why == why && node.drain->cordon == cordon) return;
  node.drain = Drain{why, e.who, node.drain ? node.drain->since_ms : e.now, cordon};
  e.note(subject_of(node), verb_of(*node.drain), why);
  e.wake_plan = true;
}

Result<Subject> apply(Engine& e, const DrainNode& c) {
  const auto id = find_node(e.state, c.node);
  if (!id.ok()) return id.error();
  if (c.why.empty()) {
    return Error{Code::invalid_argument, "reason: say why node " + c.node + " is drained; others will read it"};
  }
  if (c.requeue && c.cordon) {
    return Error{Code::invalid_argument, "requeue: jobs on a cordoned node go on; drain it to requeue them"};
  }
  drain(e, *id, c.why, c.cordon);
  if (c.requeue) {
    for (JobId job : jobs_on(e.state, *id)) {
      end(e, job, Verdict::requeue, {"NodeDrained", "node " + c.node + " was drained by " + e.who + ": " + c.why});
    }
  }
  return Subject{Subject::Kind::node, id->value};
}

Result<Subject> apply(Engine& e, const UndrainNode& c) {
  const auto id = find_node(e.state, c.node);
  if (!id.ok()) return id.error();
  Node& node = e.edit(*id);
  if (!node.drain) {
    return Error{Code::failed_precondition, "node " + c.node + " is not drained: jobs are placed on it already"};
  }
  e.note(subject_of(node), node.drain->cordon ? "uncordoned" : "undrained", "");
  node.drain.reset();
  e.wake_plan = true;
  return Subject{Subject::Kind::node, id->value};
}

Result<Subject> apply(Engine& e, const RecordNodeHealth& c) {
  const auto id = find_node(e.state, c.node);
  if (!id.ok()) return id.error();
  Node& node = e.edit(*id);
  node.health = NodeHealth{e.now, c.passed, c.summary, c.figures};
  e.note(subject_of(node), c.passed ? "health check passed" : "health check failed", c.summary);
  if (!c.passed) drain(e, *id, "health check failed: " + c.summary, false);
  return Subject{Subject::Kind::node, id->value};
}

}  // namespace trainyard::core
