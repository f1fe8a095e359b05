#include "controller/plan/future.h"

#include <algorithm>

#include "common/check.h"

namespace trainyard::plan {

namespace {

constexpr std::size_t kRefusalsKept = 32;

TimeMs end_of(TimeMs from_ms, DurationMs duration_ms) {
  return duration_ms >= Future::kNever - from_ms ? Future::kNever : from_ms + duration_ms;
}

}  // namespace

void Future::add(NodeId node, std::uint32_t whole, std::uint32_t free, Offer offer) {
  TY_CHECK(free <= whole);
  TY_CHECK(!contains(node));
  x_lines.insert(x_lines.begin() + static_cast<std::ptrdiff_t>(index_of(node)),
                 Line{node, whole, offer, {{x_now_ms, free}}});
  if (free > 0) x_open.insert({free, node});
}

std::size_t Future::index_of(NodeId node) const {
  const auto found = std::lower_bound(x_lines.begin(), x_lines.end(), node,
                                      [](const Line& line, NodeId id) { return line.node < id; });
  return static_cast<std::size_t>(found - x_lines.begin());
}

bool Future::contains(NodeId node) const {
  const std::size_t index = index_of(node);
  return index < x_lines.size() && x_lines[index].node == node;
}

Future::Line& Future::line_of(NodeId node) {
  TY_CHECK(contains(node));
  return x_lines[index_of(node)];
}

const Future::Line& Future::line_of(NodeId node) const {
  TY_CHECK(contains(node));
  return x_lines[index_of(node)];
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

TimeMs Future::earliest_free(const Line& line, std::uint32_t units, TimeMs from_ms, DurationMs duration_ms) {
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

TimeMs Future::earliest_on(const Line& line, Shape shape, TimeMs from_ms, DurationMs duration_ms) {
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

// Each round moves the start to the time at which enough nodes are free for themselves; it is right when they are free
// together.
Slot Future::earliest(Shape shape, DurationMs duration_ms) const {
  std::vector<TimeMs> starts;
  TimeMs start_ms = x_now_ms;
  for (;;) {
    starts.clear();
    for (const Line& line : x_lines) {
      const TimeMs on_it_ms = earliest_on(line, shape, start_ms, duration_ms);
      if (on_it_ms != kNever) starts.push_back(on_it_ms);
    }
    if (starts.size() < shape.nodes) return {kNever, {}};
    const auto last = starts.begin() + (shape.nodes - 1);
    std::nth_element(starts.begin(), last, starts.end());
    if (*last == start_ms) break;
    start_ms = *last;
  }
  std::vector<std::pair<std::uint32_t, NodeId>> fitting;  // by what is free there then
  for (const Line& line : x_lines) {
    if (earliest_on(line, shape, start_ms, duration_ms) == start_ms) {
      fitting.push_back({free_at(line, start_ms), line.node});
    }
  }
  std::sort(fitting.begin(), fitting.end());
  Slot slot{start_ms, {}};
  for (std::uint32_t i = 0; i < shape.nodes; ++i) slot.nodes.push_back(fitting[i].second);
  return slot;
}

bool Future::refused(Shape shape, DurationMs duration_ms) const {
  return std::any_of(x_refusals.begin(), x_refusals.end(), [&](const Refusal& refusal) {
    const bool same_kind = shape.workspace == refusal.shape.workspace && shape.limit_ms >= refusal.shape.limit_ms &&
                           (shape.units == 0) == (refusal.shape.units == 0) &&
                           (shape.in_container || !refusal.shape.in_container);
    return same_kind && shape.units >= refusal.shape.units && shape.nodes >= refusal.shape.nodes &&
           duration_ms >= refusal.duration_ms;
  });
}

std::vector<NodeId> Future::fits_now(Shape shape, DurationMs duration_ms) const {
  std::vector<NodeId> nodes;
  if (x_open.size() < shape.nodes || refused(shape, duration_ms)) return nodes;
  const auto first = shape.units == 0 ? x_open.begin() : x_open.lower_bound({shape.units, NodeId{}});
  for (auto open = first; open != x_open.end() && nodes.size() < shape.nodes; ++open) {
    const Line& line = line_of(open->second);
    if (open->first < units_on(line, shape) || earliest_on(line, shape, x_now_ms, duration_ms) != x_now_ms) continue;
    nodes.push_back(line.node);
  }
  if (nodes.size() == shape.nodes) return nodes;
  if (x_refusals.size() < kRefusalsKept) x_refusals.push_back({shape, duration_ms});
  return {};
}

std::size_t Future::split_at(Line& line, TimeMs at_ms) {
  const auto after = std::upper_bound(line.steps.begin(), line.steps.end(), at_ms,
                                      [](TimeMs time, const Step& step) { return time < step.from_ms; });
  const auto before = after - 1;
  if (before->from_ms == at_ms) return static_cast<std::size_t>(before - line.steps.begin());
  const auto made = line.steps.insert(after, Step{at_ms, before->free});
  return static_cast<std::size_t>(made - line.steps.begin());
}

void Future::take(const std::vector<NodeId>& nodes, Shape shape, TimeMs from_ms, DurationMs duration_ms) {
  const TimeMs end_ms = end_of(from_ms, duration_ms);
  for (const NodeId node : nodes) {
    Line& line = line_of(node);
    const std::uint32_t units = units_on(line, shape), before = line.steps.front().free;
    const std::size_t first = split_at(line, from_ms);
    const std::size_t last = end_ms == kNever ? line.steps.size() : split_at(line, end_ms);
    for (std::size_t i = first; i < last; ++i) {
      TY_CHECK(line.steps[i].free >= units);
      line.steps[i].free -= units;
    }
    const std::uint32_t after = line.steps.front().free;
    if (before == after) continue;
    x_open.erase({before, node});
    if (after > 0) x_open.insert({after, node});
  }
}

}  // namespace trainyard::plan
