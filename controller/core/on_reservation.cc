// Nodes that are kept free for a time. What they mean for placement is plan's business.
#include <algorithm>

#include "common/time.h"
#include "controller/core/engine.h"
#include "controller/core/lookup.h"

namespace trainyard::core {

namespace {

std::string subject_of(const Reservation& reservation) {
  return "reservation:" + std::to_string(reservation.id.value) + " " + reservation.name;
}

void erase(Engine& e, ReservationId id, const std::string& why) {
  const Reservation& row = e.state.reservations.at(id);
  e.note(subject_of(row), "deleted", why);
  e.state.reservation_by_name.erase(lower(row.name));
  e.state.reservations.erase(id);
  e.reservations.erase(id);
  e.wake_plan = true;
}

template <class Which>
void erase_if(Engine& e, Which which, const std::string& why) {
  std::vector<ReservationId> ids;
  for (const auto& [id, row] : e.state.reservations) {
    if (which(row)) ids.push_back(id);
  }
  for (const ReservationId id : ids) erase(e, id, why);
}

}  // namespace

void forget_past_reservations(Engine& e) {
  erase_if(
      e, [&](const Reservation& row) { return row.until_ms <= e.now; }, "its time is over");
}

void forget_reservations_of(Engine& e, WorkspaceId id) {
  erase_if(
      e, [&](const Reservation& row) { return row.workspace == id; }, "its workspace was deleted");
}

Result<Subject> apply(Engine& e, const CreateReservation& c) {
  Reservation row;
  row.name = c.name;
  row.from_ms = c.from_ms, row.until_ms = c.until_ms;
  row.why = c.why, row.who = e.who;
  row.created_ms = e.now;
  if (c.until_ms <= c.from_ms) return Error{Code::invalid_argument, "until: must be later than from"};
  if (c.until_ms <= e.now) return Error{Code::invalid_argument, "until: " + iso8601(c.until_ms) + " has passed"};
  if (c.nodes.empty()) return Error{Code::invalid_argument, "nodes: names no node"};
  for (const std::string& name : c.nodes) {
    const auto node = find_node(e.state, name);
    if (!node.ok()) return Error{node.error().code, "nodes: " + node.error().message};
    row.nodes.push_back(*node);
  }
  std::sort(row.nodes.begin(), row.nodes.end());
  row.nodes.erase(std::unique(row.nodes.begin(), row.nodes.end()), row.nodes.end());
  if (c.workspace) {
    const auto workspace = find_workspace(e.state, c.workspace->group, c.workspace->workspace);
    if (!workspace.ok()) return workspace.error();
    row.workspace = *workspace;
  }
  if (const auto existing = e.state.reservation_by_name.find(lower(c.name));
      existing != e.state.reservation_by_name.end()) {
    const Reservation& other = e.state.reservations.at(existing->second);
    const bool same = other.nodes == row.nodes && other.from_ms == row.from_ms && other.until_ms == row.until_ms &&
                      other.workspace == row.workspace && other.why == row.why;
    if (same) return Subject{Subject::Kind::reservation, other.id.value};
    return Error{Code::already_exists,
                 "reservation " + other.name + " exists already, with other nodes, times or reason"};
  }
  row.id = {e.next_id()};
  const ReservationId id = row.id;
  e.note(subject_of(row), "created",
         std::to_string(row.nodes.size()) + " node(s) from " + iso8601(row.from_ms) + " until " +
             iso8601(row.until_ms) + (row.why.empty() ? "" : ": " + row.why));
  e.state.reservation_by_name.emplace(lower(row.name), id);
  e.state.reservations.emplace(id, std::move(row));
  e.reservations.change(id);
  e.wake_plan = true;
  return Subject{Subject::Kind::reservation, id.value};
}

Result<Subject> apply(Engine& e, const DeleteReservation& c) {
  const auto found = e.state.reservation_by_name.find(lower(c.name));
  if (found == e.state.reservation_by_name.end()) {
    return Error{Code::not_found, "reservation " + c.name + " does not exist"};
  }
  erase(e, found->second, "by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
