// What is thought of GPUs over time: pure.
#include "agent/probe/gpu_ledger.h"

#include <catch2/catch.hpp>

using namespace trainyard;
using namespace trainyard::agent;
using Catch::Matchers::Contains;

namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

GpuState state(const std::string& uuid, std::uint64_t used_mib, std::vector<std::uint32_t> pids = {}) {
  return {{.uuid = uuid, .model = "V100", .memory_bytes = 16384 * kMiB}, used_mib * kMiB, std::move(pids)};
}

GpuLedger ledger_of(const GpuStates& states) {
  std::vector<Gpu> known;
  for (const GpuState& each : states.gpus) known.push_back(each.gpu);
  known.push_back({.uuid = "PRETEND-1", .model = "pretend", .pretend = true});
  return GpuLedger(std::move(known));
}

std::string fault(const GpuLedger& ledger, const std::string& uuid) {
  for (const Gpu& gpu : ledger.gpus()) {
    if (gpu.uuid == uuid) return gpu.fault;
  }
  return "<not listed>";
}

}  // namespace

TEST_CASE(
    "a GPU with a fatal XID, or one that vanishes, is faulty until an operator has seen to it; the others are not") {
  const GpuStates fine{{state("GPU-a", 3), state("GPU-b", 3), state("GPU-c", 3)}, {}};
  GpuLedger ledger = ledger_of(fine);
  ledger.take(fine, true);
  CHECK(fault(ledger, "GPU-a").empty());
  ledger.take({{state("GPU-a", 3), state("GPU-b", 3)}, {{"GPU-b", "XID 48: uncorrectable ECC error"}}}, true);
  CHECK(fault(ledger, "GPU-a").empty());
  CHECK(fault(ledger, "GPU-b") == "XID 48: uncorrectable ECC error");
  CHECK_THAT(fault(ledger, "GPU-c"), Contains("does not answer any more"));
  CHECK(fault(ledger, "PRETEND-1").empty());
  ledger.take(fine, true);  // it is back, and the process that heard of the event is another one
  CHECK_FALSE(fault(ledger, "GPU-b").empty());
  CHECK_FALSE(fault(ledger, "GPU-c").empty());
  ledger.forget_faults();
  ledger.take(fine, true);
  CHECK(fault(ledger, "GPU-b").empty());
  CHECK(fault(ledger, "GPU-c").empty());
}

TEST_CASE("the XIDs that are fatal, and a job's own mistakes, which are not") {
  for (const std::uint64_t xid : {48, 64, 74, 79, 94, 95, 119}) CHECK(why_fatal(xid) != nullptr);
  for (const std::uint64_t xid : {13, 31, 43, 45, 63}) CHECK(why_fatal(xid) == nullptr);
}

TEST_CASE("MIG instances come and go, and are no faults") {
  GpuStates states{{state("GPU-a", 3)}, {}};
  GpuLedger ledger = ledger_of(states);
  states.gpus.push_back(state("MIG-1", 0));
  states.gpus.back().gpu.parent_uuid = "GPU-a";
  ledger.take(states, true);
  CHECK(fault(ledger, "MIG-1").empty());
  states.gpus.pop_back();
  ledger.take(states, true);
  CHECK(fault(ledger, "MIG-1") == "<not listed>");
  CHECK(fault(ledger, "GPU-a").empty());
}

TEST_CASE("memory is free when it is back at its baseline, taken while nobody had the GPU") {
  GpuStates states{{state("GPU-a", 450)}, {}};
  GpuLedger ledger = ledger_of(states);
  ledger.take(states, true);
  states.gpus[0] = state("GPU-a", 9000, {4711});
  ledger.take(states, false);  // a job's
  REQUIRE(ledger.left_on("GPU-a", states).has_value());
  CHECK(ledger.left_on("GPU-a", states)->bytes == 8550 * kMiB);
  CHECK(ledger.left_on("GPU-a", states)->text == "8550 MiB above its baseline, held by process 4711");
  ledger.mark_not_free("GPU-a", ledger.left_on("GPU-a", states)->text);
  ledger.take(states, true);  // the job is gone: what it left is no baseline
  CHECK_THAT(fault(ledger, "GPU-a"), Contains("its memory is not free: 8550 MiB above its baseline"));
  states.gpus[0] = state("GPU-a", 460);
  CHECK_FALSE(ledger.left_on("GPU-a", states).has_value());
  ledger.take(states, true);
  CHECK(fault(ledger, "GPU-a").empty());
  CHECK_FALSE(ledger.left_on("PRETEND-1", states).has_value());
}

TEST_CASE("without a baseline, of an agent that began beside a job, processes on the GPU tell") {
  GpuStates states{{state("GPU-a", 9000, {4711, 4712})}, {}};
  GpuLedger ledger = ledger_of(states);
  ledger.take(states, false);
  CHECK(ledger.left_on("GPU-a", states)->text == "9000 MiB are used, held by process 4711, 4712");
  states.gpus[0] = state("GPU-a", 3);
  CHECK_FALSE(ledger.left_on("GPU-a", states).has_value());
}

TEST_CASE("an answer of trainyard-gpus is read as it was written; anything else is none") {
  GpuStates states{{state("GPU-a", 450, {1, 2}), state("GPU-b", 0)}, {{"GPU-c", "XID 79: it fell off the bus"}}};
  states.gpus[0].gpu.numa_node = 1;
  states.gpus[0].gpu.pci_bus_id = "00000000:3B:00.0";
  states.gpus[1].memory_used_bytes.reset();
  CHECK(format_states(states).ends_with("\n\n"));
  CHECK(parse_states(format_states(states)) == states);
  for (const char* wrong : {"", "\n", "[]", "{}", "{\"gpus\": 1, \"faults\": {}}"}) CHECK_FALSE(parse_states(wrong));
}
