#include "agent/core/agent_core.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace trainyard::agent {
namespace {

// Old tombstones go first. Orders of a lower revision are refused for ever, so this many is only a second lock.
constexpr std::size_t kMaxTombstones = 4096;
// Reports whose acknowledgement may still come; older ones are forgotten (their acknowledgement then renews nothing).
constexpr std::size_t kMaxUnacknowledged = 1024;

bool ended(HoldingState state) {
  return state == HoldingState::stopping || state == HoldingState::clean;
}

DurationMs grace_of(const HeldAttempt& held) {
  return held.launch ? held.launch->spec.recovery.grace_ms : 0;
}

}  // namespace

AgentCore::AgentCore(Settings settings, std::string node_name, std::string epoch, Inventory inventory, Spool spool,
                     TimeMs now_ms)
    : x_settings(settings),
      x_node_name(std::move(node_name)),
      x_epoch(std::move(epoch)),
      x_store_generation(std::move(spool.store_generation)),
      x_inventory(std::move(inventory)),
      x_revision(spool.revision),
      x_setup(std::move(spool.setup)),
      x_tombstones(spool.tombstones.begin(), spool.tombstones.end()),
      x_now_ms(now_ms),
      x_acked_send_ms(spool.acked_send_ms > 0 ? std::min(spool.acked_send_ms, now_ms) : now_ms),
      x_spooled_acked_send_ms(spool.acked_send_ms),
      // Sequences of two lives of an agent never meet: a late acknowledgement of the old life must renew nothing.
      x_sequence(static_cast<std::uint64_t>(now_ms) << 10) {
  for (HeldAttempt& held : spool.holdings) x_holdings.emplace(held.id, std::move(held));
}

std::vector<Action> AgentCore::step(const Input& input) {
  TY_CHECK(x_actions.empty());
  x_now_ms = std::max(x_now_ms, input.now_ms);
  if (!x_resumed) resume_spool();
  // An acknowledgement may renew a lease that would otherwise end in this very step; anything else comes after the end.
  if (const auto* acknowledged = std::get_if<ReportAcknowledged>(&input.body)) {
    on(*acknowledged);
    end_leases();
  } else {
    end_leases();
    std::visit([this](const auto& body) { on(body); }, input.body);
  }
  if (x_waiting_orders) {
    const Orders orders = *std::exchange(x_waiting_orders, std::nullopt);
    on(OrdersArrived{orders});
  }
  follow_setup();
  retry_file_servers();
  report_if_due();
  return std::exchange(x_actions, {});
}

TimeMs AgentCore::next_deadline() const {
  if (!x_resumed) return x_now_ms;
  TimeMs deadline = x_now_ms + x_settings.report_every_ms;
  if (x_link_up) deadline = std::min(deadline, report_due_ms());
  for (const auto& [id, held] : x_holdings) {
    if (held.lease_ms == kForever || held.state == HoldingState::clean || x_tombstones.contains(id)) continue;
    deadline = std::min(deadline, x_acked_send_ms + held.lease_ms);
  }
  for (const auto& [id, held] : x_file_servers) {
    if (held.retry_ms != 0) deadline = std::min(deadline, held.retry_ms);
  }
  return deadline;
}

bool AgentCore::accepts_launch(AttemptId id) const {
  const auto found = x_holdings.find(id);
  if (found == x_holdings.end() || !found->second.run_ordered || x_tombstones.contains(id)) return false;
  return found->second.state == HoldingState::ready || found->second.state == HoldingState::running;
}

// ---- Orders ----

