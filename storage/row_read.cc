// The reading half of row_sql.h: every row is decoded on its own, so that a bad one costs only itself.
#include <fmt/format.h>

#include <set>

#include "common/model_json.h"
#include "storage/array_json.h"
#include "storage/row_json.h"
#include "storage/row_sql.h"
#include "storage/schedule_json.h"

namespace trainyard::storage {

namespace {

class Reader {
 public:
  Reader(Connection& connection, std::vector<BadRow>& bad) : x_connection(connection), x_bad(bad) {}

  // Runs `row` for each row of the query; a reason returned means: refuse it.
  template <class Row>
  void rows(const std::string& from, const std::string& columns, const std::string& order, Row row) {
    if (x_failed) return;
    auto statement = x_connection.prepare(fmt::format("SELECT {} FROM {} ORDER BY {}", columns, from, order));
    if (!statement) {
      x_failed = statement.error();
      return;
    }
    x_table = from.substr(0, from.find(' '));
    statement->start();
    while (statement->next()) {
      x_key = fmt::format("id={}", statement->integer(0));
      if (std::optional<std::string> reason = row(*statement)) note(*reason, false);
    }
    if (int code = statement->finish(); code != kSqlOk) x_failed = x_connection.error("reading " + x_table, code);
  }

  void key(std::string condition) { x_key = std::move(condition); }
  void note(const std::string& reason, bool keep) { x_bad.push_back({x_table, x_key, reason, keep}); }

  // The value, or a default and a note: for parts that a row can live without.
  template <class T>
  T or_default(Result<T> result, const char* what) {
    if (result) return std::move(*result);
    note(fmt::format("{} cannot be read: {}", what, result.error().message), true);
    return T{};
  }

  const std::optional<Error>& failed() const { return x_failed; }

