// The store in one SQLite file, `trainyard.db` in the state directory. WAL with synchronous=FULL: commit returns when
// the rows are on disk. Exactly this one connection writes and checkpoints. Owned by the loop's thread, except
// accepts_new_work(), which any thread may ask.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "storage/state_dir.h"
#include "storage/store.h"

namespace trainyard::storage {

struct SqliteOptions {
  SpaceOptions space;
  // Pages of log after which a commit also checkpoints: 4,000 pages of 4 KiB.
  int checkpoint_pages = 4000;
};

class SqliteStore : public Store {
 public:
  // Takes the directory's lock, checks the file's integrity, brings its schema up to date.
  static Result<std::unique_ptr<SqliteStore>> open(const std::string& state_dir, const SqliteOptions& options);
  ~SqliteStore() override;

  // Rows that cannot be understood go to the table `quarantine`; warnings() then names them.
  Result<core::Tables> load() override;
  Status commit(const core::Changes& changes) override;
  Result<std::vector<core::TimelineLine>> timeline(const std::string& subject, std::uint64_t after,
                                                   std::uint32_t limit) override;
  std::unique_ptr<UsageReader> usage_reader() override;  // by a connection of its own
  bool accepts_new_work() const override;

  // What the operator should hear: quarantined rows, the copy made before an upgrade, a reserve that had to be used.
  std::vector<std::string> take_warnings();
  // A consistent copy in one plain file, checked. `path` must not exist.
  Status backup(const std::string& path);

 private:
  struct Impl;
  explicit SqliteStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> x_impl;
};

}  // namespace trainyard::storage