void AgentCore::on(const OrdersArrived& input) {
  const Orders& orders = input.orders;
  if (orders.node_epoch != x_epoch) return;
  const bool new_store = orders.store_generation != x_store_generation;
  if (!new_store && orders.revision < x_revision) return;
  if (new_store && !x_store_generation.empty()) {
    // Job numbers of another store mean other jobs: nothing of the old one may live when the first new one is taken.
    bool all_clean = !x_setup;
    x_setup_ordered = std::optional<SetupOrder>();
    for (auto& [id, held] : x_holdings) {
      if (!ended(held.state)) stop(held, 0);
      all_clean = all_clean && held.state == HoldingState::clean;
    }
    if (!all_clean) {
      x_waiting_orders = orders;
      return;
    }
    for (const auto& [id, held] : x_holdings) forget(id);
    x_holdings.clear();
    x_tombstones.clear();
  }
  if (would_start_expired(orders)) {
    // They may be as old as the silence (read after a freeze, say), and what they give long be fenced. The controller
    // sends its present ones when it sees that these were not echoed.
    x_dropped_orders = true;
    return;
  }
  if (new_store || orders.revision > x_revision) {
    x_store_generation = orders.store_generation;
    x_revision = orders.revision;
    x_changed = true;
    persist_orders();
  }
  if (x_acted_revision != orders.revision) x_changed = true;
  x_acted_revision = orders.revision;
  act_on(orders);
}

bool AgentCore::would_start_expired(const Orders& orders) const {
  return std::any_of(orders.holdings.begin(), orders.holdings.end(), [this](const HoldingOrder& order) {
    return order.phase == HoldingPhase::prepare && !x_holdings.contains(order.id) && lease_over(order.lease_ms);
  });
}

void AgentCore::act_on(const Orders& orders) {
  forget_unlisted(orders);  // first: what is given up makes room for what is new
  for (const HoldingOrder& order : orders.holdings) {
    if (order.phase == HoldingPhase::stop) act_on(order);
  }
  for (const HoldingOrder& order : orders.holdings) {
    if (order.phase != HoldingPhase::stop) act_on(order);
  }
  x_setup_ordered = orders.setup;
  act_on(orders.file_servers);
}

void AgentCore::act_on(const HoldingOrder& order) {
  HeldAttempt* held = find(order.id);
  if (order.phase == HoldingPhase::prepare && held == nullptr && !x_tombstones.contains(order.id)) take(order);
  if (held == nullptr) return;
  if (held->pinned_digest.empty() && !order.image_digest.empty()) {
    held->pinned_digest = order.image_digest;
    persist(*held);
    if (held->state == HoldingState::preparing) x_actions.push_back(PinImage{held->id});
  }
  if (order.phase == HoldingPhase::stop) stop(*held, order.grace_ms, order.notice_ms);
  if (order.phase == HoldingPhase::run) run(*held);
}

void AgentCore::take(const HoldingOrder& order) {
  HeldAttempt held;
  held.id = order.id;
  held.member = order.member;
  held.gpu_uuids = order.gpu_uuids;
  held.lease_ms = order.lease_ms;
  held.launch = order.launch;
  held.secrets = order.secrets;
  held.pinned_digest = order.image_digest;
  // The ledger: a GPU has one owner. The controller never orders otherwise; if it does, nothing of it starts.
  for (const auto& [id, other] : x_holdings) {
    if (other.state == HoldingState::clean) continue;
    for (const std::string& uuid : order.gpu_uuids) {
      if (std::find(other.gpu_uuids.begin(), other.gpu_uuids.end(), uuid) == other.gpu_uuids.end()) continue;
      held.state = HoldingState::failed;
      held.error = {.code = "GpuInUse",
                    .message = "GPU " + uuid + " of node " + x_node_name + " still belongs to job " +
                               std::to_string(id.job.value) + " attempt " + std::to_string(id.attempt),
                    .infrastructure = true};
    }
  }
  HeldAttempt& kept = x_holdings.emplace(held.id, std::move(held)).first->second;
  x_changed = true;
  persist(kept);
  if (kept.state == HoldingState::preparing) x_actions.push_back(Prepare{kept.id});
}

