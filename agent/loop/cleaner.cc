#include "agent/loop/cleaner.h"

#include <dirent.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/shim.h"
#include "agent/loop/container_call.h"
#include "agent/loop/remains.h"
#include "agent/volumes/fuse_abort.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kKillPatienceMs = 5'000;     // then something hangs in the kernel
constexpr DurationMs kRemovePatienceMs = 30'000;  // then it is worth a line
constexpr DurationMs kShimPatienceMs = 5'000;
constexpr DurationMs kShipPatienceMs = 60'000;
constexpr DurationMs kUnmountDeadlineMs = 60'000;  // what was written may have to be sent first
constexpr DurationMs kRemoveDeadlineMs = 600'000;
constexpr DurationMs kRetryMs = 1'000;

std::vector<std::string> shim_directories(const std::string& spool) {
  std::vector<std::string> found;
  DIR* directory = ::opendir(spool.c_str());
  if (directory == nullptr) return found;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string path = spool + "/" + entry->d_name;
    if (entry->d_name[0] != '.' && path_exists(path + "/spec.json")) found.push_back(path);
  }
  ::closedir(directory);
  return found;
}

// Of "removed 12" and "files 7"; 0 where the line is missing.
std::uint32_t number_after(const std::string& text, const std::string& word) {
  const auto at = text.find(word + " ");
  if (at == std::string::npos) return 0;
  return static_cast<std::uint32_t>(std::strtoul(text.c_str() + at + word.size(), nullptr, 10));
}

// They forward the signal to their ranks: those that do not catch it would die of it, the others get it twice.
bool is_launcher(int pid) {
  const std::string name = process_name(pid);
  return name == "mpirun" || name == "orterun" || name == "orted";
}

}  // namespace

Cleaner::Cleaner(ExecutorContext& context, Place place, std::vector<Volume> volumes, std::shared_ptr<LogShipper> logs,
                 SharedTemp shared, std::function<void(const std::string&)> say, Done done)
    : x_context(context),
      x_place(std::move(place)),
      x_volumes(std::move(volumes)),
      x_logs(std::move(logs)),
      x_shared(std::move(shared)),
      x_say(std::move(say)),
      x_done(std::move(done)),
      x_timer(context.io) {
  x_receipt.node_name = context.node_name;
}

void Cleaner::of_attempt(const RunAs& user, std::uint32_t first_port, std::function<void(const std::string&)> stuck) {
  x_user = user;
  x_first_port = first_port;
  x_stuck = std::move(stuck);
}

// One after the other: each ends where the next begins.
void Cleaner::end_part(const char* what, std::uint64_t count) {
  const TimeMs now = boottime_ms();
  x_receipt.parts.push_back({what, count, now - x_part_started_ms});
  x_part_started_ms = now;
}

bool Cleaner::has_part(const std::string& what) const {
  return std::any_of(x_receipt.parts.begin(), x_receipt.parts.end(),
                     [&](const CleanupPart& part) { return part.what == what; });
}

void Cleaner::tell_stuck(const std::string& what) {
  if (what == x_told_stuck) return;
  if (!what.empty()) x_say(what);
  x_told_stuck = what;
  if (x_stuck) x_stuck(what);
}

void Cleaner::start(DurationMs grace_ms, DurationMs notice_ms) {
  x_started_ms = x_part_started_ms = boottime_ms();
  x_shared_memory = shared_memory_in(x_place.sandbox());
  if (x_first_port != 0) x_ports = ports_listened_at(x_first_port, kTaskPorts);
  const Cgroup cgroup(x_place.job_cgroup());
  x_receipt.processes_killed = static_cast<std::uint32_t>(cgroup.pids().size());
  if (grace_ms <= 0 || x_receipt.processes_killed == 0) return kill_all();
  x_grace_ms = grace_ms;
  x_in_grace = true;
  notice_ms > 0 ? give_notice(notice_ms) : terminate();
}

// Who does not catch the signal would die of it: it is for those that write a checkpoint then. They may go on for as
// long as the notice lasts.
void Cleaner::give_notice(DurationMs notice_ms) {
  const Cgroup cgroup(x_place.job_cgroup());
  int told = 0;
  for (const int pid : cgroup.pids()) {
    told += catches(pid, SIGUSR1) && !is_launcher(pid) && ::kill(pid, SIGUSR1) == 0 ? 1 : 0;
  }
  if (told == 0) return terminate();
  x_say("gave " + std::to_string(told) + " process(es) notice (SIGUSR1)");
  x_in_notice = true;
  x_notice_ends_ms = boottime_ms() + notice_ms;
  wait_empty(x_context.io, cgroup, notice_ms, when_still_in_grace(&Cleaner::terminate));
}

