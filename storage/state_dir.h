// The controller's directory: private to its user, held by one process, with a floor of free space and a reserve file
// that is given up when the disk is full. accepts_new_work() may be called from any thread, the rest from the owner's.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "common/result.h"

namespace trainyard::storage {

struct SpaceOptions {
  std::uint64_t floor_bytes = 256ULL << 20;   // below it new work is refused
  std::uint64_t reserve_bytes = 64ULL << 20;  // of the file that is removed when the disk is full
};

class StateDir {
 public:
  // Creates the directory (0700) if needed and takes its lock. Errors: others may read it; another controller has it.
  static Result<StateDir> open(const std::string& path, SpaceOptions space);
  StateDir(StateDir&& other) noexcept
      : x_path(std::move(other.x_path)), x_space(other.x_space), x_lock(std::exchange(other.x_lock, -1)) {}
  StateDir& operator=(StateDir&&) = delete;
  ~StateDir();

  const std::string& path() const { return x_path; }
  std::string file(const std::string& name) const { return x_path + "/" + name; }

  bool accepts_new_work() const;
  bool has_reserve() const;
  // Makes the reserve file if there is none and room for it beside the floor.
  void keep_reserve();
  // Gives its space back. False: there was none.
  bool release_reserve();

 private:
  StateDir(std::string path, SpaceOptions space, int lock) : x_path(std::move(path)), x_space(space), x_lock(lock) {}
  std::uint64_t free_bytes() const;

  std::string x_path;
  SpaceOptions x_space;
  int x_lock = -1;
};

}  // namespace trainyard::storage
