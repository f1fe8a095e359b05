// The agent's decision core: complete orders x what is observed -> actions. Pure like the controller's core: no I/O, no
// clock, no threads; time (the node's CLOCK_BOOTTIME in ms) comes in with each input. The agent's loop executes the
// actions in order and feeds their outcomes back; the simulator does the same with pretend execution.
//
// After a restart the first step (any input) also resumes what the spool says: Prepare again for what was preparing
// (the executor's Prepare is idempotent), Stop again for what was stopping. StartHead is never repeated: for a holding
// with `head_start_requested` and state ready or running the executor itself looks for the process and feeds
// HeadStarted / HeadEnded (no code when it is lost).
//
// Rules it keeps: orders of another epoch or a lower revision are refused for ever; a holding whose lease ended without
// an acknowledgement is stopped without grace and leaves a tombstone; what is not ordered is stopped and cleaned; a
// clean holding is reported until orders no longer list it. Of a cluster's set-up there is at most one run at a time; a
// run that is no longer ordered is taken down once no job can use it, and only then the next one begins. Of file
// servers nothing is spooled: the executor finds on the disk what is there, and orders say what of it should be.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

// ---- Inputs ----
struct OrdersArrived {
  Orders orders;
};
struct ReportAcknowledged {
  std::uint64_t sequence = 0;
};
struct LinkUp {        // a new stream to the controller: the next report must be full
  TimeMs wall_ms = 0;  // what the clock on the wall says now (Unix epoch); 0: not known
};
struct LinkDown {};
// Outcome of Prepare
struct Prepared {
  AttemptId id;
  std::optional<NodeError> error;
};
// Outcome of StartHead
struct HeadStarted {
  AttemptId id;
  std::optional<NodeError> error;
};
// No code: shim lost
struct HeadEnded {
  AttemptId id;
  std::optional<std::int32_t> exit_code;
  NodeError error;
};
// A peer's shim died: infrastructure
struct PeerLost {
  AttemptId id;
  NodeError error;
};
// What a container job's image turned out to be on this node, while it prepares.
struct ImageKnown {
  AttemptId id;
  std::string digest;
};
// What the head's job says of itself.
struct ProgressTold {
  AttemptId id;
  Progress progress;
};
// The job went beyond what it may use here (memory): its own fault. In any phase before the stop.
struct LimitExceeded {
  AttemptId id;
  NodeError error;
};
// While Stop goes on: what cannot be ended; empty: that is over
struct Stuck {
  AttemptId id;
  std::string what;
};
// Outcome of Stop: nothing is left
struct Cleaned {
  AttemptId id;
  CleanupReceipt receipt;
};
// Outcome of SetUp
struct SetUpEnded {
  std::uint64_t run = 0;
  std::optional<NodeError> error;
};
// Of one that is done: a volume of it does not work any more.
struct SetupBroke {
  std::uint64_t run = 0;
  NodeError error;
};
// Outcome of TakeDownSetup: nothing is left
struct SetupTakenDown {
  std::uint64_t run = 0;
};
// Outcome of ServeFiles, and what becomes of the server later
struct FileServerUp {
  std::uint64_t id = 0;
  std::string address, export_path;
  std::uint32_t port = 0;
};
struct FileServerDown {
  std::uint64_t id = 0;
  std::string error;
};
// Outcome of RemoveFileServer: nothing is left, or why something is
struct FileServerRemoved {
  std::uint64_t id = 0;
  std::string error = {};
};
struct InventoryChanged {
  Inventory inventory;
};
struct Tick {};

struct Input {
  TimeMs now_ms = 0;
  std::variant<OrdersArrived, ReportAcknowledged, LinkUp, LinkDown, Prepared, HeadStarted, HeadEnded, PeerLost,
               ImageKnown, ProgressTold, LimitExceeded, Stuck, Cleaned, SetUpEnded, SetupBroke, SetupTakenDown,
               FileServerUp, FileServerDown, FileServerRemoved, InventoryChanged, Tick>
      body;
};

