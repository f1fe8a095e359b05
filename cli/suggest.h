// "Did you mean": the nearest of some words. Pure.
#pragma once

#include <string>
#include <vector>

namespace trainyard::cli {

// Empty when none is near enough to be meant: at most a third of the letters are added, dropped, changed or swapped.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace trainyard::cli
