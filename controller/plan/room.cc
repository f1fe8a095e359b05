#include "controller/plan/room.h"

#include <algorithm>
#include <utility>

#include "controller/core/setup.h"

namespace trainyard::plan {

Room::Room(const Pass& pass, const std::vector<const core::Job*>& jobs) : x_pass(pass), x_first(jobs.size() + 1) {
  struct Found {
    std::size_t job = 0;
    Part part;
  };
  std::vector<Found> found;
  x_places.reserve(pass.roster.rows().size());
  for (const Roster::Row& row : pass.roster.rows()) {
    const core::Node& node = *row.node;
    const bool works = node.state == core::NodeState::idle || node.state == core::NodeState::running;
    const bool usable = works && core::answers(node) && !node.drain && !core::setup_failed(node);
    if (!usable || pass.common.withdrawn.contains(node.id)) continue;
    Place place{node.id, &row, row.gives.units};
    for (const Roster::Hold& hold : pass.roster.holds(row)) {
      place.free -= std::min(place.free, hold.units);
      const JobId id = hold.holding->id.job;
      const auto job = std::lower_bound(jobs.begin(), jobs.end(), id,
                                        [](const core::Job* one, JobId other) { return one->id < other; });
      if (job == jobs.end() || (*job)->id != id) continue;
      const auto index = static_cast<std::size_t>(job - jobs.begin());
      found.push_back({index, {static_cast<std::uint32_t>(x_places.size()), hold.units}});
      ++x_first[index + 1];
    }
    x_places.push_back(place);
  }
  for (std::size_t i = 1; i < x_first.size(); ++i) x_first[i] += x_first[i - 1];
  x_parts.resize(found.size());
  std::vector<std::uint32_t> next(x_first);
  for (const Found& one : found) x_parts[next[one.job]++] = one.part;
}

// Of a node with a faulty GPU more may be held than it has to give.
void Room::add(std::size_t job) {
  for (std::uint32_t i = x_first[job]; i < x_first[job + 1]; ++i) {
    Place& place = x_places[x_parts[i].place];
    place.free = std::min(place.row->gives.units, place.free + x_parts[i].units);
  }
}

void Room::remove(std::size_t job) {
  for (std::uint32_t i = x_first[job]; i < x_first[job + 1]; ++i) {
    Place& place = x_places[x_parts[i].place];
    place.free -= std::min(place.free, x_parts[i].units);
  }
}

// More than it has where that cannot be.
std::uint32_t Room::wanted_of(const Place& place, const Shape& shape) const {
  const Gives& gives = place.row->gives;
  const bool able =
      (shape.units > 0 || gives.in_service) && (!shape.in_container || place.row->node->inventory.runs_containers());
  if (!able || keeps_out(x_pass.common.closed, place.node, shape, x_pass.common.now_ms)) return gives.units + 1;
  return shape.units == 0 ? gives.units : shape.units;
}

const std::vector<std::int32_t>& Room::domains_of(const Shape& shape) const {
  if (!std::exchange(x_named, true)) {
    for (Place& place : x_places) place.name = x_names.number_of(place.row->node->inventory.topology);
  }
  return x_names.domains(*shape.topology);
}

bool Room::fits(const Shape& shape) const {
  const GangSize size = shape.gang();
  if (shape.topology == nullptr) {
    std::uint32_t missing = size.least;
    for (const Place& place : x_places) {
      if (place.free > 0 && fits_on(place, shape) && --missing == 0) return true;
    }
    return false;
  }
  const std::vector<std::int32_t>& domains = domains_of(shape);
  std::vector<std::uint32_t> counts(domains.size());  // by place in the tree
  for (const Place& place : x_places) {
    if (place.free > 0 && domains[place.name] != Places::kOut && fits_on(place, shape)) ++counts[place.name];
  }
  Together together(size);
  for (std::size_t name = 0; name < counts.size(); ++name) {
    if (counts[name] > 0) together.add(domains[name], counts[name]);
  }
  return together.nodes() > 0;
}

void Room::take(const Shape& shape) {
  const std::vector<std::int32_t>* domains = shape.topology == nullptr ? nullptr : &domains_of(shape);
  std::vector<Fit> fits;
  for (std::size_t i = 0; i < x_places.size(); ++i) {
    const Place& place = x_places[i];
    const std::int32_t domain = domains == nullptr ? 0 : (*domains)[place.name];
    if (place.free == 0 || domain == Places::kOut || !fits_on(place, shape)) continue;
    fits.push_back({place.free, place.node, domain, static_cast<std::uint32_t>(i)});
  }
  for (const Fit& fit : choose(std::move(fits), shape.gang())) take(x_places[fit.index], shape);
}

void Room::take(const std::vector<NodeId>& nodes, const Shape& shape) {
  for (const NodeId node : nodes) {
    const auto place = std::lower_bound(x_places.begin(), x_places.end(), node,
                                        [](const Place& one, NodeId other) { return one.node < other; });
    if (place == x_places.end() || place->node != node) continue;  // promised for later: it does not answer now
    take(*place, shape);
  }
}

void Room::take(Place& place, const Shape& shape) {
  place.free -= std::min(place.free, wanted_of(place, shape));
}

}  // namespace trainyard::plan