// ---- Actions ----
// The spool's record beside the holdings, whole; fsync before any action after it. Emitted for new orders, for a new
// tombstone, and now and then for a renewed lease (a restarted agent counts leases from the spooled `acked_send_ms`).
struct PersistOrders {
  std::uint64_t revision = 0;
  std::string store_generation;
  TimeMs acked_send_ms = 0;
  std::vector<AttemptId> tombstones;
};
// Spool holdings().at(id), fsync
struct PersistHolding {
  AttemptId id;
};
// Remove it from the spool
struct ForgetHolding {
  AttemptId id;
};
// Mounts, directories, jobPreparation -> Prepared
struct Prepare {
  AttemptId id;
};
// All nodes of the attempt run this image: holdings().at(id).pinned_digest is known now, after Prepare
struct PinImage {
  AttemptId id;
};
// -> HeadStarted, later HeadEnded
struct StartHead {
  AttemptId id;
};
// Kill, unmount, remove -> Cleaned. Repeats may shorten grace and notice
struct Stop {
  AttemptId id;
  DurationMs grace_ms = 0;   // SIGTERM to SIGKILL
  DurationMs notice_ms = 0;  // SIGUSR1 to SIGTERM, for processes that catch it
};
// Spool setup() (none: forget it), fsync
struct PersistSetup {};
// Mounts, then the task -> SetUpEnded. A repeat goes on with what is there: a run's task never starts twice.
struct SetUp {
  std::uint64_t run = 0;
};
// Kill, unmount -> SetupTakenDown
struct TakeDownSetup {
  std::uint64_t run = 0;
};
// Make its directory where it is new, start its server or take up the one that runs -> FileServerUp or FileServerDown
struct ServeFiles {
  FileServerOrder order;
};
// End its server, remove its files -> FileServerRemoved
struct RemoveFileServer {
  FileServerOrder order;
};
// End the servers of all others; their files stay. No outcome.
struct EndOtherFileServers {
  std::set<std::uint64_t> ordered;
};
// Full
struct SendReport {
  Report report;
};
struct SendSame {
  std::uint64_t sequence = 0, orders_revision = 0;
};

using Action =
    std::variant<PersistOrders, PersistHolding, ForgetHolding, Prepare, PinImage, StartHead, Stop, PersistSetup, SetUp,
                 TakeDownSetup, ServeFiles, RemoveFileServer, EndOtherFileServers, SendReport, SendSame>;

// What the spool keeps of a holding; survives the agent, not the machine's reboot.
struct HeldAttempt {
  AttemptId id;
  HoldingState state = HoldingState::preparing;
  std::uint32_t member = 0;
  std::vector<std::string> gpu_uuids;
  DurationMs lease_ms = 0;
  std::shared_ptr<const Launch> launch;
  std::vector<SealedValue> secrets;  // sealed to this node's key
  std::optional<std::int32_t> exit_code;
  NodeError error;
  CleanupReceipt receipt;
  bool head_start_requested = false;                // StartHead was issued: never issued twice for an attempt
  bool run_ordered = false;                         // phase run was seen
  std::string stuck = {};                           // not spooled: who goes on stopping finds out again
  std::string image_digest = {};                    // of a container job, once it is known here: reported
  std::string pinned_digest = {};                   // HoldingOrder::image_digest
  std::optional<Progress> progress = std::nullopt;  // not spooled: it is read again
};

// The same of a cluster's set-up.
struct HeldSetup {
  std::uint64_t run = 0;
  SetupState state = SetupState::running;
  TimeMs begun_ms = 0;  // the task's time limit counts from here
  std::shared_ptr<const ClusterSetup> setup;
  NodeError error;
  std::vector<SealedValue> secrets = {};  // sealed to this node's key
};

// A file server as the newest orders want it, and how far it is. A server that ended is started again, after a pause
// that grows while it does not stay up; a removal that failed is tried again.
struct HeldFileServer {
  FileServerOrder order;
  FileServerReport report;
  bool removed = false;  // nothing is left: not reported any more
  std::uint32_t failures = 0;
  TimeMs retry_ms = 0;  // when it is tried again; 0: nothing failed, or it is being tried
  TimeMs up_since_ms = 0;
};

struct Spool {  // what a restarted agent starts from; empty on a new one
  std::uint64_t revision = 0;
  std::string store_generation;
  std::vector<HeldAttempt> holdings;
  // (job, attempt) killed because the lease ended: never started again by a late order.
  std::vector<AttemptId> tombstones;
  // Send time (CLOCK_BOOTTIME: valid within the epoch) of a report known to be acknowledged; 0: none. Leases
  // count from it.
  TimeMs acked_send_ms = 0;
  std::optional<HeldSetup> setup = std::nullopt;
};

// Reports that are due by time only are sent at multiples of this, by the clock on the wall, the last one before they
// are due: agents whose clocks are set speak together, and the controller wakes once for many (decisions/0066).
inline constexpr DurationMs kReportGridMs = 100;

struct Settings {
  DurationMs report_every_ms = 5'000;  // at least kReportGridMs; also at once when something changed
};

class AgentCore {
 public:
  // `epoch` = boot identity + generation of the spool; see DESIGN "fencing".
  AgentCore(Settings settings, std::string node_name, std::string epoch, Inventory inventory, Spool spool,
            TimeMs now_ms);
  std::vector<Action> step(const Input& input);
  void set_report_interval(DurationMs report_every_ms) { x_settings.report_every_ms = report_every_ms; }

