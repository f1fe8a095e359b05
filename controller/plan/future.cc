#include "controller/plan/future.h"

#include <algorithm>

#include "common/check.h"

namespace trainyard::plan {

namespace {

constexpr std::size_t kRefusalsKept = 32;

TimeMs end_of(TimeMs from_ms, DurationMs duration_ms) {
  return duration_ms >= Future::kNever - from_ms ? Future::kNever : from_ms + duration_ms;
}

// By when nodes that come free then, each in its domain, are enough.
TimeMs when_enough(std::vector<std::pair<TimeMs, std::int32_t>>& starts, GangSize size) {
  if (starts.size() < size.least) return Future::kNever;
  if (size.block == 1) {
    const auto last = starts.begin() + (size.least - 1);
    std::nth_element(starts.begin(), last, starts.end());
    return last->first;
  }
  std::sort(starts.begin(), starts.end());
  Together together(size);
  for (const auto& [start_ms, domain] : starts) {
    together.add(domain);
    if (together.nodes() > 0) return start_ms;
  }
  return Future::kNever;
}

}  // namespace

ClosedNodes closed_nodes(const core::State& state) {
  ClosedNodes closed;
  for (const auto& [id, reservation] : state.reservations) {
    for (const NodeId node : reservation.nodes) {
      closed[node].push_back(
          {reservation.from_ms, reservation.until_ms, reservation.workspace.value_or(WorkspaceId{})});
    }
  }
  return closed;
}

void Future::add(NodeId node, std::uint32_t whole, std::uint32_t free, Offer offer, const std::string& topology) {
  TY_CHECK(free <= whole);
  if (x_in_order == x_index.size() && (x_index.empty() || x_index.back().first < node)) ++x_in_order;
  x_index.push_back({node, static_cast<std::uint32_t>(x_lines.size())});
  x_lines.push_back(Line{node, whole, offer, x_places.number_of(topology), {Step{x_now_ms, free}}});
  if (free > 0) x_open.insert(x_open.end(), {free, node, x_index.back().second});  // mostly they come in this order
}

const std::vector<std::pair<NodeId, std::uint32_t>>& Future::by_node() const {
  if (x_in_order == x_index.size()) return x_index;
  const auto added = x_index.begin() + static_cast<std::ptrdiff_t>(x_in_order);
  std::sort(added, x_index.end());
  std::inplace_merge(x_index.begin(), added, x_index.end());
  x_in_order = x_index.size();
  const auto twice = std::adjacent_find(x_index.begin(), x_index.end(),
                                        [](const auto& a, const auto& b) { return a.first == b.first; });
  TY_CHECK(twice == x_index.end());
  return x_index;
}

std::uint32_t Future::find(NodeId node) const {
  const auto& index = by_node();
  const auto found = std::lower_bound(index.begin(), index.end(), std::pair{node, 0U});
  return found == index.end() || found->first != node ? kNowhere : found->second;
}

void Future::release(NodeId node, TimeMs at_ms, std::uint32_t units, bool firm) {
  // What should be over already is over soon: now is taken by it still.
  at_ms = std::max(at_ms, x_now_ms + 1);
  if (!firm) distrust(at_ms);
  Line& line = line_of(node);
  for (std::size_t i = split_at(line, at_ms); i < line.steps.size(); ++i) line.steps[i].free += units;
}

std::uint32_t Future::free_at(const Line& line, TimeMs at_ms) {
  const auto after = std::upper_bound(line.steps.begin(), line.steps.end(), at_ms,
                                      [](TimeMs time, const Step& step) { return time < step.from_ms; });
  return (after - 1)->free;
}

TimeMs Future::free_for_ever(const Line& line, std::uint32_t units, TimeMs from_ms) {
  auto step = line.steps.end();
  while (step != line.steps.begin() && (step - 1)->free >= units) --step;
  return step == line.steps.end() ? kNever : std::max(step->from_ms, from_ms);
}

TimeMs Future::earliest_free(const Line& line, std::uint32_t units, TimeMs from_ms, DurationMs duration_ms) {
  if (duration_ms == kNever) return free_for_ever(line, units, from_ms);
  TimeMs start_ms = kNever;
  for (std::size_t i = 0; i < line.steps.size(); ++i) {
    const TimeMs next_ms = i + 1 < line.steps.size() ? line.steps[i + 1].from_ms : kNever;
    if (next_ms <= from_ms) continue;
    if (line.steps[i].free < units) {
      start_ms = kNever;
      continue;
    }
    if (start_ms == kNever) start_ms = std::max(line.steps[i].from_ms, from_ms);
    if (next_ms >= end_of(start_ms, duration_ms)) return start_ms;
  }
  return kNever;
}

TimeMs Future::earliest_on(const Line& line, const Shape& shape, TimeMs from_ms, DurationMs duration_ms) {
  const std::uint32_t units = units_on(line, shape);
  if (units > line.whole) return kNever;
  for (;;) {
    const TimeMs start_ms = earliest_free(line, units, from_ms, duration_ms);
    if (start_ms == kNever) return kNever;
    const auto in_the_way = std::find_if(line.closed.begin(), line.closed.end(),
                                         [&](const Closed& closed) { return closed.keeps_out(shape, start_ms); });
    if (in_the_way == line.closed.end()) return start_ms;
    from_ms = in_the_way->until_ms;
  }
}

Slot Future::slot_of(TimeMs start_ms, const std::vector<Fit>& chosen) {
  Slot slot{start_ms, {}};
  slot.nodes.reserve(chosen.size());
  slot.lines.reserve(chosen.size());
  for (const Fit& fit : chosen) {
    slot.nodes.push_back(fit.node);
    slot.lines.push_back(fit.index);
  }
  return slot;
}

// Each round moves the start to the time at which enough nodes are free for themselves; it is right when they are free
// together. Of a node that is free later than that, the round before has found when.
Slot Future::earliest(const Shape& shape, DurationMs duration_ms) const {
  const std::vector<std::int32_t>* domains = shape.topology ? &x_places.domains(*shape.topology) : nullptr;
  const auto domain_of = [&](const Line& line) { return domains == nullptr ? 0 : (*domains)[line.place]; };
  GangSize size = shape.gang();
  std::vector<TimeMs>& on_line = x_on_line;
  auto& starts = x_starts;
  on_line.resize(x_lines.size());
  for (std::size_t i = 0; i < x_lines.size(); ++i) {
    const bool out = domain_of(x_lines[i]) == Places::kOut;
    on_line[i] = out ? kNever : earliest_on(x_lines[i], shape, x_now_ms, duration_ms);
  }
  TimeMs start_ms = x_now_ms;
  for (;;) {
    starts.clear();
    for (std::size_t i = 0; i < x_lines.size(); ++i) {
      if (on_line[i] < start_ms) on_line[i] = earliest_on(x_lines[i], shape, start_ms, duration_ms);
      if (on_line[i] != kNever) starts.push_back({on_line[i], domain_of(x_lines[i])});
    }
    const TimeMs enough_ms = when_enough(starts, size);
    if (enough_ms == kNever) return {kNever, {}};
    if (enough_ms == start_ms) break;
    start_ms = enough_ms;
  }
  if (start_ms > x_now_ms) size.most = size.least;  // what else there is then, it takes then
  std::vector<Fit> fits;
  fits.reserve(x_lines.size());
  for (const auto& [node, i] : by_node()) {
    if (on_line[i] != start_ms) continue;
    fits.push_back({free_at(x_lines[i], start_ms), node, domain_of(x_lines[i]), i});
  }
  return slot_of(start_ms, choose(std::move(fits), size));
}

bool Future::refused(const Shape& shape, DurationMs duration_ms) const {
  return std::any_of(x_refusals.begin(), x_refusals.end(), [&](const Refusal& refusal) {
    const bool same_kind =
        shape.workspace == refusal.shape.workspace && shape.limit_ms >= refusal.shape.limit_ms &&
        (shape.units == 0) == (refusal.shape.units == 0) && (shape.in_container || !refusal.shape.in_container) &&
        (!insists(refusal.shape.topology) || (shape.topology != nullptr && *shape.topology == *refusal.shape.topology));
    return same_kind && shape.units >= refusal.shape.units && shape.gang().least >= refusal.shape.gang().least &&
           duration_ms >= refusal.duration_ms;
  });
}

Slot Future::fits_now(const Shape& shape, DurationMs duration_ms) const {
  const GangSize size = shape.gang();
  if (x_open.size() < size.least || refused(shape, duration_ms)) return {x_now_ms, {}};
  const std::vector<std::int32_t>* domains = shape.topology ? &x_places.domains(*shape.topology) : nullptr;
  std::vector<Fit> fits;
  auto open = shape.units == 0 ? x_open.begin() : x_open.lower_bound({shape.units, NodeId{}});
  for (; open != x_open.end(); ++open) {
    // The first ones are as good as any where it does not matter which are together.
    if (domains == nullptr && fits.size() == shape.nodes) break;
    const std::uint32_t index = open->index;
    const Line& line = x_lines[index];
    const std::int32_t domain = domains == nullptr ? 0 : (*domains)[line.place];
    if (domain == Places::kOut || open->free < units_on(line, shape) ||
        earliest_on(line, shape, x_now_ms, duration_ms) != x_now_ms) {
      continue;
    }
    fits.push_back({open->free, line.node, domain, index});
  }
  Slot slot = slot_of(x_now_ms, choose(std::move(fits), size));
  if (slot.nodes.empty() && x_refusals.size() < kRefusalsKept) x_refusals.push_back({shape, duration_ms});
  return slot;
}

std::size_t Future::split_at(Line& line, TimeMs at_ms) {
  const auto after = std::upper_bound(line.steps.begin(), line.steps.end(), at_ms,
                                      [](TimeMs time, const Step& step) { return time < step.from_ms; });
  const auto before = after - 1;
  if (before->from_ms == at_ms) return static_cast<std::size_t>(before - line.steps.begin());
  const auto made = line.steps.insert(after, Step{at_ms, before->free});
  return static_cast<std::size_t>(made - line.steps.begin());
}

void Future::take(const Slot& slot, const Shape& shape, DurationMs duration_ms) {
  const TimeMs end_ms = end_of(slot.start_ms, duration_ms);
  for (const std::uint32_t index : slot.lines) {
    Line& line = x_lines[index];
    const std::uint32_t units = units_on(line, shape), before = line.steps.front().free;
    const std::size_t first = split_at(line, slot.start_ms);
    const std::size_t last = end_ms == kNever ? line.steps.size() : split_at(line, end_ms);
    for (std::size_t i = first; i < last; ++i) {
      TY_CHECK(line.steps[i].free >= units);
      line.steps[i].free -= units;
    }
    const std::uint32_t after = line.steps.front().free;
    if (before == after) continue;
    auto open = x_open.extract({before, line.node, index});
    if (after == 0) continue;
    open.value().free = after;
    x_open.insert(std::move(open));
  }
}

}  // namespace trainyard::plan