void AgentCore::run(HeldAttempt& held) {
  if (ended(held.state)) return;
  bool changed = !held.run_ordered;
  held.run_ordered = true;
  bool start = false;
  if (held.state == HoldingState::ready && held.member != 0) {
    held.state = HoldingState::running;
    x_changed = changed = true;
  } else if (held.state == HoldingState::ready && !held.head_start_requested) {
    held.head_start_requested = true;
    changed = start = true;
  }
  if (changed) persist(held);
  if (start) x_actions.push_back(StartHead{held.id});
}

void AgentCore::stop(HeldAttempt& held, DurationMs grace_ms, DurationMs notice_ms) {
  if (held.state == HoldingState::clean) return;
  if (held.state != HoldingState::stopping) {
    held.state = HoldingState::stopping;
    x_changed = true;
    persist(held);
  }
  x_actions.push_back(Stop{held.id, grace_ms, notice_ms});
}

void AgentCore::forget_unlisted(const Orders& orders) {
  std::set<AttemptId> listed;
  for (const HoldingOrder& order : orders.holdings) listed.insert(order.id);
  for (auto it = x_holdings.begin(); it != x_holdings.end();) {
    HeldAttempt& held = it->second;
    if (listed.contains(held.id)) {
      ++it;
    } else if (held.state == HoldingState::clean) {
      forget(held.id);
      x_changed = true;
      it = x_holdings.erase(it);
    } else {
      if (held.state != HoldingState::stopping) stop(held, grace_of(held));
      ++it;
    }
  }
}

// ---- The cluster's set-up ----

void AgentCore::follow_setup() {
  if (!x_setup_ordered) return;
  const std::optional<SetupOrder>& ordered = *x_setup_ordered;
  if (x_setup && x_setup->state != SetupState::stopping && (!ordered || ordered->run != x_setup->run)) {
    const bool used = std::any_of(x_holdings.begin(), x_holdings.end(),
                                  [](const auto& held) { return held.second.state != HoldingState::clean; });
    if (used) return;  // jobs see its mounts: they end first
    x_setup->state = SetupState::stopping;
    x_changed = true;
    x_actions.push_back(PersistSetup{});
    x_actions.push_back(TakeDownSetup{x_setup->run});
  }
  if (x_setup || !ordered) return;
  x_setup = HeldSetup{ordered->run, SetupState::running, x_now_ms, ordered->setup, {}, ordered->secrets};
  x_changed = true;
  x_actions.push_back(PersistSetup{});
  x_actions.push_back(SetUp{ordered->run});
}

void AgentCore::on(const SetUpEnded& input) {
  if (!x_setup || x_setup->run != input.run || x_setup->state != SetupState::running) return;
  x_setup->state = input.error ? SetupState::failed : SetupState::done;
  if (input.error) x_setup->error = *input.error;
  x_changed = true;
  x_actions.push_back(PersistSetup{});
}

// The jobs here see its mounts. What has run may have written half of something: its own matter. What has not runs
// elsewhere.
void AgentCore::on(const SetupBroke& input) {
  if (!x_setup || x_setup->run != input.run || x_setup->state != SetupState::done) return;
  x_setup->state = SetupState::failed;
  x_setup->error = input.error;
  x_changed = true;
  x_actions.push_back(PersistSetup{});
  for (auto& [id, held] : x_holdings) {
    if (ended(held.state)) continue;
    NodeError error = input.error;
    error.infrastructure = !held.run_ordered;
    settle(held, HoldingState::failed, error);
  }
}

void AgentCore::on(const SetupTakenDown& input) {
  if (!x_setup || x_setup->run != input.run || x_setup->state != SetupState::stopping) return;
  x_setup.reset();
  x_changed = true;
  x_actions.push_back(PersistSetup{});
}

// ---- Leases ----

