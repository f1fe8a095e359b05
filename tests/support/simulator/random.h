// The only source of chance in a simulated run: splitmix64, the same on every compiler. Never draw twice within one
// expression's argument list: the order would be the compiler's choice.
#pragma once

#include <cstdint>

namespace trainyard::simulator {

class Random {
 public:
  explicit Random(std::uint64_t seed) : x_state(seed * 0x9e3779b97f4a7c15ULL + 0x632be59bd9b4e019ULL) {}

  std::uint64_t next() {
    x_state += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = x_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // 0 <= result < limit. REQUIRES: limit > 0
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  // low <= result <= high
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
  }
  bool chance(std::uint64_t per_thousand) { return below(1000) < per_thousand; }
  // A stream of its own, so that one part's draws do not shift another's.
  Random fork() { return Random(next()); }

 private:
  std::uint64_t x_state;
};

}  // namespace trainyard::simulator
