#include "storage/row_sql.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/model_json.h"
#include "storage/array_json.h"
#include "storage/row_json.h"
#include "storage/schedule_json.h"

namespace trainyard::storage {

namespace {

using Columns = std::vector<std::string>;

std::string insert_sql(const std::string& table, const Columns& columns) {
  std::string marks = "?";
  for (std::size_t i = 1; i < columns.size(); ++i) marks += ",?";
  return fmt::format("INSERT INTO {} ({}) VALUES ({})", table, fmt::join(columns, ","), marks);
}

// The first `keys` columns name the row; the others are replaced when it is there.
std::string upsert_sql(const std::string& table, const Columns& columns, std::size_t keys = 1) {
  std::string sets;
  for (std::size_t i = keys; i < columns.size(); ++i) {
    sets += fmt::format("{}{}=excluded.{}", i == keys ? "" : ",", columns[i], columns[i]);
  }
  Columns names(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(keys));
  return fmt::format("{} ON CONFLICT ({}) DO UPDATE SET {}", insert_sql(table, columns), fmt::join(names, ","), sets);
}

const Columns kJobColumns{"experiment",
                          "cluster",
                          "cluster_path",
                          "name",
                          "segment",
                          "state",
                          "verdict",
                          "attempt",
                          "requeues",
                          "created_ms",
                          "state_changed_ms",
                          "started_ms",
                          "ended_ms",
                          "exit_code",
                          "head_exited_ms",
                          "cause_code",
                          "cause_message",
                          "cause_infrastructure",
                          "deleting",
                          "body",
                          "id"};

std::string job_update_sql() {
  std::string sets;
  for (const std::string& column : kJobColumns) {
    if (column != "id") sets += fmt::format("{}{}=?", sets.empty() ? "" : ",", column);
  }
  return fmt::format("UPDATE jobs SET {} WHERE id=?", sets);
}

int run_job(Statement& statement, const core::Job& job, const std::string& body) {
  return statement.run(job.experiment.value, job.cluster.value, job.cluster_path, job.name, job.segment,
                       stored_name(job.state), stored_name(job.verdict), job.attempt, job.requeues, job.created_ms,
                       job.state_changed_ms, job.started_ms, job.ended_ms, job.exit_code, job.head_exited_ms,
                       job.cause.code, job.cause.message, job.cause.infrastructure, job.deleting, body, job.id.value);
}

// Prepares into its target and remembers the first failure: a page of prepares without a page of ifs.
struct Preparer {
  Connection& connection;
  std::optional<Error> failed;
  void operator()(Statement& into, const std::string& sql) {
    auto statement = connection.prepare(sql);
    if (statement) {
      into = std::move(*statement);
    } else if (!failed) {
      failed = statement.error();
    }
  }
};

// Applies `write` to each row until one fails.
template <class Rows, class Write>
int each(int code, const Rows& rows, Write write) {
  for (auto row = rows.begin(); code == kSqlOk && row != rows.end(); ++row) code = write(*row);
  return code;
}

}  // namespace

std::string subject_key(const std::string& subject) {
  return subject.substr(0, subject.find(' '));
}

Result<RowWriter> RowWriter::prepare(Connection& connection) {
  RowWriter w;
  Preparer prepare{connection, std::nullopt};
  prepare(w.x_meta, upsert_sql("meta", {"id", "store_generation", "next_id", "next_timeline", "last_now_ms"}));
  prepare(w.x_group, upsert_sql("groups", {"id", "name", "location", "created_ms", "deleting", "tags"}));
  prepare(w.x_workspace,
          upsert_sql("workspaces", {"id", "group_id", "name", "location", "created_ms", "deleting", "tags", "body"}));
  prepare(w.x_experiment, upsert_sql("experiments", {"id", "workspace", "name", "created_ms", "deleting"}));
  prepare(w.x_cluster,
          upsert_sql("clusters", {"id", "workspace", "name", "vm_size", "vm_priority", "target_node_count",
                                  "node_deallocation_option", "admin_user_name", "admin_user_ssh_public_key",
                                  "resizing", "created_ms", "allocation_changed_ms", "deleting", "body"}));
  prepare(w.x_node, upsert_sql("nodes", {"id", "name", "cluster", "state", "reason", "state_changed_ms", "epoch",
                                         "former_epochs", "revision", "awaited_revision", "inventory", "body"}));
  prepare(w.x_job_insert, insert_sql("jobs", kJobColumns));
  prepare(w.x_job_update, job_update_sql());
  prepare(w.x_spec, upsert_sql("job_specs", {"job", "body"}));
  prepare(w.x_holding,
          upsert_sql("holdings",
                     {"node",     "job",      "attempt",      "job_name",         "node_epoch", "member", "lease_ms",
                      "since_ms", "reported", "stop_ordered", "confirm_revision", "gpu_uuids",  "shared", "workspace",
                      "owner",    "job_path", "cluster_path", "running_ms",       "stopped_ms", "work"},
                     3));
  prepare(w.x_spent, upsert_sql("spent", {"workspace", "owner", "gpu_ms", "at_ms"}, 2));
  prepare(w.x_reservation, upsert_sql("reservations", {"id", "name", "from_ms", "until_ms", "workspace", "nodes", "why",
                                                       "who", "created_ms"}));
  prepare(w.x_array, upsert_sql("job_arrays", {"id", "experiment", "cluster", "name", "parallel", "next", "succeeded",
                                               "failed", "removed", "state", "created_ms", "state_changed_ms",
                                               "parallel_changed_ms", "deleting", "body"}));
  prepare(w.x_array_spec, "INSERT OR IGNORE INTO job_array_specs (job_array,body) VALUES (?,?)");
  prepare(w.x_schedule, upsert_sql("job_schedules", {"id", "experiment", "name", "cron", "utc_offset", "overlap",
                                                     "keep", "next_ms", "made", "skipped", "refused", "missed",
                                                     "created_ms", "changed_ms", "spec", "body"}));
  prepare(w.x_account, upsert_sql("accounts", {"id", "group_id", "name", "location", "sku", "place", "created_ms"}));
  prepare(w.x_share, upsert_sql("shares", {"id", "account", "name", "created_ms", "deleting"}));
  prepare(w.x_file_server,
          upsert_sql("file_servers", {"id", "workspace", "name", "address", "export_path", "created_ms", "body"}));
  prepare(w.x_request,
          upsert_sql("requests", {"id", "request_id", "fingerprint", "at_ms", "code", "message", "subject"}));
  prepare(w.x_line, insert_sql("timeline", {"sequence", "at_ms", "who", "subject_key", "subject", "what", "why"}));
  prepare(w.x_usage,
          insert_sql("usage", {"to_ms", "node", "job", "attempt", "job_path", "owner", "cluster_path", "node_name",
                               "units", "gpu_uuids", "from_ms", "running_ms", "stopped_ms", "work"}));
  prepare(w.x_erase_group, "DELETE FROM groups WHERE id=?");
  prepare(w.x_erase_workspace, "DELETE FROM workspaces WHERE id=?");
  prepare(w.x_erase_experiment, "DELETE FROM experiments WHERE id=?");
  prepare(w.x_erase_cluster, "DELETE FROM clusters WHERE id=?");
  prepare(w.x_erase_node, "DELETE FROM nodes WHERE id=?");
  prepare(w.x_erase_job, "DELETE FROM jobs WHERE id=?");
  prepare(w.x_erase_spec, "DELETE FROM job_specs WHERE job=?");
  prepare(w.x_erase_holding, "DELETE FROM holdings WHERE node=? AND job=? AND attempt=?");
  prepare(w.x_erase_spent, "DELETE FROM spent WHERE workspace=? AND owner=?");
  prepare(w.x_erase_reservation, "DELETE FROM reservations WHERE id=?");
  prepare(w.x_erase_array, "DELETE FROM job_arrays WHERE id=?");
  prepare(w.x_erase_array_spec, "DELETE FROM job_array_specs WHERE job_array=?");
  prepare(w.x_erase_schedule, "DELETE FROM job_schedules WHERE id=?");
  prepare(w.x_erase_account, "DELETE FROM accounts WHERE id=?");
  prepare(w.x_erase_share, "DELETE FROM shares WHERE id=?");
  prepare(w.x_erase_file_server, "DELETE FROM file_servers WHERE id=?");
  prepare(w.x_erase_request, "DELETE FROM requests WHERE id=?");
  Statement requests;
  prepare(requests, "SELECT id,request_id FROM requests");
  if (prepare.failed) return *prepare.failed;
  for (requests.start(); requests.next();) {
    w.x_request_rows[requests.text(1)] = requests.integer(0);
    w.x_next_request_row = std::max(w.x_next_request_row, requests.integer(0) + 1);
  }
  if (int code = requests.finish(); code != kSqlOk) return connection.error("reading requests", code);
  return w;
}

int RowWriter::write(Connection& connection, const core::Changes& changes) {
  const core::Meta& meta = changes.meta;
  int code = x_meta.run(1, meta.store_generation, meta.next_id, meta.next_timeline, meta.last_now_ms);
  if (code == kSqlOk) code = upsert(changes);
  code = each(code, changes.jobs, [&](const core::Job& job) { return put_job(connection, job); });
  if (code == kSqlOk) code = erase(changes);
  return code;
}

int RowWriter::upsert(const core::Changes& changes) {
  int code = each(kSqlOk, changes.groups, [&](const core::Group& row) {
    return x_group.run(row.id.value, row.name, row.location, row.created_ms, row.deleting, tags_text(row.tags));
  });
  code = each(code, changes.workspaces, [&](const core::Workspace& row) {
    return x_workspace.run(row.id.value, row.group.value, row.name, row.location, row.created_ms, row.deleting,
                           tags_text(row.tags), workspace_body_text(row));
  });
  code = each(code, changes.experiments, [&](const core::Experiment& row) {
    return x_experiment.run(row.id.value, row.workspace.value, row.name, row.created_ms, row.deleting);
  });
  code = each(code, changes.clusters, [&](const core::Cluster& row) {
    const core::ClusterSpec& spec = row.spec;
    return x_cluster.run(row.id.value, row.workspace.value, row.name, spec.vm_size, stored_name(spec.vm_priority),
                         spec.target_node_count, stored_name(spec.node_deallocation_option), spec.admin_user_name,
                         spec.admin_user_ssh_public_key, row.resizing, row.created_ms, row.allocation_changed_ms,
                         row.deleting, cluster_body_text(row));
  });
  code = each(code, changes.nodes, [&](const core::Node& row) {
    std::optional<std::uint64_t> cluster;
    if (row.cluster) cluster = row.cluster->value;
    return x_node.run(row.id.value, row.name, cluster, stored_name(row.state), row.reason, row.state_changed_ms,
                      row.epoch, strings_text(row.former_epochs), row.revision, row.awaited_revision,
                      inventory_text(row.inventory), node_body_text(row));
  });
  code = each(code, changes.holdings, [&](const core::Holding& row) {
    return x_holding.run(row.node.value, row.id.job.value, row.id.attempt, row.job_name, row.node_epoch, row.member,
                         row.lease_ms, row.since_ms, name_of(row.reported), row.stop_ordered, row.confirm_revision,
                         strings_text(row.gpu_uuids), row.shared, row.payer.workspace.value, row.payer.owner,
                         row.job_path, row.cluster_path, row.running_ms, row.stopped_ms, stored_name(row.work));
  });
  code = each(code, changes.reservations, [&](const core::Reservation& row) {
    std::optional<std::uint64_t> workspace;
    if (row.workspace) workspace = row.workspace->value;
    return x_reservation.run(row.id.value, row.name, row.from_ms, row.until_ms, workspace, ids_text(row.nodes), row.why,
                             row.who, row.created_ms);
  });
  code = each(code, changes.arrays, [&](const core::JobArray& row) { return put_array(row); });
  code = each(code, changes.schedules, [&](const core::JobSchedule& row) { return put_schedule(row); });
  code = each(code, changes.spent, [&](const core::Spent& row) {
    return x_spent.run(row.payer.workspace.value, row.payer.owner, row.gpu_ms, row.at_ms);
  });
  code = each(code, changes.accounts, [&](const core::Account& row) {
    return x_account.run(row.id.value, row.group.value, row.name, row.location, row.sku, row.place, row.created_ms);
  });
  code = each(code, changes.shares, [&](const core::Share& row) {
    return x_share.run(row.id.value, row.account.value, row.name, row.created_ms, row.deleting);
  });
  code = each(code, changes.file_servers, [&](const core::FileServer& row) {
    return x_file_server.run(row.id.value, row.workspace.value, row.name, row.address, row.export_path, row.created_ms,
                             file_server_body_text(row));
  });
  code = each(code, changes.requests, [&](const core::RequestRecord& row) { return put_request(row); });
  code = each(code, changes.usage, [&](const core::Usage& row) {
    return x_usage.run(row.to_ms, row.node.value, row.id.job.value, row.id.attempt, row.job_path, row.owner,
                       row.cluster_path, row.node_name, row.units, strings_text(row.gpu_uuids), row.from_ms,
                       row.running_ms, row.stopped_ms, stored_name(row.work));
  });
  return each(code, changes.timeline, [&](const core::TimelineLine& row) {
    return x_line.run(row.sequence, row.at_ms, row.who, subject_key(row.subject), row.subject, row.what, row.why);
  });
}

int RowWriter::put_job(Connection& connection, const core::Job& job) {
  const std::string body = job_body_text(job);
  int code = run_job(x_job_update, job, body);
  if (code != kSqlOk || connection.changed_rows() > 0) return code;
  code = run_job(x_job_insert, job, body);
  return code == kSqlOk ? x_spec.run(job.id.value, job_spec_text(job)) : code;
}

int RowWriter::put_array(const core::JobArray& row) {
  const int code = x_array.run(row.id.value, row.experiment.value, row.cluster.value, row.name, row.parallel, row.next,
                               row.succeeded, row.failed, row.removed, stored_name(row.state), row.created_ms,
                               row.state_changed_ms, row.parallel_changed_ms, row.deleting, array_body_text(row));
  // Its parameters may be large: their text is made once in this program's life, and written once.
  if (code != kSqlOk || x_arrays.contains(row.id)) return code;
  return x_array_spec.run(row.id.value, array_spec_text(row));
}

int RowWriter::put_schedule(const core::JobSchedule& row) {
  return x_schedule.run(row.id.value, row.experiment.value, row.name, row.cron.text, core::offset_text(row.cron),
                        stored_name(row.overlap), row.keep, row.next_ms, row.made, row.skipped, row.refused, row.missed,
                        row.created_ms, row.changed_ms, schedule_spec_text(row), schedule_body_text(row));
}

// Both leave the index right for a transaction that is rolled back and repeated: a row keeps its place until committed.
int RowWriter::put_request(const core::RequestRecord& row) {
  const auto [place, added] = x_request_rows.try_emplace(row.request_id, x_next_request_row);
  if (added) ++x_next_request_row;
  return x_request.run(place->second, row.request_id, row.fingerprint, row.at_ms, row.code, row.message, row.subject);
}

int RowWriter::erase_request(const std::string& request_id) {
  const auto place = x_request_rows.find(request_id);
  return place == x_request_rows.end() ? kSqlOk : x_erase_request.run(place->second);
}

void RowWriter::committed(const core::Changes& changes) {
  for (const std::string& id : changes.erased_requests) x_request_rows.erase(id);
  for (const core::JobArray& row : changes.arrays) x_arrays.insert(row.id);
  for (const JobArrayId id : changes.erased_arrays) x_arrays.erase(id);
}

int RowWriter::erase(const core::Changes& changes) {
  auto by_id = [](Statement& statement) { return [&](auto id) { return statement.run(id.value); }; };
  int code = each(kSqlOk, changes.erased_groups, by_id(x_erase_group));
  code = each(code, changes.erased_workspaces, by_id(x_erase_workspace));
  code = each(code, changes.erased_experiments, by_id(x_erase_experiment));
  code = each(code, changes.erased_clusters, by_id(x_erase_cluster));
  code = each(code, changes.erased_nodes, by_id(x_erase_node));
  code = each(code, changes.erased_jobs, by_id(x_erase_job));
  code = each(code, changes.erased_jobs, by_id(x_erase_spec));
  code = each(code, changes.erased_accounts, by_id(x_erase_account));
  code = each(code, changes.erased_shares, by_id(x_erase_share));
  code = each(code, changes.erased_file_servers, by_id(x_erase_file_server));
  code = each(code, changes.erased_reservations, by_id(x_erase_reservation));
  code = each(code, changes.erased_arrays, by_id(x_erase_array));
  code = each(code, changes.erased_arrays, by_id(x_erase_array_spec));
  code = each(code, changes.erased_schedules, by_id(x_erase_schedule));
  code = each(code, changes.erased_spent,
              [&](const core::Payer& payer) { return x_erase_spent.run(payer.workspace.value, payer.owner); });
  code = each(code, changes.erased_holdings, [&](const core::HoldingKey& key) {
    return x_erase_holding.run(key.first.value, key.second.job.value, key.second.attempt);
  });
  return each(code, changes.erased_requests, [&](const std::string& id) { return erase_request(id); });
}

}  // namespace trainyard::storage
