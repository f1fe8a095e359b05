#include "common/topology.h"

#include <algorithm>
#include <set>

namespace trainyard {

namespace {

constexpr std::size_t kMostLevels = 8, kLongestWord = 64;

bool is_word(std::string_view word) {
  return !word.empty() && word.size() <= kLongestWord && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

bool is_step(std::string_view step) {
  const std::size_t at = step.find('=');
  return at != std::string_view::npos && is_word(step.substr(0, at)) && is_word(step.substr(at + 1));
}

}  // namespace

std::vector<std::string_view> domains_of(const std::string& place) {
  std::vector<std::string_view> domains;
  for (std::size_t end = 0; !place.empty() && end != std::string::npos;) {
    end = place.find('/', end);
    domains.push_back(std::string_view(place).substr(0, end));
    if (end != std::string::npos) ++end;
  }
  return domains;
}

std::string_view last_of(std::string_view domain) {
  const std::size_t slash = domain.rfind('/');
  return slash == std::string_view::npos ? domain : domain.substr(slash + 1);
}

std::string_view level_of(std::string_view domain) {
  const std::string_view last = last_of(domain);
  return last.substr(0, last.find('='));
}

std::optional<std::string> wrong_with_place(const std::string& place) {
  std::set<std::string_view> levels;
  for (const std::string_view domain : domains_of(place)) {
    if (!is_step(last_of(domain))) {
      return "'" + place +
             "' must be LEVEL=NAME, from the root on with / between, of A-Z a-z 0-9 . _ - each, as rack=r1/leaf=l2";
    }
    if (!levels.insert(level_of(domain)).second) {
      return "'" + place + "' has the level " + std::string(level_of(domain)) + " twice";
    }
  }
  if (levels.size() > kMostLevels) return "'" + place + "' has more than " + std::to_string(kMostLevels) + " levels";
  return std::nullopt;
}

std::optional<std::string> wrong_with(const Topology& topology, std::uint32_t node_count) {
  if (topology.level.empty() && (topology.required || topology.block_size != 0)) {
    return "level is missing: the level of the operator's tree of nodes, e.g. leaf";
  }
  if (!topology.level.empty() && !is_word(topology.level)) {
    return "level '" + topology.level + "' must be of A-Z a-z 0-9 . _ -";
  }
  if (topology.block_size != 0 && !topology.required) return "blockSize needs required: true";
  if (topology.block_size != 0 && node_count % topology.block_size != 0) {
    return "blockSize " + std::to_string(topology.block_size) + " does not divide the " + std::to_string(node_count) +
           " nodes";
  }
  for (const std::string& domain : topology.within) {
    if (!is_step(domain)) return "within '" + domain + "' must be LEVEL=NAME, as rack=r1";
  }
  return std::nullopt;
}

std::string text_of(const Topology& topology) {
  std::string text;
  if (topology.block_size != 0) {
    text = "blocks of " + std::to_string(topology.block_size) + " in one " + topology.level + " each";
  } else if (!topology.level.empty()) {
    text = topology.required ? "one " + topology.level : "as few of " + topology.level + " as can be";
  }
  for (std::size_t i = 0; i < topology.within.size(); ++i) {
    text += (i == 0 ? (text.empty() ? "in " : ", in ") : " or ") + topology.within[i];
  }
  return text + (topology.within.empty() ? "" : " only");
}

}  // namespace trainyard
