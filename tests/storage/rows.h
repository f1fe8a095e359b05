// Rows with every field filled, and directories for the stores of these tests.
#pragma once

#include <string>

#include "controller/core/rows.h"
#include "storage/store.h"

namespace trainyard::storage::test {

// One row of every kind, no field at its default. `n` makes them differ.
core::Job full_job(std::uint64_t n);
core::JobArray full_array(std::uint64_t n);
core::JobSchedule full_schedule(std::uint64_t n);
core::Changes full_changes(std::uint64_t n);

// A job as a submit leaves it, with its timeline line and request record.
core::Changes submitted(std::uint64_t n);

// Whether the store's tables hold exactly these rows (one of each kind).
void require_holds(const core::Tables& tables, const core::Changes& rows);
bool same(const core::Job& a, const core::Job& b);

// A fresh directory under /tmp, removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
};

}  // namespace trainyard::storage::test