void Cleaner::terminate() {
  x_in_notice = false;
  const Cgroup cgroup(x_place.job_cgroup());
  cgroup.signal_all(SIGTERM);
  cgroup.signal_all(SIGCONT);  // who is stopped hears nothing else
  x_grace_ends_ms = boottime_ms() + x_grace_ms;
  wait_empty(x_context.io, cgroup, x_grace_ms, when_still_in_grace(&Cleaner::kill_all));
}

void Cleaner::shorten(DurationMs grace_ms, DurationMs notice_ms) {
  const TimeMs now = boottime_ms();
  if (!x_in_grace) return;
  if (grace_ms <= 0) return kill_all();
  x_grace_ms = std::min(x_grace_ms, grace_ms);
  const Cgroup cgroup(x_place.job_cgroup());
  if (x_in_notice) {
    if (now + notice_ms >= x_notice_ends_ms) return;
    if (notice_ms <= 0) return terminate();
    x_notice_ends_ms = now + notice_ms;
    return wait_empty(x_context.io, cgroup, notice_ms, when_still_in_grace(&Cleaner::terminate));
  }
  if (now + grace_ms >= x_grace_ends_ms) return;
  x_grace_ends_ms = now + grace_ms;
  wait_empty(x_context.io, cgroup, grace_ms, when_still_in_grace(&Cleaner::kill_all));
}

std::function<void(bool)> Cleaner::when_still_in_grace(void (Cleaner::*step)()) {
  return [self = shared_from_this(), step, round = ++x_grace_round](bool) {
    if (self->x_in_grace && round == self->x_grace_round) (self.get()->*step)();
  };
}

void Cleaner::kill_all() {
  x_in_grace = false;
  const Cgroup cgroup(x_place.job_cgroup());
  x_receipt.processes_killed = std::max(x_receipt.processes_killed, static_cast<std::uint32_t>(cgroup.pids().size()));
  if (cgroup.exists()) cgroup.kill();
  wait_empty(x_context.io, cgroup, kKillPatienceMs, [self = shared_from_this()](bool empty) {
    if (empty) return self->end_shims();
    self->processes_left();
    self->kill_all();
  });
}

// Who waits for a FUSE server that is silent is freed by ending the connection: the attempt needs it no more. What is
// left after that is the kernel's, and people must know.
void Cleaner::processes_left() {
  const auto aborted = abort_fuse_under(x_place.job);
  for (const std::string& mount : aborted) x_say("processes do not die: aborted the FUSE mount " + mount);
  if (std::exchange(x_aborted, true) || aborted.empty()) tell_stuck(unkillable_in(x_place.cgroup, x_place.job));
}

void Cleaner::end_shims() {
  // With the process that keeps it, the sandbox and everything in it goes.
  if (const Cgroup sandbox(x_place.sandbox_cgroup()); sandbox.exists()) sandbox.kill();
  const auto directories = shim_directories(x_place.spool);
  if (directories.empty()) return make_sure_of_empty();
  const auto left = std::make_shared<std::size_t>(directories.size());
  for (const std::string& directory : directories) {
    end_shim(x_context.io, directory, kShimPatienceMs, [self = shared_from_this(), left](bool) {
      if (--*left == 0) self->make_sure_of_empty();
    });
  }
}

// A shim may have been about to start its process when the rest was killed, or belong to an agent's earlier life: only
// now, with every shim gone, empty means empty.
void Cleaner::make_sure_of_empty() {
  const Cgroup all(x_place.cgroup);
  if (!all.exists() || !all.populated()) return processes_gone();
  const auto found = static_cast<std::uint32_t>(Cgroup(x_place.job_cgroup()).pids().size());
  x_receipt.processes_killed = std::max(x_receipt.processes_killed, found);
  all.kill();
  wait_empty(x_context.io, all, kKillPatienceMs, [self = shared_from_this()](bool empty) {
    if (!empty) self->processes_left();
    self->make_sure_of_empty();
  });
}

void Cleaner::processes_gone() {
  tell_stuck({});
  end_part("processes", x_receipt.processes_killed);
  if (x_context.isolation != Isolation::full) x_shared_memory = remove_shared_memory(x_user.uid);
  end_part("sharedMemory", x_shared_memory);
  if (x_first_port != 0) end_part("ports", x_ports);
  remove_container();
}

// Before the unmounting: an engine may keep the job's mounts in its container. One that does not answer must not keep
// the node: nothing of the job runs any more.
void Cleaner::remove_container() {
  if (!path_exists(x_place.marker("container"))) return ship_logs();
  trainyard::agent::remove_container(x_context, x_place, [self = shared_from_this()](int count) {
    if (count < 0) self->x_say("the job's container is left in the engine's store until the agent starts next");
    self->end_part("containers", static_cast<std::uint64_t>(std::max(count, 0)));
    self->ship_logs();
  });
}