void AgentCore::on(const ReportAcknowledged& input) {
  const auto found = x_sent_ms.find(input.sequence);
  if (found == x_sent_ms.end()) return;
  x_acked_send_ms = std::max(x_acked_send_ms, found->second);
  x_change_acknowledged = x_change_acknowledged || input.sequence >= x_changed_sequence;
  x_sent_ms.erase(x_sent_ms.begin(), std::next(found));
  if (std::exchange(x_dropped_orders, false)) x_changed = true;  // ask for the present ones at once
  persist_renewed_lease();
}

void AgentCore::persist_renewed_lease() {
  DurationMs shortest = 0;
  for (const auto& [id, held] : x_holdings) {
    if (held.lease_ms == kForever || ended(held.state)) continue;
    shortest = shortest == 0 ? held.lease_ms : std::min(shortest, held.lease_ms);
  }
  if (shortest != 0 && x_acked_send_ms - x_spooled_acked_send_ms > shortest / 20) persist_orders();
}

bool AgentCore::lease_over(DurationMs lease_ms) const {
  return lease_ms != kForever && x_now_ms >= x_acked_send_ms + lease_ms;
}

void AgentCore::end_leases() {
  std::vector<AttemptId> over;
  for (const auto& [id, held] : x_holdings) {
    if (held.state != HoldingState::clean && !x_tombstones.contains(id) && lease_over(held.lease_ms))
      over.push_back(id);
  }
  if (over.empty()) return;
  x_tombstones.insert(over.begin(), over.end());
  while (x_tombstones.size() > kMaxTombstones) x_tombstones.erase(x_tombstones.begin());
  persist_orders();
  for (const AttemptId id : over) stop(x_holdings.at(id), 0);
}

// ---- Outcomes of actions ----

void AgentCore::on(const Prepared& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->state != HoldingState::preparing) return;
  if (input.error) return settle(*held, HoldingState::failed, *input.error);
  if (x_setup && x_setup->state == SetupState::failed) {  // broken since the job was sent here
    NodeError error = x_setup->error;
    error.infrastructure = true;
    return settle(*held, HoldingState::failed, error);
  }
  held->state = HoldingState::ready;
  x_changed = true;
  if (held->run_ordered) run(*held);
}

void AgentCore::on(const HeadStarted& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->state != HoldingState::ready) return;
  if (input.error) return settle(*held, HoldingState::failed, *input.error);
  held->state = HoldingState::running;
  x_changed = true;
}

void AgentCore::on(const HeadEnded& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || (held->state != HoldingState::ready && held->state != HoldingState::running)) return;
  if (!input.exit_code) return settle(*held, HoldingState::lost, input.error);
  held->exit_code = input.exit_code;
  settle(*held, HoldingState::exited, input.error);
}

void AgentCore::on(const PeerLost& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || (held->state != HoldingState::ready && held->state != HoldingState::running)) return;
  settle(*held, HoldingState::lost, input.error);
}

void AgentCore::on(const ImageKnown& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->state != HoldingState::preparing || held->image_digest == input.digest) return;
  held->image_digest = input.digest;
  x_changed = true;
  persist(*held);
}

void AgentCore::on(const ProgressTold& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->progress == input.progress) return;
  held->progress = input.progress;
  x_changed = true;
}

void AgentCore::on(const LimitExceeded& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || ended(held->state)) return;
  settle(*held, HoldingState::failed, input.error);
}

void AgentCore::on(const Stuck& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->state != HoldingState::stopping || held->stuck == input.what) return;
  held->stuck = input.what;
  x_changed = true;
}

void AgentCore::on(const Cleaned& input) {
  HeldAttempt* held = find(input.id);
  if (held == nullptr || held->state != HoldingState::stopping) return;
  held->stuck.clear();
  held->state = HoldingState::clean;
  held->receipt = input.receipt;
  x_changed = true;
  persist(*held);
}

void AgentCore::on(const InventoryChanged& input) {
  x_changed = x_changed || x_inventory != input.inventory;
  x_inventory = input.inventory;
}

