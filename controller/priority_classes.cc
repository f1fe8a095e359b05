#include "controller/priority_classes.h"

#include <strings.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <vector>

namespace trainyard::controller {

namespace {

Error wrong(const std::string& name, const std::string& text) {
  return {Code::invalid_argument, "configuration: scheduling.classes." + name + ": " + text};
}

}  // namespace

Status read_classes(const std::map<std::string, std::int32_t>& numbers, PriorityClasses& classes) {
  std::set<Priority> taken{Priority::low, Priority::normal, Priority::high};
  std::vector<std::string> taken_names{"low", "normal", "high"};
  for (const auto& [name, number] : numbers) {
    const bool is_word =
        !name.empty() && name.size() <= 64 &&
        std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
    const bool is_usual = std::any_of(taken_names.begin(), taken_names.end(), [&](const std::string& taken) {
      return strcasecmp(taken.c_str(), name.c_str()) == 0;
    });
    if (!is_word || is_usual) return wrong(name, "must be a new name of A-Z a-z 0-9 _ -");
    taken_names.push_back(name);
    if (number < -1'000 || number > 1'000) return wrong(name, "must be from -1000 to 1000");
    if (!taken.insert(static_cast<Priority>(number)).second) {
      return wrong(name, "has the number of another class; low is -100, normal 0, high 100");
    }
    classes[name] = static_cast<Priority>(number);
  }
  return {};
}

}  // namespace trainyard::controller