  // When a Tick is wanted next (report due, a lease ends); at once while the spool waits to be resumed.
  TimeMs next_deadline() const;
  const std::map<AttemptId, HeldAttempt>& holdings() const { return x_holdings; }
  const std::optional<HeldSetup>& setup() const { return x_setup; }
  const std::map<std::uint64_t, HeldFileServer>& file_servers() const { return x_file_servers; }
  const std::set<AttemptId>& tombstones() const { return x_tombstones; }
  std::uint64_t revision() const { return x_revision; }
  // Leases count from here: the send time of the newest report known to be acknowledged.
  TimeMs acked_send_ms() const { return x_acked_send_ms; }
  // True when a peer launch of this attempt may start here now: held, phase run, not stopping.
  bool accepts_launch(AttemptId id) const;

 private:
  void on(const OrdersArrived& input);
  void on(const ReportAcknowledged& input);
  void on(const LinkUp& input);
  void on(const LinkDown&);
  void on(const Prepared& input);
  void on(const HeadStarted& input);
  void on(const HeadEnded& input);
  void on(const PeerLost& input);
  void on(const ImageKnown& input);
  void on(const ProgressTold& input);
  void on(const LimitExceeded& input);
  void on(const Stuck& input);
  void on(const Cleaned& input);
  void on(const SetUpEnded& input);
  void on(const SetupBroke& input);
  void on(const SetupTakenDown& input);
  void on(const FileServerUp& input);
  void on(const FileServerDown& input);
  void on(const FileServerRemoved& input);
  void on(const InventoryChanged& input);
  void on(const Tick&) {}

  void resume_spool();
  void end_leases();
  void persist_renewed_lease();
  void act_on(const Orders& orders);
  void act_on(const HoldingOrder& order);
  void take(const HoldingOrder& order);
  void run(HeldAttempt& held);
  void stop(HeldAttempt& held, DurationMs grace_ms, DurationMs notice_ms = 0);
  void forget_unlisted(const Orders& orders);
  void follow_setup();
  void act_on(const std::vector<FileServerOrder>& orders);
  void begin(HeldFileServer& held, const FileServerOrder& order);
  void retry_file_servers();
  void retry_later(HeldFileServer& held, const std::string& error);
  bool would_start_expired(const Orders& orders) const;
  void persist_orders();
  void persist(const HeldAttempt& held);
  void forget(AttemptId id);
  void settle(HeldAttempt& held, HoldingState state, const NodeError& error);
  TimeMs report_due_ms() const {  // where nothing changes
    const TimeMs due_ms = x_last_sent_ms + x_settings.report_every_ms;
    return x_to_wall_ms ? due_ms - (due_ms + *x_to_wall_ms) % kReportGridMs : due_ms;
  }
  void report_if_due();
  HeldAttempt* find(AttemptId id);
  bool lease_over(DurationMs lease_ms) const;

  Settings x_settings;
  std::string x_node_name, x_epoch, x_store_generation;
  Inventory x_inventory;
  std::uint64_t x_revision = 0;  // newest accepted: spooled before it is acted on, lower ones are refused
  // Newest that this life of the agent acted on: what reports echo. 0 after a restart, because the crash may have come
  // between spooling a revision and acting on it; the controller then sends its orders again.
  std::uint64_t x_acted_revision = 0;
  std::map<AttemptId, HeldAttempt> x_holdings;
  std::optional<HeldSetup> x_setup;
  // What the newest orders that were acted on say of it; nothing before this life has seen any.
  std::optional<std::optional<SetupOrder>> x_setup_ordered;
  std::map<std::uint64_t, HeldFileServer> x_file_servers;
  std::optional<std::set<std::uint64_t>> x_file_servers_ordered;  // of the newest orders that this life acted on
  std::set<AttemptId> x_tombstones;
  TimeMs x_now_ms = 0;
  TimeMs x_acked_send_ms = 0;                 // leases count from here
  TimeMs x_spooled_acked_send_ms = 0;         // what the spool knows of it
  std::map<std::uint64_t, TimeMs> x_sent_ms;  // reports not yet acknowledged
  std::uint64_t x_sequence = 0;
  TimeMs x_last_sent_ms = 0;
  bool x_link_up = false;
  std::optional<DurationMs> x_to_wall_ms;  // from our clock to the one on the wall, when the stream began
  bool x_changed = true;                   // the next report must be full
  // Full reports go on until one with the newest change is acknowledged: a controller that is full drops them.
  std::uint64_t x_changed_sequence = 0;  // of the first report with the newest change
  bool x_change_acknowledged = false;
  bool x_resumed = false;
  // Orders of a new store, while something of the old one lives.
  std::optional<Orders> x_waiting_orders;
  // Orders came whose leases would be over before they begin, because no report was acknowledged for long.
  bool x_dropped_orders = false;
  std::vector<Action> x_actions;  // of the step under way
};

}  // namespace trainyard::agent
