#include "common/cpu_list.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace trainyard {
namespace {

constexpr std::uint32_t kMost = 65'536;  // more than any machine has: a mistake must not take all memory

std::optional<std::uint32_t> number_in(const std::string& text, std::size_t from, std::size_t to) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + from, text.data() + to, number);
  if (error != std::errc() || end != text.data() + to || number >= kMost) return std::nullopt;
  return number;
}

}  // namespace

std::string cpu_list(const std::set<std::uint32_t>& cpus) {
  std::string text;
  for (auto at = cpus.begin(); at != cpus.end();) {
    const std::uint32_t first = *at;
    std::uint32_t last = first;
    for (++at; at != cpus.end() && *at == last + 1; ++at) last = *at;
    text += (text.empty() ? "" : ",") + std::to_string(first);
    if (last != first) text += "-" + std::to_string(last);
  }
  return text;
}

std::set<std::uint32_t> parse_cpu_list(const std::string& text) {
  std::set<std::uint32_t> cpus;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(",\n", begin), text.size());
    const std::size_t dash = std::min(text.find('-', begin), end);
    const auto first = number_in(text, begin, dash);
    const auto last = dash == end ? first : number_in(text, dash + 1, end);
    for (std::uint32_t cpu = first.value_or(1); first && last && cpu <= *last; ++cpu) cpus.insert(cpu);
    begin = end + 1;
  }
  return cpus;
}

}  // namespace trainyard
