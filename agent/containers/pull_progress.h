// What an engine says while it pulls: lines of JSON, of which a job's log gets a few.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "agent/containers/runtime.h"

namespace trainyard::agent {

class PullProgress {
 public:
  PullProgress(const Say& say, std::string image);
  void feed(std::string_view piece);
  // What went wrong, in the engine's words; empty: nothing, so far. Takes a last line without an end too.
  std::string error();

 private:
  void take(const std::string& line);
  void tell();

  struct Layer {
    std::uint64_t current = 0, total = 0;
  };
  const Say& x_say;
  std::string x_image, x_pending, x_error;
  std::map<std::string, Layer> x_layers;
  std::int64_t x_next_ms = 0;
};

}  // namespace trainyard::agent
