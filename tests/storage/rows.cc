#include "tests/storage/rows.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <tuple>

namespace trainyard::storage::test {

namespace {

JobSpec full_spec(std::uint64_t n) {
  JobSpec spec;
  spec.node_count = 4;
  spec.min_node_count = 2;
  spec.gpus_per_node = 2;
  spec.toolkit = Toolkit::py_torch;
  spec.command_line = "echo 'quote \" and \xc3\xa4'";
  spec.python_script_file_path = "$AZ_BATCHAI_JOB_MOUNT_ROOT/s/train.py";
  spec.python_interpreter_path = "/usr/bin/python3";
  spec.command_line_args = "--dir x";
  spec.config_file_path = "a.cntk";
  spec.process_count = 8;
  spec.processes_per_node = 2;
  spec.communication_backend = CommunicationBackend::nccl;
  spec.worker_count = 4;
  spec.parameter_server_count = 0;
  spec.master_command_line_args = "--master";
  spec.worker_command_line_args = "--worker";
  spec.parameter_server_command_line_args = "--ps";
  spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_MOUNT_ROOT/logs";
  spec.preparation_command_line = "pip install x";
  spec.image = "tensorflow/tensorflow:1.8.0-gpu";
  spec.container = {"https://registry", "me", "8g"};
  spec.blob_file_systems = {{"account", "data", "data", "-o ro"}};
  spec.file_shares = {{"account", "https://a/s", "s", "logs", "0700", "0750"}};
  spec.input_directories = {{"SCRIPT", "/in"}};
  spec.output_directories = {{"MODEL", "/out", "models"}};
  spec.environment = {{"A", fmt::format("{}", n)}};
  spec.secrets = {{"TOKEN", "v1:sealed"}};
  spec.credentials = {{"mount:data", "v1:sealed too"}};
  spec.file_server_mounts = {{"g/w/nfs", "nfs", "set", "ro"}};
  spec.unmanaged_mounts = {{"mount -t glusterfs h:/v", "g"}};
  spec.max_wall_clock_ms = 1234;
  spec.min_wall_clock_ms = 1000;
  spec.topology = {"leaf", true, 2, {"rack=r1"}};
  spec.priority = Priority{50};
  spec.recovery = {OnNodeLoss::fail, 3, RerunAfter::gang_broken, kForever, 5, 6, 7};
  return spec;
}

}  // namespace

core::Job full_job(std::uint64_t n) {
  core::Job job;
  job.id = {n};
  job.experiment = {3};
  job.cluster = {4};
  job.cluster_path = "g/w/nc6cluster";
  job.name = fmt::format("job_{}", n);
  job.rerun_of = "job_1";
  job.spec = std::make_shared<const JobSpec>(full_spec(n));
  job.mapping = {std::string(""), "python3", "registry.local/a:1"};
  job.volumes = {{Volume::Kind::local, "/srv/a/s", "logs"},
                 {Volume::Kind::s3, "bucket/x", "data", "http://s3", "key id", "ro", "/etc/key", "g/w/nfs"}};
  job.run_as = {20'001, 20'002, {44}};
  job.image_digest = "sha256:1";
  job.owner = "alice";
  job.new_priority = Priority::low;
  job.hold = core::Hold{"new data", "bob", 1'700'000'000'010};
  job.dependencies = {{"e/prepare", {7}, core::After::not_ok, true},
                      {"f/check", {8}, core::After::any, false},
                      {"e/sweep", {}, core::After::ok, false, {9}}};
  job.limit_ms = 1200;
  job.array = {13};
  job.task = 41;
  job.schedule = {15};
  job.due_ms = 1'700'000'000'040;
  job.first_port = 20'256;
  job.segment = "g/w/e/jobs/job/uuid";
  job.warnings = {"cluster can have 4 nodes, job needs 5"};
  job.state = core::JobState::stopping;
  job.verdict = core::Verdict::requeue;
  job.cause = {"NodeLost", "n3 is gone", true};
  job.attempt = 2;
  job.requeues = 1;
  job.created_ms = 1'700'000'000'000;
  job.state_changed_ms = 1'700'000'000'001;
  job.started_ms = 1'700'000'000'002;
  job.ended_ms = 1'700'000'000'003;
  job.exit_code = -1;
  job.head_exited_ms = 1'700'000'000'004;
  job.errors = {{"JobFailed", "bytes that are no UTF-8 come later", {{"exitCode", "137"}}, true}};
  job.receipts = {{"n1", 1, 2, 3, 4, {{"mounts", 2, 1}}}};
  job.last_nodes = {"n1", "n2"};
  job.deleting = true;
  return job;
}

namespace {

core::JobTemplate full_template() {
  const core::Job job = full_job(1);
  return {job.cluster_path, *job.spec, job.mapping, job.volumes, "unique", job.run_as, job.owner, job.warnings};
}

core::ArrayBody swept(core::Sweep sweep, std::uint32_t tasks) {
  return {full_template(), tasks, std::move(sweep)};
}

}  // namespace

core::JobArray full_array(std::uint64_t n) {
  core::JobArray array;
  array.id = {n};
  array.experiment = {3};
  array.cluster = {4};
  array.name = fmt::format("sweep_{}", n);
  array.body = std::make_shared<const core::ArrayBody>(
      swept({.drawn = {{"lr", 0.0001, 0.1, true, false}, {"bs", 1, 1e15, false, true}}, .seed = ~0ULL}, 100'000));
  array.parallel = 8;
  array.next = 42;
  array.succeeded = 30, array.failed = 4, array.removed = 2;
  array.state = core::ArrayState::terminated;
  array.cause = {"Terminated", "terminated by bob", true};
  array.hold = core::Hold{"new data", "bob", 1'700'000'000'010};
  array.dependencies = {{"e/prepare", {7}, core::After::ok, true}, {"e/sweep", {}, core::After::any, true, {9}}};
  array.created_ms = 1'700'000'000'000, array.state_changed_ms = 1'700'000'000'001;
  array.parallel_changed_ms = 1'700'000'000'002;
  array.deleting = true;
  return array;
}

core::JobSchedule full_schedule(std::uint64_t n) {
  core::JobSchedule schedule;
  schedule.id = {n};
  schedule.experiment = {3};
  schedule.name = fmt::format("nightly_{}", n);
  schedule.body = std::make_shared<const core::JobTemplate>(full_template());
  schedule.cron = core::parse_cron("*/20 3 * * MON-FRI", "-02:30").value();
  schedule.overlap = core::Overlap::allow;
  schedule.keep = 7;
  schedule.suspended = core::Hold{"new data", "bob", 1'700'000'000'010};
  schedule.next_ms = 1'700'000'000'011;
  schedule.made = 4, schedule.skipped = 3, schedule.refused = 2, schedule.missed = 1;
  schedule.error = "cluster nc6cluster is not in workspace work";
  schedule.recent = {{1'700'000'000'001, core::DueOutcome::made, "nightly-1", ""},
                     {1'700'000'000'002, core::DueOutcome::skipped, "", "job nightly-1 has not ended"},
                     {1'700'000'000'003, core::DueOutcome::refused, "", schedule.error}};
  schedule.created_ms = 1'700'000'000'000, schedule.changed_ms = 1'700'000'000'004;
  return schedule;
}

namespace {

core::Cluster full_cluster() {
  return {{4},
          {2},
          "nc6cluster",
          {"Standard_NC6",
           core::VmPriority::low_priority,
           4,
           core::DeallocationOption::wait_for_job_completion,
           "admin",
           "ssh-rsa AAAA",
           core::AutoScale{1, 4, 2, 5'000},
           {{"echo $X", {{"X", "1"}}, "$AZ_BATCHAI_MOUNT_ROOT/afs", 60'000, {{"TOKEN", "v1:sealed"}}},
            {{"account", "https://account.file.core.windows.net/logs", "logs", "afs", "0700", "0755"}},
            {{"account", "logs", "bfs", "--use-https"}},
            {{"mount:bfs", "v1:sealed"}},
            {{"g/w/nfs", "nfs", "", "rw"}},
            {{"mount -t glusterfs h:/v", "g"}}}},
          true,
          14,
          15,
          true,
          3,
          "trainyard/Group/workspaces/work/clusters/nc6cluster/uuid",
          {{Volume::Kind::local, "/srv/a/logs", "afs"}, {Volume::Kind::local, "/srv/a/logs", "bfs"}}};
}

core::Node full_node() {
  core::Node node;
  node.id = {5};
  node.name = "n1";
  node.inventory = {"STANDARD_NC6",
                    "gpu",
                    "10.77.0.1",
                    "10.77.0.0/16",
                    6,
                    1ULL << 40,
                    {{"GPU-1", "K80", 12, true, "XID 79", "0:3B:0.0", 1, "GPU-0", 2, "0-3,64"}},
                    "0.1",
                    "key=",
                    "nfs-ganesha 4.3",
                    "eth0",
                    {{Fabric::Kind::roce, "mlx5_0", 2}},
                    "podman 4.3.1",
                    {{"clock", "warning", "set it"}},
                    "rack=r1/leaf=l2"};
  node.epoch = "boot-1";
  node.former_epochs = {"boot-0", "boot--1"};
  node.revision = 77;
  node.cluster = ClusterId{4};
  node.state = core::NodeState::unusable;
  node.reason = "no disk";
  node.state_changed_ms = 16;
  node.awaited_revision = 76;
  node.setup_run = 79;
  node.setup_failures = 2;
  node.setup_retry_ms = 80;
  node.setup_error = {"SetupTaskFailed", "exited with code 3", {{"exitCode", "3"}}, false};
  node.drain = core::Drain{"new disks", "carol", 81, true};
  node.health = core::NodeHealth{82, false, "slow", {{"bandwidth", "3"}}};
  return node;
}

std::vector<core::FileServer> full_file_servers() {
  return {{{9},
           {2},
           "nfs",
           {"Standard_DS2", 10, 2, "Premium_LRS", "readonly", "demo", "ssh-rsa AAAA"},
           "10.0.0.5",
           "/srv/nfs",
           20},
          {{10},
           {2},
           "made",
           {"Standard_DS2", 10, 2, "Standard_LRS", "none", "", ""},
           "10.0.0.6",
           "/srv/10/data",
           21,
           "storage1",
           core::Provisioning::deleting,
           22,
           2050,
           "its disk is not mounted"}};
}

core::Holding full_holding() {
  core::Holding holding;
  holding.id = {{6}, 2};
  holding.node = {5};
  holding.job_name = "job_6";
  holding.node_epoch = "boot-1";
  holding.member = 3;
  holding.gpu_uuids = {"GPU-1", "GPU-2"};
  holding.payer = {{2}, "alice"};
  holding.shared = true;
  holding.lease_ms = 3600;
  holding.since_ms = 17;
  holding.reported = HoldingState::exited;
  holding.stop_ordered = true;
  holding.confirm_revision = 78;
  holding.job_path = "Group/work/exp/job_6";
  holding.cluster_path = "Group/work/nc6cluster";
  holding.running_ms = 90;
  holding.stopped_ms = 91;
  holding.work = core::Work::requeued;
  return holding;
}

}  // namespace

core::Changes full_changes(std::uint64_t n) {
  core::Changes c;
  c.meta = {"generation", 100 + n, 200 + n, 1'700'000'000'000};
  c.groups = {{{1}, "Group", "eastus", {{"key", "value"}, {"", "empty"}}, 11, true}};
  c.workspaces = {{{2}, {1}, "work", "westus", {{"a", "b"}}, 12, true}};
  c.experiments = {{{3}, {2}, "exp", 13, true}};
  c.clusters = {full_cluster()};
  c.nodes = {full_node()};
  c.jobs = {full_job(6)};
  c.holdings = {full_holding()};
  c.reservations = {{{11},
                     "disks",
                     {{5}, {6}},
                     1'700'000'000'030,
                     1'700'000'000'040,
                     WorkspaceId{2},
                     "new disks",
                     "bob",
                     1'700'000'000'025},
                    {{12}, "power", {{5}}, 1, 2, std::nullopt, "", "bob", 0}};
  c.arrays = {full_array(13), full_array(14)};
  c.arrays[1].body =
      std::make_shared<const core::ArrayBody>(swept({.grid = {{"lr", {"0.1", "ä"}}, {"bs", {"32"}}}}, 2));
  c.schedules = {full_schedule(15), full_schedule(16)};
  c.schedules[1].cron = core::parse_cron("@daily", "").value();
  c.spent = {{{{2}, "alice"}, 1'234'567'890'123, 1'700'000'000'020}};
  c.accounts = {{{7}, {1}, "account", "eastus", "Standard_LRS", "/srv/a", 18}};
  c.shares = {{{8}, {7}, "logs", 19, true}};
  c.file_servers = full_file_servers();
  c.requests = {{"6f1c", "finger", 20, 5, "no such thing", "job:6"}};
  c.timeline = {{n, 21, "user", "job:6 g/w/e/job_6", "queued -> preparing", "4 nodes were idle"}};
  c.usage = {{{{6}, 1},
              {5},
              "Group/work/exp/job_6",
              "alice",
              "Group/work/nc6cluster",
              "n1",
              2,
              {"GPU-1", "GPU-2"},
              30,
              31,
              32,
              33,
              core::Work::lost}};
  return c;
}

core::Changes submitted(std::uint64_t n) {
  core::Changes c;
  c.meta = {"generation", n + 1, n + 1, static_cast<TimeMs>(n)};
  core::Job job = full_job(n);
  job.state = core::JobState::queued;
  job.attempt = 0;
  job.limit_ms = 0, job.array = {}, job.task = 0, job.schedule = {}, job.due_ms = 0;
  c.jobs = {job};
  c.requests = {{fmt::format("request-{}", n), "finger", static_cast<TimeMs>(n), 0, "", fmt::format("job:{}", n)}};
  c.timeline = {{n, static_cast<TimeMs>(n), "user", fmt::format("job:{} g/w/e/{}", n, job.name), "submitted", ""}};
  return c;
}

bool same(const core::Job& a, const core::Job& b) {
  // A binding for each field: a new one does not compile until it is compared, filled above and stored.
  auto parts = [](const core::Job& job) {
    const auto& [id, experiment, cluster, cluster_path, name, rerun_of, spec, mapping, volumes, segment, warnings,
                 state, verdict, cause, attempt, requeues, created, changed, started, ended, exit_code, head_exited,
                 errors, receipts, last_nodes, run_as, first_port, image_digest, owner, new_priority, hold,
                 dependencies, limit, array, task, schedule, due, deleting] = job;
    return std::tuple(id, experiment, cluster, cluster_path, name, rerun_of, *spec, mapping, volumes, segment, warnings,
                      state, verdict, cause, attempt, requeues, created, changed, started, ended, exit_code,
                      head_exited, errors, receipts, last_nodes, run_as, first_port, image_digest, owner, new_priority,
                      hold, dependencies, limit, array, task, schedule, due, deleting);
  };
  return parts(a) == parts(b);
}

bool same(const core::JobArray& a, const core::JobArray& b) {
  auto parts = [](const core::JobArray& array) {
    const auto& [id, experiment, cluster, name, body, parallel, next, succeeded, failed, removed, state, cause, hold,
                 dependencies, created, changed, parallel_changed, deleting] = array;
    return std::tuple(id, experiment, cluster, name, *body, parallel, next, succeeded, failed, removed, state, cause,
                      hold, dependencies, created, changed, parallel_changed, deleting);
  };
  return parts(a) == parts(b);
}

bool same(const core::JobSchedule& a, const core::JobSchedule& b) {
  auto parts = [](const core::JobSchedule& schedule) {
    const auto& [id, experiment, name, body, cron, overlap, keep, suspended, next, made, skipped, refused, missed,
                 error, recent, created, changed] = schedule;
    return std::tuple(id, experiment, name, *body, cron, overlap, keep, suspended, next, made, skipped, refused, missed,
                      error, recent, created, changed);
  };
  return parts(a) == parts(b);
}

void require_holds(const core::Tables& tables, const core::Changes& rows) {
  REQUIRE(tables.meta == rows.meta);
  REQUIRE(tables.groups == rows.groups);
  REQUIRE(tables.workspaces == rows.workspaces);
  REQUIRE(tables.experiments == rows.experiments);
  REQUIRE(tables.clusters == rows.clusters);
  REQUIRE(tables.nodes == rows.nodes);
  REQUIRE(tables.holdings == rows.holdings);
  REQUIRE(tables.spent == rows.spent);
  REQUIRE(tables.reservations == rows.reservations);
  REQUIRE(tables.accounts == rows.accounts);
  REQUIRE(tables.shares == rows.shares);
  REQUIRE(tables.file_servers == rows.file_servers);
  REQUIRE(tables.requests == rows.requests);
  REQUIRE(tables.arrays.size() == rows.arrays.size());
  for (std::size_t i = 0; i < rows.arrays.size(); ++i) REQUIRE(same(tables.arrays[i], rows.arrays[i]));
  REQUIRE(tables.schedules.size() == rows.schedules.size());
  for (std::size_t i = 0; i < rows.schedules.size(); ++i) REQUIRE(same(tables.schedules[i], rows.schedules[i]));
  REQUIRE(tables.jobs.size() == rows.jobs.size());
  for (std::size_t i = 0; i < rows.jobs.size(); ++i) REQUIRE(same(tables.jobs[i], rows.jobs[i]));
}

TemporaryDirectory::TemporaryDirectory() {
  char path[] = "/tmp/trainyard-storage-XXXXXX";
  if (::mkdtemp(path)) x_path = path;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!x_path.empty()) std::filesystem::remove_all(x_path, ignored);
}

}  // namespace trainyard::storage::test
