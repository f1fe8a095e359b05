#include "tests/support/simulator/users.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace trainyard::simulator {

namespace {

constexpr const char* kUsers[] = {"user:ada", "user:bob", "user:eve"};
// With a class of the operator's.
constexpr Priority kPriorities[] = {Priority::low, Priority::normal, Priority::high, Priority{50}};

// For jobs that nobody ends when all is to come to rest: it runs wherever so many nodes are.
void shrink(JobSpec& spec, std::uint32_t nodes) {
  spec.node_count = std::min(spec.node_count, std::max(1U, nodes));
  spec.min_node_count = std::min(spec.min_node_count, spec.node_count);
  if (spec.topology.required) spec.topology = {};
}

}  // namespace

Users::Users(World& world, Oracle& oracle, const Rates& rates, ControllerHost& controller,
             std::vector<ClusterPlan> clusters)
    : x_world(world),
      x_oracle(oracle),
      x_rates(rates),
      x_controller(controller),
      x_random(world.random.fork()),
      x_clusters(std::move(clusters)) {}

// ---- Asking ----

void Users::ask(core::CommandBody body, std::function<void()> done) {
  const std::size_t request = x_requests.size();
  x_requests.push_back({fmt::format("r{}", request), std::move(body), false, 0, std::move(done)});
  ++x_unanswered;
  repeat_until_answered(request);
}

