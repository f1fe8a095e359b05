#include "storage/usage_rows.h"

#include <fmt/format.h>

#include <utility>

#include "storage/row_json.h"
#include "storage/sqlite.h"

namespace trainyard::storage {
namespace {

Result<core::Usage> read_row(const Statement& row) {
  core::Usage usage{{{row.number(2)}, static_cast<std::uint32_t>(row.integer(3))},
                    {row.number(1)},
                    row.text(4),
                    row.text(5),
                    row.text(6),
                    row.text(7),
                    static_cast<std::uint32_t>(row.integer(8)),
                    {},
                    row.integer(10),
                    row.integer(11),
                    row.integer(12),
                    row.integer(0)};
  auto gpus = read_strings(row.text(9));
  if (!gpus || !read_name(row.text(13), usage.work)) {
    return Error{Code::data_loss, fmt::format("the accounting's row of job {} attempt {} on node {} is damaged",
                                              row.integer(2), row.integer(3), row.integer(1))};
  }
  usage.gpu_uuids = std::move(*gpus);
  return usage;
}

class FileReader : public UsageReader {
 public:
  explicit FileReader(std::string file) : x_file(std::move(file)) {}

  Status each(TimeMs from_ms, TimeMs to_ms, const std::function<void(const core::Usage&)>& take) override {
    auto connection = Connection::open(x_file, Connection::Mode::read_only);
    if (!connection) return connection.error();
    // The writer may be bringing its log into the file.
    if (Status patient = connection->execute("PRAGMA busy_timeout=2000"); !patient) return patient;
    auto rows = connection->prepare(
        "SELECT to_ms,node,job,attempt,job_path,owner,cluster_path,node_name,units,gpu_uuids,from_ms,running_ms,"
        "stopped_ms,work FROM usage WHERE to_ms>? AND from_ms<? ORDER BY to_ms,node,job,attempt");
    if (!rows) return rows.error();
    for (rows->start(from_ms, to_ms); rows->next();) {
      const auto usage = read_row(*rows);
      if (!usage) return usage.error();
      take(*usage);
    }
    if (const int code = rows->finish(); code != kSqlOk) return connection->error("reading the accounting", code);
    return {};
  }

 private:
  const std::string x_file;
};

}  // namespace

std::unique_ptr<UsageReader> read_usage_of(std::string file) {
  return std::make_unique<FileReader>(std::move(file));
}

}  // namespace trainyard::storage
