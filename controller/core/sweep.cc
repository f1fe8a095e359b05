#include "controller/core/sweep.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace trainyard::core {

namespace {

// One step of SplitMix64.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// FNV-1a, 64 bits.
std::uint64_t hash_of(const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// base^(draw / 2^53), with operations that IEEE 754 rounds in one way only: those of libraries differ in their last
// bit.
double power(double base, std::uint64_t draw) {
  double product = 1;
  for (int bit = 52; bit >= 0; --bit) {
    base = std::sqrt(base);
    if (((draw >> bit) & 1) != 0) product *= base;
  }
  return product;
}

std::string text_of(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6).ptr;
  return {text, end};
}

std::string value_of(const Drawn& range, std::uint64_t draw) {
  const std::uint64_t fraction = draw >> 11;  // of 2^53
  if (range.integer && !range.log) {
    const auto span = static_cast<std::uint64_t>(range.most - range.least) + 1;
    return std::to_string(static_cast<std::int64_t>(range.least) + static_cast<std::int64_t>(draw % span));
  }
  const double above = range.integer ? range.most + 1 : range.most;
  double value = range.log ? range.least * power(above / range.least, fraction)
                           : std::fma(static_cast<double>(fraction) * 0x1p-53, above - range.least, range.least);
  value = std::clamp(value, range.least, range.most);
  return range.integer ? std::to_string(static_cast<std::int64_t>(std::floor(value))) : text_of(value);
}

}  // namespace

std::uint64_t tasks_of(const Sweep& sweep) {
  constexpr std::uint64_t kMost = 1ULL << 32;
  if (sweep.grid.empty()) return sweep.rows.size();
  std::uint64_t tasks = 1;
  for (const Axis& axis : sweep.grid) tasks = std::min<std::uint64_t>(kMost, tasks * axis.values.size());
  return tasks;
}

std::vector<NamedValue> parameters_of(const Sweep& sweep, std::uint32_t task) {
  std::vector<NamedValue> parameters;
  std::uint64_t rest = task;
  for (auto axis = sweep.grid.rbegin(); axis != sweep.grid.rend(); ++axis) {
    parameters.push_back({axis->name, axis->values[rest % axis->values.size()]});
    rest /= axis->values.size();
  }
  std::reverse(parameters.begin(), parameters.end());
  for (std::size_t i = 0; i < sweep.names.size(); ++i) parameters.push_back({sweep.names[i], sweep.rows[task][i]});
  for (const Drawn& range : sweep.drawn) {
    const std::uint64_t draw = mixed(mixed(mixed(sweep.seed) ^ task) ^ hash_of(range.name));
    parameters.push_back({range.name, value_of(range, draw)});
  }
  return parameters;
}

}  // namespace trainyard::core
