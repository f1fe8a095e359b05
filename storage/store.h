// Where the controller's rows live. One thread (the loop) calls it; `commit` returns only when the transaction is
// durable. Any error of commit is final for the process: the caller exits and starts again from disk.
#pragma once

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::storage {

class Store {
 public:
  virtual ~Store() = default;
  // Everything committed so far. A new database has meta.store_generation empty: the edge draws one.
  virtual Result<core::Tables> load() = 0;
  // All or nothing, durable on return.
  virtual Status commit(const core::Changes& changes) = 0;
  // Timeline of one subject ("job:17") or of all (empty), oldest first, at most `limit` lines after `after`.
  virtual Result<std::vector<core::TimelineLine>> timeline(const std::string& subject, std::uint64_t after,
                                                           std::uint32_t limit) = 0;
  // False when free space is below the floor: the edge refuses new work with RESOURCE_EXHAUSTED. Callable from any
  // thread.
  virtual bool accepts_new_work() const = 0;
};

}  // namespace trainyard::storage