void Cleaner::ship_logs() {
  const auto logs = std::exchange(x_logs, nullptr);
  if (!logs || path_exists(x_place.marker("shipped"))) return remove_shared_temp();
  logs->finish(kShipPatienceMs, [self = shared_from_this()](std::string error) {
    if (!error.empty()) self->x_say("the last log lines could not be brought to the share: " + error);
    touch(self->x_place.marker("shipped"));
    self->remove_shared_temp();
  });
}

// Tried once: a share that does not answer must not keep the node. Its path has the attempt's number, so that nobody
// meets what is left.
void Cleaner::remove_shared_temp() {
  if (x_shared.path.empty()) return unmount();
  run_helper(x_context.io, helper_command(x_context, {"remove-beneath", x_shared.root, x_shared.path}), {},
             kUnmountDeadlineMs, [self = shared_from_this()](HelperResult result) {
               if (result.exit_code != 0) self->x_say("the shared job temp is left on its share: " + result.error);
               self->unmount();
             });
}

void Cleaner::unmount() {
  x_part_started_ms = boottime_ms();  // bringing the last lines is no clean-up
  const auto mounts = mounts_under(x_place.job);
  x_receipt.mounts_removed = std::max(x_receipt.mounts_removed, static_cast<std::uint32_t>(mounts.size()));
  if (mounts.empty()) return unmount_rest();
  unmount_volume(x_volumes.size());
}

void Cleaner::unmount_volume(std::size_t left) {
  if (left == 0) return unmount_rest();
  const Volume& volume = x_volumes[left - 1];
  x_context.mounter->unmount(volume, x_place.job + "/mounts/" + volume.relative_mount_path, kUnmountDeadlineMs,
                             [self = shared_from_this(), left](Status status) {
                               if (!status) self->x_say(status.error().message);
                               self->unmount_volume(left - 1);
                             });
}

// What is not of the job's volumes (a job may mount things itself), and the proof that nothing is left.
void Cleaner::unmount_rest() {
  const auto mounts = mounts_under(x_place.job);
  if (mounts.empty()) {
    tell_stuck({});
    if (!has_part("mounts")) end_part("mounts", x_receipt.mounts_removed);
    return remove_directories();
  }
  std::vector<std::string> words{"unmount"};
  words.insert(words.end(), mounts.begin(), mounts.end());
  run_helper(x_context.io, helper_command(x_context, words), {}, kUnmountDeadlineMs,
             [self = shared_from_this()](HelperResult result) {
               if (mounts_under(self->x_place.job).empty()) return self->unmount_rest();
               self->tell_stuck("mounts are left under " + self->x_place.job + ": " + result.error);
               self->again_in(kRetryMs, &Cleaner::unmount_rest);
             });
}

void Cleaner::remove_directories() {
  if (!path_exists(x_place.job) && !path_exists(x_place.run)) return directories_gone();
  run_helper(x_context.io, helper_command(x_context, {"remove", x_place.job, x_place.run}), {}, kRemoveDeadlineMs,
             [self = shared_from_this()](HelperResult result) {
               self->x_receipt.directories_removed += number_after(result.output, "removed");
               self->x_files += number_after(result.output, "files");
               if (result.exit_code == 0) return self->directories_gone();
               self->x_say("cannot remove " + self->x_place.job + ": " + result.error + "; trying again");
               self->again_in(kRetryMs, &Cleaner::unmount_rest);
             });
}

// One walk removes both.
void Cleaner::directories_gone() {
  const TimeMs started = x_part_started_ms;
  end_part("temporaryFiles", x_files);
  x_part_started_ms = started;
  end_part("directories", x_receipt.directories_removed);
  remove_cgroup();
}

void Cleaner::remove_cgroup() {
  const Cgroup cgroup(x_place.cgroup);
  if (cgroup.exists()) {
    // A process that just died keeps its cgroup busy until its parent has collected it.
    if (const auto removed = cgroup.remove(); !removed) {
      if (boottime_ms() - x_started_ms > kRemovePatienceMs) x_say(removed.error().message);
      return again_in(20, cgroup.populated() ? &Cleaner::make_sure_of_empty : &Cleaner::remove_cgroup);
    }
  }
  if (const auto removed = limits_of(x_context, x_place, {}).remove(); !removed) {
    if (boottime_ms() - x_started_ms > kRemovePatienceMs) x_say(removed.error().message);
    return again_in(20, &Cleaner::remove_cgroup);
  }
  x_receipt.took_ms = boottime_ms() - x_started_ms;
  boost::asio::post(x_context.io, [done = std::move(x_done), receipt = x_receipt] { done(receipt); });
}

void Cleaner::again_in(DurationMs delay_ms, void (Cleaner::*step)()) {
  x_timer.expires_after(std::chrono::milliseconds(delay_ms));
  x_timer.async_wait([self = shared_from_this(), step](const boost::system::error_code& error) {
    if (!error) (self.get()->*step)();
  });
}

}  // namespace trainyard::agent
