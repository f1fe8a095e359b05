#include "storage/schema.h"

#include <fmt/format.h>
#include <unistd.h>

namespace trainyard::storage {

namespace {

// Key columns are for people and programs that query a copy; `body` holds JSON where a row is richer. What a user
// submitted never changes, so it has a table of its own and an update of a job writes little. Request ids are random:
// an index on them would touch a page for each, more than half the cost of a submit; the writer keeps one in memory.
constexpr Migration kMigrations[] = {R"sql(
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), store_generation TEXT NOT NULL, next_id INTEGER NOT NULL,
  next_timeline INTEGER NOT NULL, last_now_ms INTEGER NOT NULL) STRICT;
CREATE TABLE groups (id INTEGER PRIMARY KEY, name TEXT NOT NULL, location TEXT NOT NULL, created_ms INTEGER NOT NULL,
  deleting INTEGER NOT NULL, tags TEXT NOT NULL) STRICT;
CREATE TABLE workspaces (id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, name TEXT NOT NULL, location TEXT NOT NULL,
  created_ms INTEGER NOT NULL, deleting INTEGER NOT NULL, tags TEXT NOT NULL) STRICT;
CREATE TABLE experiments (id INTEGER PRIMARY KEY, workspace INTEGER NOT NULL, name TEXT NOT NULL,
  created_ms INTEGER NOT NULL, deleting INTEGER NOT NULL) STRICT;
CREATE TABLE clusters (id INTEGER PRIMARY KEY, workspace INTEGER NOT NULL, name TEXT NOT NULL, vm_size TEXT NOT NULL,
  vm_priority TEXT NOT NULL, target_node_count INTEGER NOT NULL, node_deallocation_option TEXT NOT NULL,
  admin_user_name TEXT NOT NULL, admin_user_ssh_public_key TEXT NOT NULL, resizing INTEGER NOT NULL,
  created_ms INTEGER NOT NULL, allocation_changed_ms INTEGER NOT NULL, deleting INTEGER NOT NULL) STRICT;
CREATE TABLE nodes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cluster INTEGER, state TEXT NOT NULL,
  reason TEXT NOT NULL, state_changed_ms INTEGER NOT NULL, epoch TEXT NOT NULL,
  former_epochs TEXT NOT NULL, revision INTEGER NOT NULL,
  awaited_revision INTEGER NOT NULL, inventory TEXT NOT NULL) STRICT;
CREATE TABLE jobs (id INTEGER PRIMARY KEY, experiment INTEGER NOT NULL, cluster INTEGER NOT NULL,
  cluster_path TEXT NOT NULL, name TEXT NOT NULL, segment TEXT NOT NULL, state TEXT NOT NULL, verdict TEXT NOT NULL,
  attempt INTEGER NOT NULL, requeues INTEGER NOT NULL, created_ms INTEGER NOT NULL, state_changed_ms INTEGER NOT NULL,
  started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, exit_code INTEGER, head_exited_ms INTEGER NOT NULL,
  cause_code TEXT NOT NULL, cause_message TEXT NOT NULL, cause_infrastructure INTEGER NOT NULL,
  deleting INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE job_specs (job INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE holdings (node INTEGER NOT NULL, job INTEGER NOT NULL, attempt INTEGER NOT NULL, job_name TEXT NOT NULL,
  node_epoch TEXT NOT NULL, member INTEGER NOT NULL, lease_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL,
  reported TEXT NOT NULL, stop_ordered INTEGER NOT NULL, confirm_revision INTEGER NOT NULL, gpu_uuids TEXT NOT NULL,
  PRIMARY KEY (node, job, attempt)) STRICT, WITHOUT ROWID;
CREATE TABLE accounts (id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, name TEXT NOT NULL, location TEXT NOT NULL,
  sku TEXT NOT NULL, place TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT;
CREATE TABLE shares (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, created_ms INTEGER NOT NULL)
  STRICT;
CREATE TABLE requests (id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, fingerprint TEXT NOT NULL,
  at_ms INTEGER NOT NULL, code INTEGER NOT NULL, message TEXT NOT NULL, subject TEXT NOT NULL) STRICT;
CREATE TABLE timeline (sequence INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, who TEXT NOT NULL,
  subject_key TEXT NOT NULL, subject TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL) STRICT;
CREATE INDEX timeline_of_subject ON timeline (subject_key, sequence);
CREATE TABLE quarantine (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, table_name TEXT NOT NULL,
  row_key TEXT NOT NULL, reason TEXT NOT NULL, row_json TEXT NOT NULL) STRICT;
)sql",
                                     // Auto-scale, node set-up and volumes of clusters; what became of it on nodes.
                                     R"sql(
ALTER TABLE clusters ADD COLUMN body TEXT NOT NULL DEFAULT '{}';
ALTER TABLE nodes ADD COLUMN body TEXT NOT NULL DEFAULT '{}';
)sql",
                                     // Names for the operator's NFS exports.
                                     R"sql(
CREATE TABLE file_servers (id INTEGER PRIMARY KEY, workspace INTEGER NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL,
  export_path TEXT NOT NULL, created_ms INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
)sql",
                                     // Shares whose files are being removed.
                                     R"sql(
ALTER TABLE shares ADD COLUMN deleting INTEGER NOT NULL DEFAULT 0;
)sql",
                                     // Jobs that have parts of nodes.
                                     R"sql(
ALTER TABLE holdings ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
)sql",
                                     // Quotas of workspaces; who had how much of the GPUs.
                                     R"sql(
