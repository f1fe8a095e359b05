// The core's rows as SQL: prepared upserts and erasures, and reading everything back. Belongs to sqlite_store.
#pragma once

#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "controller/core/rows.h"
#include "storage/sqlite.h"

namespace trainyard::storage {

// The part of a subject before its first blank: "job:17" of "job:17 group/workspace/experiment/name".
std::string subject_key(const std::string& subject);

// Writes Changes with statements that are prepared once. Needs an open transaction.
class RowWriter {
 public:
  static Result<RowWriter> prepare(Connection& connection);
  // SQLite's code of the first failure, or kSqlOk.
  int write(Connection& connection, const core::Changes& changes);
  // To be told once the transaction is durable; a write that was rolled back may be repeated before.
  void committed(const core::Changes& changes);

 private:
  int upsert(const core::Changes& changes);
  int put_job(Connection& connection, const core::Job& job);
  int put_array(const core::JobArray& row);
  int put_schedule(const core::JobSchedule& row);
  int put_request(const core::RequestRecord& row);
  int erase_request(const std::string& request_id);
  int erase(const core::Changes& changes);

  std::unordered_map<std::string, std::int64_t> x_request_rows;  // the index that the table does not have
  std::int64_t x_next_request_row = 1;
  std::set<JobArrayId> x_arrays;  // whose specs are known to be written
  Statement x_meta, x_group, x_workspace, x_experiment, x_cluster, x_node, x_job_insert, x_job_update, x_spec,
      x_holding, x_spent, x_reservation, x_account, x_share, x_file_server, x_request, x_line, x_usage, x_array,
      x_array_spec, x_schedule;
  Statement x_erase_group, x_erase_workspace, x_erase_experiment, x_erase_cluster, x_erase_node, x_erase_job,
      x_erase_spec, x_erase_holding, x_erase_spent, x_erase_reservation, x_erase_account, x_erase_share,
      x_erase_file_server, x_erase_request, x_erase_array, x_erase_array_spec, x_erase_schedule;
};

// A row that cannot be understood. It is taken out of its table so that it cannot stop a start.
struct BadRow {
  std::string table;
  std::string key;  // SQL condition that names the row, from integers only
  std::string reason;
  bool keep = false;  // the row is usable without its damaged part: it stays, a copy goes to quarantine
};

// All rows, in the order of their keys. Bad ones are left out (or loaded without their damaged part) and listed.
Result<core::Tables> read_tables(Connection& connection, std::vector<BadRow>& bad);

// Copies the rows into `quarantine`, removes them from their tables (unless `keep`). Needs an open transaction.
Status quarantine(Connection& connection, const std::vector<BadRow>& bad, TimeMs now_ms);

}  // namespace trainyard::storage
