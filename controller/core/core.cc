#include "controller/core/core.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

const char* const kKinds[] = {"none",  "group", "workspace",   "experiment",  "cluster",   "job",         "account",
                              "share", "node",  "file-server", "reservation", "job-array", "job-schedule"};

std::string text_of(const Subject& subject) {
  return std::string(kKinds[static_cast<int>(subject.kind)]) + ":" + std::to_string(subject.id);
}

Subject subject_from(const std::string& text) {
  Subject subject;
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return subject;
  for (int kind = 0; kind < static_cast<int>(std::size(kKinds)); ++kind) {
    if (text.compare(0, colon, kKinds[kind]) == 0) subject.kind = static_cast<Subject::Kind>(kind);
  }
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), subject.id);
  return subject;
}

Result<Subject> first_answer(const RequestRecord& record) {
  if (record.code == 0) return subject_from(record.subject);
  return Error{static_cast<Code>(record.code), record.message};
}

Result<Subject> answer(Engine& e, const Command& command) {
  if (!command.request_id.empty()) {
    auto known = e.state.requests.find(command.request_id);
    if (known != e.state.requests.end()) {
      if (known->second.fingerprint == command.fingerprint) return first_answer(known->second);
      return Error{Code::aborted, "request id " + command.request_id +
                                      " was already used for another request; draw a new one for every new request"};
    }
  }
  Result<Subject> result = std::visit([&e](const auto& body) { return apply(e, body); }, command.body);
  if (!command.request_id.empty()) {
    RequestRecord record{command.request_id, command.fingerprint, e.now};
    if (result.ok()) {
      record.subject = text_of(*result);
    } else {
      record.code = static_cast<int>(result.error().code);
      record.message = result.error().message;
    }
    e.requests.change(command.request_id);
    e.request_deadlines.set(command.request_id, e.now + e.settings.request_keep_ms);
    e.state.requests.emplace(command.request_id, std::move(record));
  }
  return result;
}

void on_event(Engine& e, const Command& command) {
  e.who = command.principal.empty() ? "unknown" : command.principal;
  Result<Subject> result = answer(e, command);
  e.say(Reply{command.ticket, std::move(result)});
}
void on_event(Engine& e, const NodeReported& event) {
  e.who = "node:" + event.report.node_name;
  on_report(e, event.report);
}
void on_event(Engine& e, const NodeSame& event) {
  e.who = "node:" + event.node_name;
  on_same(e, event);
}
void on_event(Engine& e, const NodeHeard& event) {
  e.who = "node:" + event.node_name;
  on_heard(e, event);
}
void on_event(Engine& e, const FenceFinished& event) {
  on_fence_finished(e, event);
}
void on_event(Engine& e, const Tick&) {
  on_tick(e);
}

// Moves the marked rows into `rows` and the erased keys into `erased`.
template <class Key, class Row>
void collect(Marks<Key>& marks, const std::map<Key, Row>& table, std::vector<Row>& rows, std::vector<Key>& erased) {
  rows.reserve(marks.changed.size());
  for (const Key& key : marks.changed) rows.push_back(table.at(key));
  erased.assign(marks.erased.begin(), marks.erased.end());
  marks.changed.clear();
  marks.erased.clear();
}

}  // namespace

Core::Core(Settings settings, Tables tables, TimeMs now_ms)
    : x_engine(std::make_unique<Engine>(std::move(settings), std::move(tables), now_ms)) {}
Core::~Core() = default;

const State& Core::state() const {
  return x_engine->state;
}
bool Core::wants_plan() const {
  return x_engine->wake_plan;
}

void Core::step(const Event& event) {
  Engine& e = *x_engine;
  e.now = std::max(event.now_ms, e.state.meta.last_now_ms);
  e.state.meta.last_now_ms = e.now;
  e.who = "controller";
  std::visit([&e](const auto& body) { on_event(e, body); }, event.body);
  e.settle();
}

void Core::apply_plan(const Plan& plan, TimeMs now_ms) {
  Engine& e = *x_engine;
  e.now = std::max(now_ms, e.state.meta.last_now_ms);
  e.state.meta.last_now_ms = e.now;
  e.who = "controller";
  e.fed = false;
  for (const Retarget& change : plan.retargets) retarget(e, change);
  for (const Withdrawal& withdrawal : plan.withdrawals) withdraw(e, withdrawal, "the cluster has more than its target");
  for (const Assignment& assignment : plan.assignments) assign(e, assignment);
  for (const Placement& placement : plan.placements) place(e, placement);
  for (const Preemption& preemption : plan.preemptions) preempt(e, preemption);
  e.settle();
  e.wake_plan = e.fed;
  e.planned_ms = e.now;
}

Outcome Core::take_outcome() {
  Engine& e = *x_engine;
  Outcome outcome;
  Changes& changes = outcome.changes;
  changes.meta = e.state.meta;
  collect(e.groups, e.state.groups, changes.groups, changes.erased_groups);
  collect(e.workspaces, e.state.workspaces, changes.workspaces, changes.erased_workspaces);
  collect(e.experiments, e.state.experiments, changes.experiments, changes.erased_experiments);
  collect(e.clusters, e.state.clusters, changes.clusters, changes.erased_clusters);
  collect(e.nodes, e.state.nodes, changes.nodes, changes.erased_nodes);
  collect(e.jobs, e.state.jobs, changes.jobs, changes.erased_jobs);
  collect(e.holdings, e.state.holdings, changes.holdings, changes.erased_holdings);
  collect(e.accounts, e.state.accounts, changes.accounts, changes.erased_accounts);
  collect(e.shares, e.state.shares, changes.shares, changes.erased_shares);
  collect(e.file_servers, e.state.file_servers, changes.file_servers, changes.erased_file_servers);
  collect(e.reservations, e.state.reservations, changes.reservations, changes.erased_reservations);
  collect(e.arrays, e.state.arrays, changes.arrays, changes.erased_arrays);
  collect(e.schedules, e.state.schedules, changes.schedules, changes.erased_schedules);
  collect(e.spent, e.state.spent, changes.spent, changes.erased_spent);
  collect(e.requests, e.state.requests, changes.requests, changes.erased_requests);
  changes.timeline = std::move(e.timeline);
  changes.usage = std::move(e.usage);
  outcome.actions = std::move(e.actions);
  e.timeline.clear();
  e.usage.clear();
  e.actions.clear();
  e.orders_asked.clear();
  e.bumped.clear();
  e.checked_nodes.clear();
  e.checked_jobs.clear();
  return outcome;
}

TimeMs Core::next_deadline() const {
  const Engine& e = *x_engine;
  if (e.wake_plan) return e.now;
  TimeMs first = 0;
  for (TimeMs at :
       {e.node_deadlines.first(), e.job_deadlines.first(), e.request_deadlines.first(), e.schedule_deadlines.first()}) {
    if (at != 0 && (first == 0 || at < first)) first = at;
  }
  return first;
}

}  // namespace trainyard::core
