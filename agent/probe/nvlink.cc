#include "agent/probe/nvlink.h"

#include <algorithm>
#include <cctype>

namespace trainyard::agent {
namespace {

bool same_device(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool linked(const NvLinks& a, const NvLinks& b) {
  if (a.to_switches > 0 && b.to_switches > 0) return true;
  return std::any_of(a.ends.begin(), a.ends.end(),
                     [&](const auto& end) { return end.second > 0 && same_device(end.first, b.bus_id); });
}

}  // namespace

std::vector<std::int32_t> islands(const std::vector<NvLinks>& gpus) {
  std::vector<std::int32_t> island;
  for (std::size_t i = 0; i < gpus.size(); ++i) island.push_back(static_cast<std::int32_t>(i));
  // A link is seen from both ends, or from one when the other's driver is slow to say so.
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    for (std::size_t j = 0; j < gpus.size(); ++j) {
      if (i == j || !linked(gpus[i], gpus[j]) || island[i] == island[j]) continue;
      const std::int32_t stays = std::min(island[i], island[j]), goes = std::max(island[i], island[j]);
      std::replace(island.begin(), island.end(), goes, stays);
    }
  }
  std::vector<std::int32_t> found = island;
  for (std::int32_t& number : found) {
    if (std::count(island.begin(), island.end(), number) == 1) number = -1;
  }
  return found;
}

}  // namespace trainyard::agent
