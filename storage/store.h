// Where the controller's rows live. One thread (the loop) calls it; `commit` returns only when the transaction is
// durable. Any error of commit is final for the process: the caller exits and starts again from disk.
#pragma once

#include <functional>
#include <memory>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::storage {

// Reads rows of the accounting beside the store: made on the store's thread, used once, on any other.
class UsageReader {
 public:
  virtual ~UsageReader() = default;
  // Each row that ended after `from_ms` and began before `to_ms`, in the order of their ends. What is committed
  // meanwhile may be among them.
  virtual Status each(TimeMs from_ms, TimeMs to_ms, const std::function<void(const core::Usage&)>& take) = 0;
};

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
  // Sees everything that was committed until now.
  virtual std::unique_ptr<UsageReader> usage_reader() = 0;
  // False when free space is below the floor: the edge refuses new work with RESOURCE_EXHAUSTED. Callable from any
  // thread.
  virtual bool accepts_new_work() const = 0;
};

}  // namespace trainyard::storage