 private:
  Connection& x_connection;
  std::vector<BadRow>& x_bad;
  std::optional<Error> x_failed;
  std::string x_table, x_key;
};

using Refusal = std::optional<std::string>;  // why a row is refused; nothing: it is good

template <class Enum>
Refusal read_column(const Statement& row, int column, Enum& into, const char* what) {
  const std::string name = row.text(column);
  if (read_name(name, into)) return std::nullopt;
  return fmt::format("{} has the unknown name '{}'", what, name);
}

template <class IdType>
Refusal missing(const std::set<IdType>& there, IdType id, const char* what) {
  if (there.contains(id)) return std::nullopt;
  return fmt::format("its {} {} is not there", what, id.value);
}

struct Known {
  std::set<GroupId> groups;
  std::set<WorkspaceId> workspaces;
  std::set<ExperimentId> experiments;
  std::set<AccountId> accounts;
  std::set<JobArrayId> arrays;
};

void read_containers(Reader& reader, core::Tables& tables, Known& known) {
  reader.rows("groups", "id,name,location,created_ms,deleting,tags", "id", [&](const Statement& row) -> Refusal {
    core::Group group{{row.number(0)}, row.text(1), row.text(2), {}, row.integer(3), row.integer(4) != 0};
    group.tags = reader.or_default(read_tags(row.text(5)), "tags");
    known.groups.insert(group.id);
    tables.groups.push_back(std::move(group));
    return std::nullopt;
  });
  reader.rows("workspaces", "id,group_id,name,location,created_ms,deleting,tags,body", "id",
              [&](const Statement& row) -> Refusal {
                core::Workspace workspace{{row.number(0)}, {row.number(1)},    row.text(2), row.text(3), {},
                                          row.integer(4),  row.integer(5) != 0};
                if (Refusal why = missing(known.groups, workspace.group, "group")) return why;
                workspace.tags = reader.or_default(read_tags(row.text(6)), "tags");
                if (Status read = read_workspace_body(row.text(7), workspace); !read) return read.error().message;
                known.workspaces.insert(workspace.id);
                tables.workspaces.push_back(std::move(workspace));
                return std::nullopt;
              });
  reader.rows("experiments", "id,workspace,name,created_ms,deleting", "id", [&](const Statement& row) -> Refusal {
    core::Experiment experiment{{row.number(0)}, {row.number(1)}, row.text(2), row.integer(3), row.integer(4) != 0};
    if (Refusal why = missing(known.workspaces, experiment.workspace, "workspace")) return why;
    known.experiments.insert(experiment.id);
    tables.experiments.push_back(std::move(experiment));
    return std::nullopt;
  });
  reader.rows("accounts", "id,group_id,name,location,sku,place,created_ms", "id", [&](const Statement& row) -> Refusal {
    tables.accounts.push_back(
        {{row.number(0)}, {row.number(1)}, row.text(2), row.text(3), row.text(4), row.text(5), row.integer(6)});
    known.accounts.insert(tables.accounts.back().id);
    return std::nullopt;
  });
  reader.rows("shares", "id,account,name,created_ms,deleting", "id", [&](const Statement& row) -> Refusal {
    core::Share share{{row.number(0)}, {row.number(1)}, row.text(2), row.integer(3), row.integer(4) != 0};
    if (Refusal why = missing(known.accounts, share.account, "account")) return why;
    tables.shares.push_back(std::move(share));
    return std::nullopt;
  });
}

void read_file_servers(Reader& reader, core::Tables& tables, const Known& known) {
  reader.rows("file_servers", "id,workspace,name,address,export_path,created_ms,body", "id",
              [&](const Statement& row) -> Refusal {
                core::FileServer server{{row.number(0)}, {row.number(1)}, row.text(2),   {},
                                        row.text(3),     row.text(4),     row.integer(5)};
                if (Refusal why = missing(known.workspaces, server.workspace, "workspace")) return why;
                if (Status read = read_file_server_body(row.text(6), server); !read) return read.error().message;
                tables.file_servers.push_back(std::move(server));
                return std::nullopt;
              });
}

void read_clusters(Reader& reader, core::Tables& tables, const Known& known) {
  reader.rows("clusters",
              "id,workspace,name,vm_size,vm_priority,target_node_count,node_deallocation_option,admin_user_name,"
              "admin_user_ssh_public_key,resizing,created_ms,allocation_changed_ms,deleting,body",
              "id", [&](const Statement& row) -> Refusal {
                core::Cluster cluster;
                cluster.id = {row.number(0)};
                cluster.workspace = {row.number(1)};
                cluster.name = row.text(2);
                cluster.spec.vm_size = row.text(3);
                if (Refusal why = read_column(row, 4, cluster.spec.vm_priority, "vm_priority")) return why;
                cluster.spec.target_node_count = static_cast<std::uint32_t>(row.integer(5));
                if (Refusal why = read_column(row, 6, cluster.spec.node_deallocation_option, "deallocation option")) {
                  return why;
                }
                cluster.spec.admin_user_name = row.text(7);
                cluster.spec.admin_user_ssh_public_key = row.text(8);
                cluster.resizing = row.integer(9) != 0;
                cluster.created_ms = row.integer(10);
                cluster.allocation_changed_ms = row.integer(11);
                cluster.deleting = row.integer(12) != 0;
                if (Status status = read_cluster_body(row.text(13), cluster); !status) return status.error().message;
                if (Refusal why = missing(known.workspaces, cluster.workspace, "workspace")) return why;
                tables.clusters.push_back(std::move(cluster));
                return std::nullopt;
              });
}

// A node's row carries its revision and a holding's row keeps a GPU taken: they are kept without what the next report
// of the node tells again.
void read_nodes_and_holdings(Reader& reader, core::Tables& tables) {
  reader.rows("nodes",
              "id,name,cluster,state,reason,state_changed_ms,epoch,revision,awaited_revision,inventory,former_epochs,"
              "body",
              "id", [&](const Statement& row) -> Refusal {
                core::Node node;
                node.id = {row.number(0)};
                node.name = row.text(1);
                if (!row.is_null(2)) node.cluster = ClusterId{row.number(2)};
                if (Refusal why = read_column(row, 3, node.state, "state")) return why;
                node.reason = row.text(4);
                node.state_changed_ms = row.integer(5);
                node.epoch = row.text(6);
                node.revision = row.number(7);
                node.awaited_revision = row.number(8);
                node.former_epochs = reader.or_default(read_strings(row.text(10)), "former_epochs");
                node.inventory = reader.or_default(from_json_text<Inventory>(row.text(9)), "inventory");
                if (Status status = read_node_body(row.text(11), node); !status) {
                  reader.note("body cannot be read: " + status.error().message, true);
                }
                tables.nodes.push_back(std::move(node));
                return std::nullopt;
              });
  reader.rows(
      "holdings",
      "node,job,attempt,job_name,node_epoch,member,lease_ms,since_ms,reported,stop_ordered,confirm_revision,"
      "gpu_uuids,shared,workspace,owner,job_path,cluster_path,running_ms,stopped_ms,work",
      "node,job,attempt", [&](const Statement& row) -> Refusal {
        reader.key(fmt::format("node={} AND job={} AND attempt={}", row.integer(0), row.integer(1), row.integer(2)));
        core::Holding holding;
        holding.node = {row.number(0)};
        holding.id = {{row.number(1)}, static_cast<std::uint32_t>(row.integer(2))};
        holding.job_name = row.text(3);
        holding.node_epoch = row.text(4);
        holding.member = static_cast<std::uint32_t>(row.integer(5));
        holding.lease_ms = row.integer(6);
        holding.since_ms = row.integer(7);
        if (auto state = holding_state_named(row.text(8))) {
          holding.reported = *state;
        } else {
          reader.note("reported has the unknown name '" + row.text(8) + "'", true);
        }
        holding.stop_ordered = row.integer(9) != 0;
        holding.confirm_revision = row.number(10);
        holding.gpu_uuids = reader.or_default(read_strings(row.text(11)), "gpu_uuids");
        holding.shared = row.integer(12) != 0;
        holding.payer = {{row.number(13)}, row.text(14)};
        holding.job_path = row.text(15);
        holding.cluster_path = row.text(16);
        holding.running_ms = row.integer(17);
        holding.stopped_ms = row.integer(18);
        if (!read_name(row.text(19), holding.work)) {
          reader.note("work has the unknown name '" + row.text(19) + "'", true);
        }
        tables.holdings.push_back(std::move(holding));
        return std::nullopt;
      });
}

void read_reservations(Reader& reader, core::Tables& tables) {
  reader.rows("reservations", "id,name,from_ms,until_ms,workspace,nodes,why,who,created_ms", "id",
              [&](const Statement& row) -> Refusal {
                core::Reservation reservation;
                reservation.id = {row.number(0)};
                reservation.name = row.text(1);
                reservation.from_ms = row.integer(2);
                reservation.until_ms = row.integer(3);
                if (!row.is_null(4)) reservation.workspace = WorkspaceId{row.number(4)};
                auto nodes = read_ids<NodeId>(row.text(5));
                if (!nodes) return nodes.error().message;
                reservation.nodes = std::move(*nodes);
                reservation.why = row.text(6);
                reservation.who = row.text(7);
                reservation.created_ms = row.integer(8);
                tables.reservations.push_back(std::move(reservation));
                return std::nullopt;
              });
}

void read_spent(Reader& reader, core::Tables& tables, const Known& known) {
  reader.rows("spent", "workspace,owner,gpu_ms,at_ms", "workspace,owner", [&](const Statement& row) -> Refusal {
    reader.key(fmt::format("workspace={}", row.integer(0)));
    core::Spent spent{{{row.number(0)}, row.text(1)}, row.number(2), row.integer(3)};
    if (Refusal why = missing(known.workspaces, spent.payer.workspace, "workspace")) return why;
    tables.spent.push_back(std::move(spent));
    return std::nullopt;
  });
}

void read_arrays(Reader& reader, core::Tables& tables, Known& known) {
  reader.rows("job_arrays LEFT JOIN job_array_specs ON job_array = id",
              "id,experiment,cluster,name,parallel,next,succeeded,failed,removed,state,created_ms,state_changed_ms,"
              "parallel_changed_ms,deleting,job_arrays.body,job_array_specs.body",
              "id", [&](const Statement& row) -> Refusal {
                core::JobArray array;
                array.id = {row.number(0)};
                array.experiment = {row.number(1)};
                array.cluster = {row.number(2)};
                array.name = row.text(3);
                for (const auto& [column, count] :
                     {std::pair{4, &array.parallel}, std::pair{5, &array.next}, std::pair{6, &array.succeeded},
                      std::pair{7, &array.failed}, std::pair{8, &array.removed}}) {
                  *count = static_cast<std::uint32_t>(row.integer(column));
                }
                if (Refusal why = read_column(row, 9, array.state, "state")) return why;
                array.created_ms = row.integer(10);
                array.state_changed_ms = row.integer(11);
                array.parallel_changed_ms = row.integer(12);
                array.deleting = row.integer(13) != 0;
                if (Refusal why = missing(known.experiments, array.experiment, "experiment")) return why;
                if (Status read = read_array_body(row.text(14), array); !read) return "body: " + read.error().message;
                if (row.is_null(15)) return "its row in job_array_specs is not there";
                if (Status read = read_array_spec(row.text(15), array); !read) {
                  return "job_array_specs: " + read.error().message;
                }
                known.arrays.insert(array.id);
                tables.arrays.push_back(std::move(array));
                return std::nullopt;
              });
}

void read_schedules(Reader& reader, core::Tables& tables, const Known& known) {
  reader.rows("job_schedules",
              "id,experiment,name,cron,utc_offset,overlap,keep,next_ms,made,skipped,refused,missed,created_ms,"
              "changed_ms,spec,body",
              "id", [&](const Statement& row) -> Refusal {
                core::JobSchedule schedule;
                schedule.id = {row.number(0)};
                schedule.experiment = {row.number(1)};
                schedule.name = row.text(2);
                auto cron = read_cron(row.text(3), row.text(4));
                if (!cron) return cron.error().message;
                schedule.cron = std::move(*cron);
                if (Refusal why = read_column(row, 5, schedule.overlap, "overlap")) return why;
                schedule.next_ms = row.integer(7);
                for (const auto& [column, count] :
                     {std::pair{6, &schedule.keep}, std::pair{8, &schedule.made}, std::pair{9, &schedule.skipped},
                      std::pair{10, &schedule.refused}, std::pair{11, &schedule.missed}}) {
                  *count = static_cast<std::uint32_t>(row.integer(column));
                }
                schedule.created_ms = row.integer(12);
                schedule.changed_ms = row.integer(13);
                if (Refusal why = missing(known.experiments, schedule.experiment, "experiment")) return why;
                if (Status read = read_schedule_spec(row.text(14), schedule); !read) {
                  return "spec: " + read.error().message;
                }
                if (Status read = read_schedule_body(row.text(15), schedule); !read) {
                  return "body: " + read.error().message;
                }
                tables.schedules.push_back(std::move(schedule));
                return std::nullopt;
              });
}

Refusal read_job(const Statement& row, const Known& known, core::Job& job) {
  job.id = {row.number(0)};
  job.experiment = {row.number(1)};
  job.cluster = {row.number(2)};
  job.cluster_path = row.text(3);
  job.name = row.text(4);
  job.segment = row.text(5);
  if (Refusal why = read_column(row, 6, job.state, "state")) return why;
  if (Refusal why = read_column(row, 7, job.verdict, "verdict")) return why;
  job.attempt = static_cast<std::uint32_t>(row.integer(8));
  job.requeues = static_cast<std::uint32_t>(row.integer(9));
  job.created_ms = row.integer(10);
  job.state_changed_ms = row.integer(11);
  job.started_ms = row.integer(12);
  job.ended_ms = row.integer(13);
  if (!row.is_null(14)) job.exit_code = static_cast<std::int32_t>(row.integer(14));
  job.head_exited_ms = row.integer(15);
  job.cause = {row.text(16), row.text(17), row.integer(18) != 0};
  job.deleting = row.integer(19) != 0;
  if (Refusal why = missing(known.experiments, job.experiment, "experiment")) return why;
  if (Status status = read_job_body(row.text(20), job); !status) return "body: " + status.error().message;
  if (row.is_null(21)) return "its row in job_specs is not there";
  if (Status status = read_job_spec(row.text(21), job); !status) return "job_specs: " + status.error().message;
  return std::nullopt;
}

void read_jobs(Reader& reader, core::Tables& tables, const Known& known) {
  reader.rows("jobs LEFT JOIN job_specs ON job_specs.job = jobs.id",
              "id,experiment,cluster,cluster_path,name,segment,state,verdict,attempt,requeues,created_ms,"
              "state_changed_ms,started_ms,ended_ms,exit_code,head_exited_ms,cause_code,cause_message,"
              "cause_infrastructure,deleting,jobs.body,job_specs.body",
              "id", [&](const Statement& row) -> Refusal {
                core::Job job;
                if (Refusal why = read_job(row, known, job)) return why;
                if (job.array && !known.arrays.contains(job.array)) {
                  reader.note(fmt::format("its job array {} is not there", job.array.value), true);
                  job.array = {}, job.task = 0;
                }
                tables.jobs.push_back(std::move(job));
                return std::nullopt;
              });
}

}  // namespace

Result<core::Tables> read_tables(Connection& connection, std::vector<BadRow>& bad) {
  core::Tables tables;
  Reader reader(connection, bad);
  reader.rows("meta", "id,store_generation,next_id,next_timeline,last_now_ms", "id",
              [&](const Statement& row) -> Refusal {
                tables.meta = {row.text(1), row.number(2), row.number(3), row.integer(4)};
                return std::nullopt;
              });
  Known known;
  read_containers(reader, tables, known);
  read_file_servers(reader, tables, known);
  read_clusters(reader, tables, known);
  read_reservations(reader, tables);
  read_spent(reader, tables, known);
  read_nodes_and_holdings(reader, tables);
  read_arrays(reader, tables, known);
  read_schedules(reader, tables, known);
  read_jobs(reader, tables, known);
  reader.rows("requests", "id,request_id,fingerprint,at_ms,code,message,subject", "request_id",
              [&](const Statement& row) -> Refusal {
                tables.requests.push_back({row.text(1), row.text(2), row.integer(3), static_cast<int>(row.integer(4)),
                                           row.text(5), row.text(6)});
                return std::nullopt;
              });
  if (reader.failed()) return *reader.failed();
  return tables;
}

namespace {

// The rows a query finds, as JSON: whatever they hold.
Result<nlohmann::json> rows_as_json(Connection& connection, const std::string& sql) {
  auto statement = connection.prepare(sql);
  if (!statement) return statement.error();
  nlohmann::json rows = nlohmann::json::array();
  statement->start();
  while (statement->next()) {
    nlohmann::json row;
    for (int column = 0; column < statement->columns(); ++column)
      row[statement->name(column)] = statement->text(column);
    rows.push_back(std::move(row));
  }
  if (int code = statement->finish(); code != kSqlOk) return connection.error(sql, code);
  return rows;
}

// The row of the table that has what never changes of it; empty: its table has none.
std::string specs_of(const BadRow& row) {
  const std::string key = row.key.substr(2);  // of "id=17"
  if (row.table == "jobs") return "job_specs WHERE job" + key;
  return row.table == "job_arrays" ? "job_array_specs WHERE job_array" + key : "";
}

}  // namespace

Status quarantine(Connection& connection, const std::vector<BadRow>& bad, TimeMs now_ms) {
  auto insert = connection.prepare(
      "INSERT INTO quarantine (at_ms,table_name,row_key,reason,row_json) SELECT ?1,?2,?3,?4,?5 WHERE NOT EXISTS "
      "(SELECT 1 FROM quarantine WHERE table_name=?2 AND row_key=?3 AND reason=?4 AND row_json=?5)");
  if (!insert) return insert.error();
  for (const BadRow& row : bad) {
    auto content = rows_as_json(connection, fmt::format("SELECT * FROM {} WHERE {}", row.table, row.key));
    if (!content) return content.error();
    const std::string specs = specs_of(row);
    if (!specs.empty()) {
      auto spec = rows_as_json(connection, "SELECT * FROM " + specs);
      if (!spec) return spec.error();
      content->push_back(*spec);
    }
    const std::string text = content->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (int code = insert->run(now_ms, row.table, row.key, row.reason, text); code != kSqlOk) {
      return connection.error("quarantine", code);
    }
    if (row.keep) continue;
    if (Status gone = connection.execute(fmt::format("DELETE FROM {} WHERE {}", row.table, row.key)); !gone)
      return gone;
    if (specs.empty()) continue;
    if (Status gone = connection.execute("DELETE FROM " + specs); !gone) return gone;
  }
  return {};
}

}  // namespace trainyard::storage
