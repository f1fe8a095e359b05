// The series of the nodes' counters, in a SQLite file of their own: they are no state, and nothing of them may cost the
// state's durability or space. Samples are kept as they came for 6 hours and as averages over 5 minutes for 30 days;
// what is older goes when the next samples of its node are written, or in a sweep. One thread.
//
// A crash of the process loses nothing that append() took; one of the machine may lose the last seconds, never more
// (WAL, synchronous=NORMAL). Size: docs/decisions/0030.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/counters.h"
#include "common/result.h"

namespace trainyard::storage {

inline constexpr DurationMs kAveragedOverMs = 5 * 60'000;

struct CounterRetention {
  DurationMs as_sent_ms = 6 * 3'600'000;
  DurationMs averages_ms = 30LL * 24 * 3'600'000;
};

// Of a node, or of anything else that is measured as one: a series is a name.
struct NodeSample {
  std::string node;
  CounterSample sample;
};

class CounterStore {
 public:
  // Makes the file if there is none. DATA_LOSS: there is one that nothing can be read from (put_aside() makes room).
  static Result<std::unique_ptr<CounterStore>> open(const std::string& path, CounterRetention retention = {});
  ~CounterStore();

  // All of them or none. A sample at a time that its node has already takes its place. RESOURCE_EXHAUSTED: the disk is
  // full; DATA_LOSS: the file is damaged.
  Status append(const std::vector<NodeSample>& samples);
  // What append() does for nodes that send, for those that do not any more: averages, retention. Now and then.
  Status sweep(TimeMs now_ms);
  // With from < time <= to, by time. Where samples are there as they came, those; before, the averages. A node that
  // never sent has none.
  Result<std::vector<CounterSample>> read(const std::string& node, TimeMs from_ms, TimeMs to_ms);
  // Names of series that begin so, in order.
  Result<std::vector<std::string>> names(const std::string& prefix);

 private:
  struct Impl;
  explicit CounterStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> x_impl;
};

// Renames a file that cannot be used to PATH.damaged, over an older one of that name: there is never more than one.
Status put_aside(const std::string& path);

}  // namespace trainyard::storage
