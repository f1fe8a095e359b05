// The agent's decision core: complete orders x what is observed -> actions. Pure like the controller's core: no I/O, no
// clock, no threads; time (the node's CLOCK_BOOTTIME in ms) comes in with each input. The agent's loop executes the
// actions in order and feeds their outcomes back; the simulator does the same with pretend execution.
//
// Rules it keeps: orders of another epoch or a lower revision are refused for ever; a holding whose lease ended without
// an acknowledgement is stopped without grace and leaves a tombstone; what is not ordered is stopped and cleaned; a
// clean holding is reported until orders no longer list it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

// ---- Inputs ----
struct OrdersArrived { Orders orders; };
struct ReportAcknowledged { std::uint64_t sequence = 0; };
struct LinkUp {};    // a new stream to the controller: the next report must be full
struct LinkDown {};
struct Prepared { AttemptId id; std::optional<NodeError> error; };     // outcome of Prepare
struct HeadStarted { AttemptId id; std::optional<NodeError> error; };  // outcome of StartHead
struct HeadEnded { AttemptId id; std::optional<std::int32_t> exit_code; NodeError error; };  // no code: shim lost
struct PeerLost { AttemptId id; NodeError error; };                    // a peer's shim died: infrastructure
struct Cleaned { AttemptId id; CleanupReceipt receipt; };              // outcome of Stop: nothing is left
struct InventoryChanged { Inventory inventory; };
struct Tick {};

struct Input {
  TimeMs now_ms = 0;
  std::variant<OrdersArrived, ReportAcknowledged, LinkUp, LinkDown, Prepared, HeadStarted, HeadEnded, PeerLost, Cleaned,
               InventoryChanged, Tick>
      body;
};

// ---- Actions ----
struct PersistOrders { std::uint64_t revision = 0; std::string store_generation; };  // fsync before anything after it
struct PersistHolding { AttemptId id; };   // spool holdings().at(id), fsync
struct ForgetHolding { AttemptId id; };    // remove it from the spool
struct Prepare { AttemptId id; };          // mounts, directories, jobPreparation -> Prepared
struct StartHead { AttemptId id; };        // -> HeadStarted, later HeadEnded
struct Stop { AttemptId id; DurationMs grace_ms = 0; };  // kill, unmount, remove -> Cleaned. Repeats may shorten grace
struct SendReport { Report report; };      // full
struct SendSame { std::uint64_t sequence = 0, orders_revision = 0; };

using Action = std::variant<PersistOrders, PersistHolding, ForgetHolding, Prepare, StartHead, Stop, SendReport, SendSame>;

// What the spool keeps of a holding; survives the agent, not the machine's reboot.
struct HeldAttempt {
  AttemptId id;
  HoldingState state = HoldingState::preparing;
  std::uint32_t member = 0;
  std::vector<std::string> gpu_uuids;
  DurationMs lease_ms = 0;
  std::shared_ptr<const Launch> launch;
  std::optional<std::int32_t> exit_code;
  NodeError error;
  CleanupReceipt receipt;
  bool head_start_requested = false;  // StartHead was issued: never issued twice for an attempt
  bool run_ordered = false;           // phase run was seen
};

struct Spool {  // what a restarted agent starts from; empty on a new one
  std::uint64_t revision = 0;
  std::string store_generation;
  std::vector<HeldAttempt> holdings;
  // (job, attempt) killed because the lease ended: never started again by a late order.
  std::vector<AttemptId> tombstones;
};

struct Settings {
  DurationMs report_every_ms = 5'000;   // also at once when something changed
};

class AgentCore {
 public:
  // `epoch` = boot identity + generation of the spool; see DESIGN "fencing".
  AgentCore(Settings settings, std::string node_name, std::string epoch, Inventory inventory, Spool spool, TimeMs now_ms);
  std::vector<Action> step(const Input& input);

  // When a Tick is wanted next (report due, a lease ends).
  TimeMs next_deadline() const;
  const std::map<AttemptId, HeldAttempt>& holdings() const;
  const std::set<AttemptId>& tombstones() const;
  std::uint64_t revision() const;
  // True when a peer launch of this attempt may start here now: held, phase run, not stopping.
  bool accepts_launch(AttemptId id) const;
};

}  // namespace trainyard::agent
