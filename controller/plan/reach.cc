#include "controller/plan/reach.h"

#include <algorithm>

#include "controller/plan/backfill.h"

namespace trainyard::plan {

namespace {

// A pass looks for so many jobs at most: each costs a look at all free nodes.
constexpr int kTries = 100;

bool suits(const core::Node& node, Shape shape) {
  if (shape.in_container && !node.inventory.runs_containers()) return false;
  return shape.units == 0 ? core::in_service(node) : core::count_to_give(node.inventory) >= shape.units;
}

}  // namespace

Reach::Reach(const core::State& state, const std::vector<NodeId>& own, const std::vector<NodeId>& others)
    : x_state(state) {
  for (const auto* nodes : {&own, &others}) {
    for (const NodeId id : *nodes) {
      x_places.push_back({id, x_names.number_of(state.nodes.at(id).inventory.topology), nodes == &own});
    }
  }
}

// Own nodes first where it does not matter otherwise: they count as fuller.
std::vector<Fit> Reach::fits_for(Shape shape) const {
  const std::vector<std::int32_t>& domains = x_names.domains(*shape.topology);
  std::vector<Fit> fits;
  for (std::size_t i = 0; i < x_places.size(); ++i) {
    const Place& place = x_places[i];
    if (domains[place.name] == Places::kOut || !suits(x_state.nodes.at(place.node), shape)) continue;
    fits.push_back({place.own ? 0U : 1U, place.node, domains[place.name], static_cast<std::uint32_t>(i)});
  }
  return fits;
}

// What did not do does not do with fewer nodes left.
bool Reach::refused(Shape shape) const {
  return std::any_of(x_refusals.begin(), x_refusals.end(), [&](const Shape& refusal) {
    return *refusal.topology == *shape.topology && refusal.units == shape.units &&
           (shape.in_container || !refusal.in_container) && shape.gang().least >= refusal.gang().least;
  });
}

bool Reach::set_aside(const core::Job& job, std::uint32_t most) {
  Shape shape = shape_of(x_state, job);
  if (shape.gang().least > most || refused(shape) || x_tries == kTries) return false;
  ++x_tries;
  shape.nodes = std::min(shape.nodes, most);
  const std::vector<Fit> fits = fits_for(shape);
  std::set<std::int32_t> near;
  for (const Fit& fit : fits) {
    if (x_places[fit.index].own) near.insert(fit.domain);
  }
  const auto chosen_of = [&](auto allowed) {
    std::vector<Fit> some;
    std::copy_if(fits.begin(), fits.end(), std::back_inserter(some), allowed);
    return choose(std::move(some), shape.gang());
  };
  std::vector<Fit> chosen = chosen_of([&](const Fit& fit) { return x_places[fit.index].own; });
  if (chosen.empty()) chosen = chosen_of([&](const Fit& fit) { return near.contains(fit.domain); });
  if (chosen.empty()) chosen = chosen_of([](const Fit&) { return true; });
  if (chosen.empty()) {
    x_refusals.push_back(shape);
    return false;
  }
  x_count += static_cast<std::uint32_t>(chosen.size());
  std::set<NodeId> gone;
  std::vector<NodeId> others;
  for (const Fit& fit : chosen) {
    gone.insert(fit.node);
    if (x_places[fit.index].own) {
      x_own.insert(fit.node);
    } else {
      others.push_back(fit.node);
    }
  }
  if (!others.empty()) x_others.push_back(std::move(others));
  std::erase_if(x_places, [&](const Place& place) { return gone.contains(place.node); });
  return true;
}

}  // namespace trainyard::plan