void AgentCore::settle(HeldAttempt& held, HoldingState state, const NodeError& error) {
  held.state = state;
  held.error = error;
  x_changed = true;
  persist(held);
}

// ---- Reports ----

void AgentCore::on(const LinkUp& input) {
  x_to_wall_ms = input.wall_ms == 0 ? std::nullopt : std::optional(input.wall_ms - x_now_ms);
  x_link_up = true;
  x_changed = true;
}

void AgentCore::on(const LinkDown&) {
  x_link_up = false;
}

void AgentCore::report_if_due() {
  if (!x_link_up) return;
  if (!x_changed && x_now_ms < report_due_ms()) return;
  const std::uint64_t sequence = ++x_sequence;
  x_sent_ms[sequence] = x_now_ms;
  if (x_sent_ms.size() > kMaxUnacknowledged) x_sent_ms.erase(x_sent_ms.begin());
  x_last_sent_ms = x_now_ms;
  if (std::exchange(x_changed, false)) {
    x_changed_sequence = sequence;
    x_change_acknowledged = false;
  }
  if (x_change_acknowledged) {
    x_actions.push_back(SendSame{sequence, x_acted_revision});
    return;
  }
  Report report{.node_name = x_node_name,
                .store_generation = x_store_generation,
                .epoch = x_epoch,
                .orders_revision = x_acted_revision,
                .sequence = sequence,
                .inventory = x_inventory};
  for (const auto& [id, held] : x_holdings) {
    report.holdings.push_back({.id = id,
                               .state = held.state,
                               .exit_code = held.exit_code,
                               .error = held.error,
                               .receipt = held.receipt,
                               .image_digest = held.image_digest,
                               .stuck = held.stuck,
                               .progress = held.progress});
  }
  if (x_setup) report.setup = SetupReport{x_setup->run, x_setup->state, x_setup->error};
  for (const auto& [id, held] : x_file_servers) {
    if (!held.removed) report.file_servers.push_back(held.report);
  }
  x_actions.push_back(SendReport{std::move(report)});
}

// ---- The spool ----

void AgentCore::resume_spool() {
  x_resumed = true;
  if (x_setup && x_setup->state == SetupState::running) x_actions.push_back(SetUp{x_setup->run});
  if (x_setup && x_setup->state == SetupState::stopping) x_actions.push_back(TakeDownSetup{x_setup->run});
  for (auto& [id, held] : x_holdings) {
    if (x_tombstones.contains(id) && !ended(held.state)) {
      stop(held, 0);  // the crash came between spooling the tombstone and acting on it
      continue;
    }
    if (held.state == HoldingState::preparing) x_actions.push_back(Prepare{id});
    if (held.state == HoldingState::stopping) {
      x_actions.push_back(Stop{id, x_tombstones.contains(id) ? 0 : grace_of(held)});
    }
  }
}

void AgentCore::persist_orders() {
  x_spooled_acked_send_ms = x_acked_send_ms;
  x_actions.push_back(PersistOrders{.revision = x_revision,
                                    .store_generation = x_store_generation,
                                    .acked_send_ms = x_acked_send_ms,
                                    .tombstones = {x_tombstones.begin(), x_tombstones.end()}});
}

void AgentCore::forget(AttemptId id) {
  // Whoever executes the actions looks holdings up by id: none may name one that this step removed.
  std::erase_if(x_actions, [id](const Action& action) {
    const auto* persist = std::get_if<PersistHolding>(&action);
    return persist != nullptr && persist->id == id;
  });
  x_actions.push_back(ForgetHolding{id});
}

void AgentCore::persist(const HeldAttempt& held) {
  x_actions.push_back(PersistHolding{held.id});
}

HeldAttempt* AgentCore::find(AttemptId id) {
  const auto found = x_holdings.find(id);
  return found == x_holdings.end() ? nullptr : &found->second;
}

}  // namespace trainyard::agent
