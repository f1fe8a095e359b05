// What all parts of one simulated run share: virtual time with its queue of events, the trace, and the counts of what
// was covered. One thread; time moves only in run_one.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "common/time.h"
#include "tests/support/simulator/random.h"

namespace trainyard::simulator {

enum class Mode { safety, liveness };

struct Options {
  std::uint64_t seed = 1;
  std::uint32_t nodes = 50;
  std::uint32_t jobs = 200;
  std::uint64_t events = 10'000;  // at least so many before the run may end
  Mode mode = Mode::safety;
  bool trace = false;  // print every line of the trace
  // core::check_invariants runs after every event of the controller up to this many nodes, above it now and then.
  std::uint32_t full_check_nodes = 400;
};

// Everything that happened, as numbers: hashed always, printed on demand. The newest lines are kept for a failure.
class Trace {
 public:
  void line(TimeMs now_ms, const char* what, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0);
  void print_to_stdout(bool wanted) { x_print = wanted; }
  std::uint64_t hash() const { return x_hash; }
  // The newest lines, to stderr. Safe to call while aborting.
  void print_newest() const;

 private:
  struct Line {
    TimeMs now_ms = 0;
    const char* what = "";
    std::uint64_t a = 0, b = 0, c = 0;
  };
  std::array<Line, 64> x_newest;
  std::uint64_t x_count = 0;
  std::uint64_t x_hash = 0xcbf29ce484222325ULL;
  bool x_print = false;
};

// "fault drop" -> 17: how often each thing happened.
using Coverage = std::map<std::string, std::uint64_t>;

class World {
 public:
  explicit World(const Options& options) : options(options), random(options.seed) {
    trace.print_to_stdout(options.trace);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const Options options;
  Random random;  // parts fork their own streams from it when they are built
  Trace trace;
  Coverage coverage;
  std::uint64_t events_run = 0;
  std::uint64_t core_events = 0;  // stepped by the controller's core

  TimeMs now_ms() const { return x_now_ms; }
  void after(DurationMs delay_ms, std::function<void()> what);
  // False when nothing is left to happen.
  bool run_one();
  void hit(const std::string& what) { ++coverage[what]; }
  void note(const char* what, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) {
    trace.line(x_now_ms, what, a, b, c);
  }
  // A broken promise: prints it with the newest trace lines and aborts.
  [[noreturn]] void fail(const std::string& promise) const;

 private:
  struct Entry {
    TimeMs at_ms = 0;
    std::uint64_t order = 0;  // of scheduling: ties run in that order
    std::function<void()> what;
    bool operator<(const Entry& other) const {
      return at_ms != other.at_ms ? at_ms > other.at_ms : order > other.order;
    }
  };
  std::priority_queue<Entry> x_queue;
  TimeMs x_now_ms = 1'000'000;
  std::uint64_t x_order = 0;
};

}  // namespace trainyard::simulator
