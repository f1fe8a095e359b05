#include "cli/suggest.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace trainyard::cli {
namespace {

// Damerau's distance: letters added, dropped, changed, or swapped with their neighbour.
std::size_t distance(const std::string& left, const std::string& right) {
  const std::size_t width = right.size() + 1;
  std::vector<std::size_t> cost((left.size() + 1) * width);
  const auto at = [&](std::size_t row, std::size_t column) -> std::size_t& { return cost[row * width + column]; };
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (std::size_t row = 0; row <= left.size(); ++row) at(row, 0) = row;
  for (std::size_t column = 0; column <= right.size(); ++column) at(0, column) = column;
  for (std::size_t row = 1; row <= left.size(); ++row) {
    for (std::size_t column = 1; column <= right.size(); ++column) {
      const std::size_t change = same(left[row - 1], right[column - 1]) ? 0 : 1;
      at(row, column) = std::min({at(row - 1, column) + 1, at(row, column - 1) + 1, at(row - 1, column - 1) + change});
      const bool swapped =
          row > 1 && column > 1 && same(left[row - 1], right[column - 2]) && same(left[row - 2], right[column - 1]);
      if (swapped) at(row, column) = std::min(at(row, column), at(row - 2, column - 2) + 1);
    }
  }
  return at(left.size(), right.size());
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 64;  // longer words are no slips of the finger
  if (word.empty() || word.size() > kLongest) return "";
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t far = distance(word, candidate);
    if (far >= least) continue;
    least = far;
    best = candidate;
  }
  return best;
}

}  // namespace trainyard::cli