void Users::send(std::size_t request) {
  ++x_requests[request].sent;
  x_by_ticket.push_back(request);
  core::Command command{.ticket = x_by_ticket.size(),
                        .request_id = x_requests[request].id,
                        .fingerprint = fmt::format("f{}", request),
                        .principal = kUsers[request % std::size(kUsers)],
                        .body = x_requests[request].body};
  const DurationMs delay_ms = x_random.between(1, 30);
  if (x_random.chance(x_rates.drop)) return x_world.hit("fault request lost");
  if (x_random.chance(x_rates.duplicate)) {
    // The client's library sends it twice: the same request, another ticket.
    x_world.hit("fault request doubled");
    x_by_ticket.push_back(request);
    core::Command again = command;
    again.ticket = x_by_ticket.size();
    x_world.after(delay_ms + x_random.between(0, 2'000), [this, again] { x_controller.post(again); });
  }
  x_world.after(delay_ms, [this, command] { x_controller.post(command); });
}

void Users::repeat_until_answered(std::size_t request) {
  if (x_requests[request].answered) return;
  if (x_requests[request].sent > 0) x_world.hit("request repeated");
  send(request);
  x_world.after(x_random.between(2'000, 6'000), [this, request] { repeat_until_answered(request); });
}

void Users::heard(core::Ticket ticket, const Result<core::Subject>& result, bool state_changed) {
  const std::size_t at = x_by_ticket.at(ticket - 1);
  x_world.note(result.ok() ? "answered" : "refused", at, result.ok() ? result->id : 0);
  x_oracle.replied(x_requests[at].id, x_requests[at].body, result, x_controller.disk(), state_changed);
  if (x_random.chance(x_rates.drop)) return x_world.hit("fault reply lost");
  if (std::exchange(x_requests[at].answered, true)) return;
  --x_unanswered;
  x_world.hit(result.ok() ? "request granted" : "request refused");
  if (x_requests[at].done) x_world.after(1, x_requests[at].done);
}

void Users::confirm_off(const std::string& node, std::function<void()> done) {
  // Whoever gives the machine up gives up the file servers on it, too, mostly.
  for (const auto& [id, row] : x_controller.disk().file_servers) {
    if (row.node != node || row.state == core::Provisioning::deleting || !x_random.chance(800)) continue;
    return ask(core::DeleteFileServer{{"g", "w", row.name}}, [this, node, done] { confirm_off(node, done); });
  }
  ask(core::FenceNode{node, true}, std::move(done));
}

// ---- The run ----

void Users::start() {
  set_up(0);
}

void Users::set_up(std::size_t step) {
  const auto next = [this, step] { set_up(step + 1); };
  if (step == 0) return ask(core::CreateGroup{"g", "here", {}}, next);
  if (step == 1) return ask(core::CreateWorkspace{{"g", "w"}, "", {}}, next);
  if (step == 2) return ask(core::CreateExperiment{{"g", "w", "e"}}, next);
  if (step == 3) return ask(core::CreateAccount{"g", "account", "here", "Standard_LRS", "/srv/account"}, next);
  if (step == 4) return ask(core::CreateShare{"account", "share"}, next);
  if (step < 5 + x_clusters.size()) {
    const ClusterPlan& plan = x_clusters[step - 5];
    return ask(creation_of(plan), next);
  }
  work();
}

void Users::work() {
  if (x_ending) return;
  one_thing();
  // Enough work to keep the clusters busy, whatever their size.
  const auto gap_ms = std::max<std::int64_t>(2, 120'000 / x_world.options.nodes);
  x_world.after(x_random.between(1, 2 * gap_ms), [this] { work(); });
}

void Users::one_thing() {
  const std::uint64_t draw = x_random.below(1000);
  if (x_jobs.empty() || (draw < 600 && !all_submitted())) return submit();
  if (draw < 610) return rerun();
  if (draw < 630) return reorder();
  if (draw < 660) return ask(core::TerminateJob{some_job()});
  if (draw < 720) {
    const core::JobRef job = some_job();
    x_oracle.erasure_wanted(job.experiment + "/" + job.job);
    return ask(core::DeleteJob{job});
  }
  if (draw < 760) return rescale();
  if (draw < 770) {
    return ask(core::RepairNode{fmt::format("n{:04}", x_random.below(x_world.options.nodes))});
  }
  if (draw < 790) return something_again();
  if (draw < 830) return something_impossible();
  if (draw < 845) {  // a cluster and an experiment that come and go, with whatever runs in them
    const std::string name = fmt::format("x{}", x_round / 2);
    const bool create = x_round++ % 2 == 0;
    const ClusterPlan plan{name, x_clusters[0].flavour, std::max(1U, x_clusters[0].nodes / 2), x_round % 4 == 1};
    if (create) {
      ask(core::CreateExperiment{{"g", "w", name}});
      return ask(creation_of(plan));
    }
    x_oracle.erasure_wanted(name + "/");
    ask(core::DeleteCluster{ref_of(plan)});
    return ask(core::DeleteExperiment{{"g", "w", name}});
  }
  if (draw < 880) {  // of few names, so that one is often created while its last one is still going
    const std::string name = fmt::format("f{}", x_random.below(12));
    if (x_random.chance(650)) {
      return ask(core::CreateFileServer{{"g", "w", name}, {"Standard_DS2", 10, 1, "Premium_LRS", "none"}, "", ""});
    }
    return ask(core::DeleteFileServer{{"g", "w", name}});
  }
  if (draw < 890) return share_comes_and_goes();
  if (draw < 895) return ask(core::NoteExec{some_job(), "n0001", "ls"});
  if (draw < 915) return drain_or_undrain();
  if (draw < 920) {
    const auto limit = static_cast<std::uint32_t>(x_random.between(8, 8 + x_world.options.nodes));
    if (x_random.chance(300)) return reserve();
    return ask(core::SetQuota{{"g", "w"}, {x_random.chance(500) ? limit : 0, 0, 2}});
  }
  if (draw < 935) return many_at_once();
  if (draw < 945) return again_and_again();
}

// An array of a few small tasks comes, changes, ends or goes.
void Users::many_at_once() {
  const std::string last = fmt::format("s{}", x_arrays == 0 ? 0 : x_arrays - 1);
  const core::JobRef ref{"g", "w", "e", last};
  const std::uint64_t draw = x_random.below(1000);
  if (x_arrays > 0 && draw < 150) {
    return ask(core::UpdateJobArray{ref, static_cast<std::uint32_t>(x_random.below(4))});
  }
  if (x_arrays > 0 && draw < 250) return ask(core::TerminateJobArray{ref});
  if (x_arrays > 0 && draw < 350) return ask(core::DeleteJobArray{ref});
  const ClusterPlan& plan = x_clusters[x_random.below(x_clusters.size())];
  const std::string name = fmt::format("s{}", x_arrays++);
  core::CreateJobArray create{{{"g", "w", "e", name}, ref_of(plan), draw_spec(plan), {}, "u" + name}};
  shrink(create.job.spec, plan.nodes / 2);
  create.tasks = static_cast<std::uint32_t>(x_random.between(1, 6));
  create.parallel = static_cast<std::uint32_t>(x_random.below(4));
  if (x_random.chance(200) && !x_jobs.empty())
    create.job.dependencies.push_back({"", some_job().job, core::After::any});
  ask(std::move(create));
}

// A schedule of a small job comes, changes or goes. Of few names, so that one often comes again in the minute of the
// last.
void Users::again_and_again() {
  const core::JobRef ref{"g", "w", "e", fmt::format("c{}", x_random.below(3))};
  const std::uint64_t draw = x_random.below(1000);
  if (draw < 200) {
    return ask(core::UpdateJobSchedule{.ref = ref, .suspended = x_random.chance(400), .why = "for a while"});
  }
  if (draw < 350) {
    const auto overlap = x_random.chance(500) ? core::Overlap::allow : core::Overlap::skip;
    return ask(
        core::UpdateJobSchedule{.ref = ref, .overlap = overlap, .keep = static_cast<std::uint32_t>(x_random.below(4))});
  }
  if (draw < 500) return ask(core::DeleteJobSchedule{ref});
  const ClusterPlan& plan = x_clusters[x_random.below(x_clusters.size())];
  core::CreateJobSchedule create{{ref, ref_of(plan), draw_spec(plan), {}, "u" + ref.job}, "* * * * *", "+05:30"};
  shrink(create.job.spec, plan.nodes / 4);
  if (x_random.chance(300)) create.cron = "*/3 * * * *";
  if (x_random.chance(300)) create.overlap = core::Overlap::allow;
  create.keep = static_cast<std::uint32_t>(x_random.below(4));
  ask(std::move(create));
}

// Some nodes are kept free for a while, soon.
void Users::reserve() {
  core::CreateReservation create{.name = fmt::format("v{}", x_random.below(4))};
  for (int i = 0; i < 3; ++i) create.nodes.push_back(fmt::format("n{:04}", x_random.below(x_world.options.nodes)));
  create.from_ms = x_controller.controller_now() + x_random.between(0, 120'000);
  create.until_ms = create.from_ms + x_random.between(1, 60'000);
  if (x_random.chance(500)) return ask(std::move(create));
  ask(core::DeleteReservation{create.name});
}

// Few at a time: the clusters must go on.
void Users::drain_or_undrain() {
  const std::string node = fmt::format("n{:04}", x_random.below(x_world.options.nodes));
  if (x_random.chance(200)) return ask(core::RecordNodeHealth{node, x_random.chance(500), "checked", {}});
  if (x_random.chance(400)) return ask(core::DrainNode{node, "to be looked at", x_random.chance(500)});
  for (const auto& [id, row] : x_controller.disk().nodes) {
    if (row.drain && x_random.chance(700)) ask(core::UndrainNode{row.name});
  }
}

// A share that jobs mount now and then. Its delete goes in two steps; who removes the files may die in between.
void Users::share_comes_and_goes() {
  if (x_random.chance(500)) return ask(core::CreateShare{"account", "passing"});
  ask(core::DeleteShare{"account", "passing"}, [this] {
    for (const auto& [id, share] : x_controller.disk().shares) {
      if (!share.deleting) continue;
      x_world.hit("share marked for deletion");
      if (x_random.chance(700)) ask(core::ForgetShare{id}, [this] { x_world.hit("share forgotten"); });
    }
  });
}

core::CreateCluster Users::creation_of(const ClusterPlan& plan) const {
  core::CreateCluster creation{
      ref_of(plan), {.vm_size = plan.flavour, .target_node_count = plan.nodes}, "u" + plan.name};
  if (plan.low_priority) creation.spec.vm_priority = core::VmPriority::low_priority;
  if (plan.sets_up) {
    creation.spec.node_setup.task.command_line = "install";
    creation.spec.node_setup.file_shares.push_back({"account", "https://account/share", "share", "share"});
  }
  return creation;
}

void Users::rescale() {
  const ClusterPlan& plan = x_clusters[x_random.below(x_clusters.size())];
  if (x_random.chance(300)) {
    const auto least = static_cast<std::uint32_t>(x_random.between(0, plan.nodes / 2));
    const auto most = static_cast<std::uint32_t>(x_random.between(least, plan.nodes));
    return ask(core::AutoScaleCluster{ref_of(plan), least, most, x_random.between(2'000, 60'000)});
  }
  const auto target = static_cast<std::uint32_t>(x_random.between(plan.nodes / 2, plan.nodes));
  const auto option = static_cast<core::DeallocationOption>(x_random.below(3));
  ask(core::ResizeCluster{ref_of(plan), x_random.chance(100) ? 0 : target, option});
}

// How many nodes it gets, which ones, for how long.
void Users::leave_open(JobSpec& spec) {
  if (x_random.chance(150)) spec.min_node_count = static_cast<std::uint32_t>(x_random.between(1, spec.node_count));
  if (x_random.chance(200)) spec.min_wall_clock_ms = x_random.between(20'000, spec.max_wall_clock_ms);
  if (x_random.chance(150)) {
    spec.topology.level = x_random.chance(500) ? "rack" : "leaf";
    spec.topology.required = x_random.chance(300);
    if (spec.topology.required && spec.node_count % 2 == 0) spec.topology.block_size = 2;
  }
}

JobSpec Users::draw_spec(const ClusterPlan& cluster) {
  JobSpec spec;
  const auto largest = static_cast<std::int64_t>(std::clamp(cluster.nodes / 2, 1U, 8U));
  const bool single = x_random.chance(300);
  spec.node_count = single ? 1 : static_cast<std::uint32_t>(x_random.between(1, largest));
  if (x_random.chance(10)) spec.node_count = cluster.nodes + 1;  // waits for a resize that never comes
  // Parts of the large machines, beside each other.
  if (cluster.gpus > 1 && x_random.chance(500)) {
    spec.gpus_per_node = static_cast<std::uint32_t>(x_random.between(1, cluster.gpus - 1));
  }
  spec.toolkit = Toolkit::custom_mpi;
  spec.command_line = "train";
  spec.std_out_err_path_prefix = "$AZ_BATCHAI_MOUNT_ROOT/share";
  if (x_random.chance(300)) spec.file_shares.push_back({"account", "https://account/share", "share", "share"});
  if (x_random.chance(30)) spec.file_shares.push_back({"account", "https://account/passing", "passing", "passing"});
  spec.max_wall_clock_ms = x_random.between(90'000, 240'000);
  spec.priority = kPriorities[x_random.below(std::size(kPriorities))];
  leave_open(spec);
  spec.recovery.on_node_loss = x_random.chance(850) ? OnNodeLoss::requeue : OnNodeLoss::fail;
  spec.recovery.max_requeues = static_cast<std::uint32_t>(x_random.below(4));
  spec.recovery.rerun_after = x_random.chance(750) ? RerunAfter::fenced : RerunAfter::gang_broken;
  const std::uint32_t for_ever = spec.recovery.rerun_after == RerunAfter::fenced ? 60 : 400;
  spec.recovery.lease_ms = x_random.chance(for_ever) ? kForever : x_random.between(20'000, 150'000);
  spec.recovery.gang_abort_after_ms = x_random.chance(500) ? -1 : x_random.between(15'000, 60'000);
  spec.recovery.grace_ms = x_random.between(0, 8'000);
  return spec;
}

void Users::submit() {
  const std::size_t number = x_jobs.size();
  const bool passing = x_round % 2 == 1 && x_random.chance(200);
  const std::string passing_name = fmt::format("x{}", x_round / 2);
  const ClusterPlan& plan = x_clusters[x_random.below(x_clusters.size())];
  core::SubmitJob job{.ref = {"g", "w", passing ? passing_name : "e", fmt::format("j{}", number)},
                      .cluster = {"g", "w", passing ? passing_name : plan.name},
                      .spec = draw_spec(passing ? ClusterPlan{"", "", std::max(1U, x_clusters[0].nodes / 10)} : plan),
                      .mapping = {},
                      .unique = fmt::format("u{}", number)};
  if (!passing && !x_jobs.empty() && x_random.chance(100)) {
    job.dependencies.push_back({"", some_job().job, static_cast<core::After>(x_random.below(3))});
  }
  if (x_random.chance(50)) job.hold = "not yet";
  x_jobs.push_back(job);
  ask(std::move(job));
}

// Somebody holds a job, and later lets it go; its priority may change, too.
void Users::reorder() {
  const core::JobRef job = some_job();
  if (x_random.chance(400)) return ask(core::PrioritizeJob{job, kPriorities[x_random.below(std::size(kPriorities))]});
  if (x_random.chance(500)) return ask(core::HoldJob{job, "later"});
  ask(core::ReleaseJob{job});
}

void Users::rerun() {
  core::SubmitJob again = x_jobs[x_jobs.size() - 1 - x_random.below(std::min<std::size_t>(x_jobs.size(), 40))];
  const core::JobRef first = again.ref;
  again.ref.job = fmt::format("r{}", x_jobs.size());
  ask(core::RerunJob{first, again.ref.job, "u" + again.ref.job});
  x_jobs.push_back(std::move(again));
}

core::JobRef Users::some_job() {
  const std::size_t recent = std::min<std::size_t>(x_jobs.size(), 40);
  return x_jobs[x_jobs.size() - 1 - x_random.below(recent)].ref;
}

void Users::something_impossible() {
  const std::uint64_t which = x_random.below(6);
  core::SubmitJob job = x_jobs[x_random.below(x_jobs.size())];
  if (which == 0) {
    job.spec.command_line = "another";  // the name is taken by another definition, or was deleted: then it is new
    job.ref.job += "-other";
    job.spec.node_count = 0;
    return ask(std::move(job));
  }
  if (which == 1)
    return ask(core::SubmitJob{{"g", "w", "e", "lost"}, {"g", "w", "nowhere"}, draw_spec(x_clusters[0]), {}, "u"});
  if (which == 2)
    return ask(core::CreateCluster{ref_of(x_clusters[0]), {.vm_size = "another", .target_node_count = 1}});
  if (which == 3) return ask(core::TerminateJob{{"g", "w", "e", "never-was"}});
  if (which == 4) return ask(core::ResizeCluster{{"g", "w", "nowhere"}, 3, core::DeallocationOption::requeue});
  ask(core::FenceNode{"never-joined", true});
}

void Users::something_again() {
  // Long after: the first answer must come again and nothing may happen.
  const std::size_t request = x_random.below(x_requests.size());
  if (!x_requests[request].answered) return;
  x_world.hit("request repeated long after");
  send(request);
}

void Users::come_to_an_end() {
  x_ending = true;
  // Not before the last of what they asked is answered: a termination must not overtake its job.
  if (x_unanswered > 0) return x_world.after(500, [this] { come_to_an_end(); });
  x_ended = true;
  for (const auto& [id, row] : x_controller.disk().nodes) {
    if (row.drain) ask(core::UndrainNode{row.name});
  }
  for (const ClusterPlan& plan : x_clusters) {
    ask(core::ResizeCluster{ref_of(plan), plan.nodes, core::DeallocationOption::requeue});
  }
  // A deletion may have overtaken its creation: whatever of the passing clusters is left goes now.
  for (std::uint32_t round = 0; round < x_round; round += 2) {
    const std::string name = fmt::format("x{}", round / 2);
    ask(core::DeleteCluster{{"g", "w", name}});
  }
  for (const auto& [id, schedule] : x_controller.disk().schedules) {
    ask(core::DeleteJobSchedule{{"g", "w", "e", schedule.name}});
  }
  ask(core::SetQuota{{"g", "w"}, {}});
  for (const auto& [id, job] : x_controller.disk().jobs) {
    const auto experiment = x_controller.disk().experiments.find(job.experiment);
    if (job.hold && experiment != x_controller.disk().experiments.end()) {
      ask(core::ReleaseJob{{"g", "w", experiment->second.name, job.name}});
    }
  }
  for (const core::SubmitJob& job : x_jobs) {
    const auto plan = std::find_if(x_clusters.begin(), x_clusters.end(),
                                   [&](const ClusterPlan& cluster) { return cluster.name == job.cluster.cluster; });
    const bool waits_for_ever = plan != x_clusters.end() && core::least_nodes(job.spec) > plan->nodes;
    if (waits_for_ever || job.spec.topology.required) ask(core::TerminateJob{job.ref});
  }
}

}  // namespace trainyard::simulator
