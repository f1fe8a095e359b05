// What pretend agents have instead of a file system.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace trainyard::test {

// Files that all pretend agents share, as a share would.
struct Disk {
  std::mutex mutex;
  std::map<std::string, std::string> files;  // root/path -> bytes
  bool stalled = false;                      // agents open no file
  bool holds_deletes = false;                // deletes of shares stay under way
  std::size_t removes_at_once = 1000;        // of a share's files, per operation
  std::string complaint;                     // of deletes of shares
  int served = 0;
};

}  // namespace trainyard::test
