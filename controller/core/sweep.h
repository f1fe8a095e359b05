// Parameter sweeps: what each task of a job array gets as variables. Pure, and the same on every machine: see
// docs/decisions/0056 for the formula of drawn values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/model.h"

namespace trainyard::core {

// A name and the values that it takes one after the other.
struct Axis {
  std::string name;
  std::vector<std::string> values;
  friend bool operator==(const Axis&, const Axis&) = default;
};

// A number drawn for each task, from `least` to `most`, both included.
struct Drawn {
  std::string name;
  double least = 0, most = 0;
  bool log = false;      // evenly by its logarithm; least > 0
  bool integer = false;  // bounds are whole, and at most 2^53 away from 0
  friend bool operator==(const Drawn&, const Drawn&) = default;
};

// One of grid, rows and drawn at most is not empty. All empty: the tasks differ by their index only.
struct Sweep {
  std::vector<Axis> grid;                      // every combination; the last name changes fastest
  std::vector<std::string> names;              // of the columns of `rows`
  std::vector<std::vector<std::string>> rows;  // a list: one row for each task
  std::vector<Drawn> drawn;
  std::uint64_t seed = 0;  // of `drawn`
  friend bool operator==(const Sweep&, const Sweep&) = default;
};

// How many tasks the sweep makes by itself; 0: as many as are asked for. Stops counting at 2^32.
std::uint64_t tasks_of(const Sweep& sweep);

// In the order of the sweep. REQUIRES: task < tasks_of(sweep), where that is not 0
std::vector<NamedValue> parameters_of(const Sweep& sweep, std::uint32_t task);

}  // namespace trainyard::core
