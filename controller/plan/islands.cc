#include "controller/plan/islands.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "common/topology.h"

namespace trainyard::plan {

std::uint32_t Places::number_of(const std::string& place) {
  const auto [known, is_new] = x_numbers.try_emplace(place, static_cast<std::uint32_t>(x_places.size()));
  if (is_new) {
    x_places.push_back(place);
    x_known.clear();
  }
  return known->second;
}

const std::vector<std::int32_t>& Places::domains(const Topology& wanted) const {
  constexpr std::size_t kKept = 32;
  for (const auto& [topology, domains] : x_known) {
    if (topology == wanted) return domains;
  }
  if (x_known.size() == kKept) x_known.clear();
  return x_known.emplace_back(wanted, domains_anew(wanted)).second;
}

std::vector<std::int32_t> Places::domains_anew(const Topology& wanted) const {
  std::vector<std::string_view> of_place(x_places.size());  // empty: of none of that level
  std::vector<bool> allowed(x_places.size(), wanted.within.empty());
  std::map<std::string_view, std::int32_t> numbers;
  for (std::size_t i = 0; i < x_places.size(); ++i) {
    for (const std::string_view domain : domains_of(x_places[i])) {
      if (!wanted.level.empty() && level_of(domain) == wanted.level) of_place[i] = domain;
      if (std::find(wanted.within.begin(), wanted.within.end(), last_of(domain)) != wanted.within.end()) {
        allowed[i] = true;
      }
    }
    if (!of_place[i].empty()) numbers.emplace(of_place[i], 0);
  }
  std::int32_t next = 0;
  for (auto& [name, number] : numbers) number = next++;
  std::vector<std::int32_t> domains(x_places.size(), kOut);
  for (std::size_t i = 0; i < x_places.size(); ++i) {
    if (!allowed[i] || (of_place[i].empty() && wanted.required)) continue;
    domains[i] = of_place[i].empty() ? std::numeric_limits<std::int32_t>::max() : numbers.at(of_place[i]);
  }
  return domains;
}

GangSize gang_size(const Topology& topology, std::uint32_t most, std::uint32_t least) {
  return {most, least, topology.required ? topology.block_size : 1};
}

void Together::add(std::int32_t domain, std::uint32_t nodes) {
  std::uint32_t& count = x_counts[domain];
  const std::uint32_t before = count;
  count += nodes;
  x_largest = std::max(x_largest, count);
  if (x_size.block != 0) x_in_blocks += (count / x_size.block - before / x_size.block) * x_size.block;
}

std::uint32_t Together::nodes() const {
  std::uint32_t nodes = std::min(x_size.most, x_size.block == 0 ? x_largest : x_in_blocks);
  if (x_size.block > 1) nodes -= nodes % x_size.block;
  return nodes < x_size.least ? 0 : nodes;
}

namespace {

// Where it does not matter which are together: most jobs.
std::vector<Fit> fullest(std::vector<Fit> fits, GangSize size) {
  if (fits.size() < size.least) return {};
  const auto fuller = [](const Fit& a, const Fit& b) { return std::tie(a.free, a.node) < std::tie(b.free, b.node); };
  const auto end = fits.begin() + std::min<std::ptrdiff_t>(size.most, std::ssize(fits));
  if (!std::is_sorted(fits.begin(), fits.end(), fuller)) {  // mostly they are: whole nodes, by id
    std::nth_element(fits.begin(), end - 1, fits.end(), fuller);
    std::sort(fits.begin(), end, fuller);
  }
  fits.erase(end, fits.end());
  return fits;
}

}  // namespace

std::vector<Fit> choose(std::vector<Fit> fits, GangSize size) {
  const bool one_domain =
      std::all_of(fits.begin(), fits.end(), [&](const Fit& fit) { return fit.domain == fits.front().domain; });
  if (one_domain && size.block <= 1) return fullest(std::move(fits), size);
  Together together(size);
  for (const Fit& fit : fits) together.add(fit.domain);
  std::uint32_t left = together.nodes();
  std::vector<Fit> chosen;
  if (left == 0) return chosen;
  const std::uint32_t block = size.block == 0 ? left : size.block;
  std::sort(fits.begin(), fits.end(), [](const Fit& a, const Fit& b) {
    return std::tuple(a.domain, a.free, a.node) < std::tuple(b.domain, b.free, b.node);
  });
  // Of a domain: where its nodes begin, how many these are, and how many of them it may give.
  struct Domain {
    std::size_t begin = 0;
    std::uint32_t size = 0, gives = 0;
  };
  std::vector<Domain> domains;
  for (std::size_t begin = 0, end = 0; begin < fits.size(); begin = end) {
    while (end < fits.size() && fits[end].domain == fits[begin].domain) ++end;
    const auto count = static_cast<std::uint32_t>(end - begin);
    domains.push_back({begin, count, count - count % block});
  }
  while (left > 0) {
    // Enough before not enough; then the smallest of those with enough, the largest of the others; then by name.
    const auto best = std::min_element(domains.begin(), domains.end(), [&](const Domain& a, const Domain& b) {
      const bool enough_a = a.gives >= left, enough_b = b.gives >= left;
      if (enough_a != enough_b) return enough_a;
      return enough_a ? a.size < b.size : a.gives > b.gives;
    });
    const std::uint32_t taken = std::min(left, best->gives);
    for (std::size_t i = best->begin; i < best->begin + taken; ++i) chosen.push_back(fits[i]);
    left -= taken;
    best->gives = 0;
  }
  return chosen;
}

}  // namespace trainyard::plan