ALTER TABLE workspaces ADD COLUMN body TEXT NOT NULL DEFAULT '{}';
ALTER TABLE holdings ADD COLUMN workspace INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE TABLE spent (workspace INTEGER NOT NULL, owner TEXT NOT NULL, gpu_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (workspace, owner)) STRICT, WITHOUT ROWID;
)sql",
                                     // Nodes that are kept free for a time.
                                     R"sql(
CREATE TABLE reservations (id INTEGER PRIMARY KEY, name TEXT NOT NULL, from_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL, workspace INTEGER, nodes TEXT NOT NULL, why TEXT NOT NULL, who TEXT NOT NULL,
  created_ms INTEGER NOT NULL) STRICT;
)sql",
                                     // Accounting. What is being stopped during the upgrade counts as stopping since
                                     // then, and before as preparing: when it ran was not written down.
                                     R"sql(
ALTER TABLE holdings ADD COLUMN job_path TEXT NOT NULL DEFAULT '';
ALTER TABLE holdings ADD COLUMN cluster_path TEXT NOT NULL DEFAULT '';
ALTER TABLE holdings ADD COLUMN running_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN stopped_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holdings ADD COLUMN work TEXT NOT NULL DEFAULT 'kept';
UPDATE holdings SET workspace = w.id, owner = coalesce(json_extract(j.body, '$.owner'), ''),
  cluster_path = j.cluster_path,
  job_path = g.name || '/' || w.name || '/' || e.name || '/' || j.name
  FROM jobs j, experiments e, workspaces w, groups g
  WHERE j.id = holdings.job AND e.id = j.experiment AND w.id = e.workspace AND g.id = w.group_id;
UPDATE holdings SET job_path = job_name WHERE job_path = '';
UPDATE holdings SET stopped_ms = max(since_ms, coalesce((SELECT state_changed_ms FROM jobs
  WHERE id = holdings.job AND attempt = holdings.attempt AND state = 'stopping'), since_ms)) WHERE stop_ordered = 1;
UPDATE holdings SET running_ms = stopped_ms;
CREATE TABLE usage (to_ms INTEGER NOT NULL, node INTEGER NOT NULL, job INTEGER NOT NULL, attempt INTEGER NOT NULL,
  job_path TEXT NOT NULL, owner TEXT NOT NULL, cluster_path TEXT NOT NULL, node_name TEXT NOT NULL,
  units INTEGER NOT NULL, gpu_uuids TEXT NOT NULL, from_ms INTEGER NOT NULL, running_ms INTEGER NOT NULL,
  stopped_ms INTEGER NOT NULL, work TEXT NOT NULL, PRIMARY KEY (to_ms, node, job, attempt)) STRICT, WITHOUT ROWID;
)sql",
                                     // Job arrays. As of jobs, what was given and never changes is kept apart.
                                     R"sql(
CREATE TABLE job_arrays (id INTEGER PRIMARY KEY, experiment INTEGER NOT NULL, cluster INTEGER NOT NULL,
  name TEXT NOT NULL, parallel INTEGER NOT NULL, next INTEGER NOT NULL, succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL, removed INTEGER NOT NULL, state TEXT NOT NULL, created_ms INTEGER NOT NULL,
  state_changed_ms INTEGER NOT NULL, parallel_changed_ms INTEGER NOT NULL, deleting INTEGER NOT NULL,
  body TEXT NOT NULL) STRICT;
CREATE TABLE job_array_specs (job_array INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
)sql",
                                     // Job schedules. Of what they made, a job's body says which and for when.
                                     R"sql(
CREATE TABLE job_schedules (id INTEGER PRIMARY KEY, experiment INTEGER NOT NULL, name TEXT NOT NULL,
  cron TEXT NOT NULL, utc_offset TEXT NOT NULL, overlap TEXT NOT NULL, keep INTEGER NOT NULL, next_ms INTEGER NOT NULL,
  made INTEGER NOT NULL, skipped INTEGER NOT NULL, refused INTEGER NOT NULL, missed INTEGER NOT NULL,
  created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL, spec TEXT NOT NULL, body TEXT NOT NULL) STRICT;
)sql"};

}  // namespace

std::span<const Migration> migrations() {
  return kMigrations;
}

Result<std::string> migrate(Connection& connection, std::span<const Migration> steps,
                            const std::string& backup_prefix) {
  auto version = connection.integer("PRAGMA user_version");
  if (!version) return version.error();
  const auto newest = static_cast<std::int64_t>(steps.size());
  if (*version > newest) {
    return Error{Code::failed_precondition,
                 fmt::format("the database has schema version {}, this program knows up to {}: it was written by a "
                             "newer Trainyard; start that one, or restore a copy made before the upgrade",
                             *version, newest)};
  }
  std::string backup;
  if (*version > 0 && *version < newest) {
    backup = fmt::format("{}{}.db", backup_prefix, *version);
    ::unlink(backup.c_str());  // of an upgrade that did not finish: the database is still what it was then
    if (Status copied = connection.copy_to(backup); !copied) return copied.error();
  }
  for (std::int64_t next = *version; next < newest; ++next) {
    Status done = connection.execute(fmt::format("BEGIN IMMEDIATE;{};PRAGMA user_version={};COMMIT",
                                                 steps[static_cast<std::size_t>(next)], next + 1));
    if (!done) {
      connection.roll_back();
      return Error{done.error().code,
                   fmt::format("upgrade of the database to schema {} failed: {}", next + 1, done.error().message)};
    }
  }
  return backup;
}

}  // namespace trainyard::storage
