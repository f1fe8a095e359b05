#include "agent/volumes/shared_mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/shim.h"
#include "agent/volumes/fuse_abort.h"
#include "agent/volumes/helper_verbs.h"
#include "agent/volumes/within.h"
#include "common/model_json.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kReadLimitMs = 15'000;  // of one listing
constexpr DurationMs kDrainLimitMs = 20'000;
constexpr DurationMs kEndByItselfMs = 500;
constexpr useconds_t kPollUs = 5'000;

std::vector<MountEntry> mounts_now() {
  auto table = mount_table();
  return table ? std::move(table).value() : std::vector<MountEntry>();
}

// "0:44" of the newest mount at that path; empty: nothing is mounted there.
std::string device_at(const std::string& point) {
  std::string device;
  for (const MountEntry& mount : mounts_now()) {
    if (mount.point == point) device = mount.device;
  }
  return device;
}

// Everything that waits for that FUSE server gets an error. Of other kinds of mounts: nothing happens.
void abort_connection(const std::string& device) {
  const auto connection = connection_of(device);
  if (!connection) return;
  [[maybe_unused]] const Status aborted = abort_fuse(*connection);  // as well as it can be: what waits is killed next
}

Status list_once(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return system_error("cannot list " + path, errno);
  errno = 0;
  const dirent* entry = ::readdir(directory);
  const int error = errno;
  ::closedir(directory);
  if (entry == nullptr && error != 0) return system_error("cannot list " + path, error);
  return {};
}

Status make_parents(const std::string& path) {
  std::error_code error;
  ::umask(022);
  std::filesystem::create_directories(path, error);
  return error ? Status(system_error("cannot create " + path, error.value())) : Status();
}

std::string hash_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a; names only, what is in the directories decides
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(hash >> shift) & 15U];
  return name;
}

// Held for as long as somebody makes or takes away the mounts of one volume.
class Lock {
 public:
  Lock(const std::string& path, DurationMs limit_ms)
      : x_file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    const TimeMs deadline = monotonic_ms() + limit_ms;
    while (!(x_held = ::flock(x_file.get(), LOCK_EX | LOCK_NB) == 0) && monotonic_ms() < deadline) ::usleep(kPollUs);
  }
  bool held() const { return x_held; }

 private:
  UniqueFd x_file;
  bool x_held = false;
};

// Ends what runs for a mount: by itself if it can, then by force. The cgroup is gone afterwards.
void end_processes(const std::string& cgroup, const std::string& device) {
  const Cgroup all(cgroup);
  if (!all.exists()) return;
  const auto empty_within = [&](DurationMs limit_ms) {
    const TimeMs deadline = monotonic_ms() + limit_ms;
    while (all.populated() && monotonic_ms() < deadline) ::usleep(kPollUs);
    return !all.populated();
  };
  if (!empty_within(kEndByItselfMs)) {
    Cgroup(cgroup + "/job").signal_all(SIGTERM);
    if (!empty_within(kEndByItselfMs)) {
      if (!device.empty()) abort_connection(device);
      all.kill();
      empty_within(kReadLimitMs);
    }
  }
  for (int tries = 0; tries < 200 && !all.remove(); ++tries) ::usleep(kPollUs);
}

// The shared mount of one volume with one key.
struct Base {
  std::string name;  // HASH-N
  std::string work, point, secrets, spool, cgroup;
  Base(const MountPlaces& places, const std::string& name_in)
      : name(name_in),
        work(places.work + "/" + name),
        point(work + "/mnt"),
        secrets(places.run + "/" + name),
        spool(places.spool + "/" + name),
        cgroup(places.cgroup + "/" + name) {}

  std::string shim() const { return spool + "/shim"; }
  std::string cache() const { return spool + "/cache"; }
  std::string log() const {
    const auto text = read_whole_file(shim() + "/stderr");
    const auto more = read_whole_file(shim() + "/stdout");
    return last_words((more ? *more : "") + (text ? *text : ""));
  }
  bool used() const {
    const std::string device = device_at(point);
    if (device.empty()) return false;
    for (const MountEntry& mount : mounts_now()) {
      if (mount.device == device && mount.point != point) return true;
    }
    return false;
  }
};

// Files that rclone has not uploaded yet.
std::size_t dirty_files(const std::string& directory) {
  std::size_t count = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (!it->is_regular_file(error)) continue;
    const auto text = read_whole_file(it->path().string());
    if (text && text->find("\"Dirty\": true") != std::string::npos) ++count;
  }
  return count;
}

Status drain(const Base& base) {
  const std::string notes = base.cache() + "/vfsMeta";
  const TimeMs deadline = monotonic_ms() + kDrainLimitMs;
  std::size_t left = 0;
  while ((left = dirty_files(notes)) > 0 && Cgroup(base.cgroup).populated() && monotonic_ms() < deadline)
    ::usleep(kPollUs);
  if (left == 0) return {};
  return Error{Code::unavailable, std::to_string(left) + " files are not uploaded; they are kept in " + base.cache() +
                                      " and go to the server when the volume is mounted here again: " + base.log()};
}

Status take_away(const Base& base) {
  const std::string device = device_at(base.point);
  const Status drained = drain(base);
  // Lazily, and never by force: that may hang.
  while (!device_at(base.point).empty() && ::umount2(base.point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  end_processes(base.cgroup, device);
  std::error_code error;
  std::filesystem::remove_all(base.secrets, error);
  std::filesystem::remove_all(drained ? base.spool : base.shim(), error);
  ::rmdir(base.point.c_str());
  ::rmdir(base.work.c_str());
  return drained;
}

Status run_checks(const Client& client, const Base& base, DurationMs limit_ms) {
  constexpr int kNoSuchDirectory = 3;  // of rclone
  for (const auto& words : client.checks) {
    auto result = run_command(words, client_environment(base.secrets), limit_ms);
    if (result.exit_code == kNoSuchDirectory && !client.make.empty()) {
      result = run_command(client.make, client_environment(base.secrets), limit_ms);
    }
    if (result.exit_code == -1) return Error{Code::deadline_exceeded, client.name + ": " + last_words(result.output)};
    if (result.exit_code != 0) {
      return Error{code_of_words(result.output), client.name + ": " + last_words(result.output)};
    }
  }
  return {};
}

Status start_daemon(const Client& client, const Base& base, DurationMs limit_ms, const std::string& shim_program) {
  for (const char* part : {"/job", "/shim"}) {
    if (const Status created = Cgroup(base.cgroup + part).create(); !created) return created;
  }
  ShimSpec spec;
  spec.argv = client.daemon;
  auto environment = client_environment(base.secrets);
  environment.insert(environment.end(), client.daemon_environment.begin(), client.daemon_environment.end());
  for (const std::string& variable : environment) {
    const auto equals = variable.find('=');
    spec.environment.push_back({variable.substr(0, equals), variable.substr(equals + 1)});
  }
  spec.working_directory = "/";
  spec.cgroup = base.cgroup + "/job";
  spec.log_limit_bytes = 1024 * 1024;
  if (const Status written = write_shim_spec(base.shim(), spec); !written) return written;
  if (const auto started = start_shim(shim_program, base.shim()); !started) return started.error();
  const TimeMs deadline = monotonic_ms() + limit_ms;
  while (device_at(base.point).empty()) {
    const auto seen = observe_shim(base.shim());
    if (seen.state == ShimState::exited || seen.state == ShimState::lost) {
      const std::string words = base.log();
      return Error{code_of_words(words), client.name + " ended: " + (words.empty() ? seen.exit.error : words)};
    }
    if (monotonic_ms() > deadline) {
      return Error{Code::deadline_exceeded, client.name + " did not mount it in time: " + base.log()};
    }
    ::usleep(kPollUs);
  }
  return {};
}

Status start(const MountJob& job, const Base& base, std::string& source) {
  for (const std::string& directory : {base.point, base.spool, base.secrets}) {
    if (const Status made = make_parents(directory); !made) return made;
  }
  ::chmod(base.secrets.c_str(), 0700);
  ::chmod(base.spool.c_str(), 0700);
  std::error_code ignored;
  std::filesystem::remove_all(base.shim(), ignored);
  const auto client = choose_client({job.volume, job.credential, job.settings, base.point, base.secrets, base.cache()});
  if (!client) return client.error();
  source = base.point + (client->below.empty() ? "" : "/" + client->below);
  if (!device_at(base.point).empty()) return {};
  if (const Status checked = run_checks(*client, base, job.limit_ms / 3); !checked) return checked;
  if (!client->daemon.empty()) {
    if (const Status started = start_daemon(*client, base, job.limit_ms / 3, job.places.shim_program); !started)
      return started;
  } else {
    const auto result = run_command(client->mount_command, client_environment(base.secrets), job.limit_ms / 3);
    if (result.exit_code == -1) return Error{Code::deadline_exceeded, client->name + ": " + last_words(result.output)};
    if (result.exit_code != 0)
      return Error{code_of_words(result.output), client->name + ": " + last_words(result.output)};
  }
  ::mount(nullptr, base.point.c_str(), nullptr, MS_PRIVATE, nullptr);
  return {};
}

// The directory of the share itself may have to be made first.
Status read_source(const Base& base, const std::string& source, const MountSettings& settings, DurationMs limit_ms) {
  const Status read = within(limit_ms, [&]() -> Status {
    if (source != base.point && !list_once(source)) {
      std::error_code error;
      ::umask(0);
      std::filesystem::create_directories(source, error);
      ::chmod(source.c_str(), static_cast<mode_t>(std::strtoul(settings.directory_mode.c_str(), nullptr, 8)));
    }
    return list_once(source);
  });
  if (read) return {};
  const std::string words = base.log();
  const std::string message = read.error().message + (words.empty() ? "" : ": " + words);
  if (read.error().code == Code::deadline_exceeded) return Error{Code::deadline_exceeded, message};
  return Error{code_of_words(message), message};
}

// The name of the volume's mount with this key: the first of its names that is free or is for exactly this.
Result<std::string> claim(const MountJob& job, const std::string& hash, const std::string& identity) {
  for (int n = 0; n < 1000; ++n) {
    const std::string name = hash + "-" + std::to_string(n), file = job.places.run + "/" + name + "/identity";
    const auto known = read_whole_file(file);
    if (known && *known == identity) return name;
    if (known) continue;
    if (const Status made = make_parents(job.places.run + "/" + name); !made) return made.error();
    ::chmod((job.places.run + "/" + name).c_str(), 0700);
    const UniqueFd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!out.valid() || !write_fully(out.get(), identity.data(), identity.size())) {
      return system_error("cannot write " + file, errno);
    }
    return name;
  }
  return Error{Code::resource_exhausted, "too many mounts of the same volume with different keys"};
}

std::string command_name(const std::string& target) {
  return "command-" + hash_of(target);
}

Error exited_with(const ShimObservation& seen, const Base& base) {
  return {Code::failed_precondition,
          "the mount command exited with code " + std::to_string(seen.exit.exit_code) + ": " + base.log()};
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

Status bind_directory(const std::string& source, const std::string& target) {
  if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return system_error("cannot mount " + source + " at " + target, errno);
  }
  // What happens to it elsewhere, or here, stays there.
  ::mount(nullptr, target.c_str(), nullptr, MS_PRIVATE, nullptr);
  struct statvfs about {};
  unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV;
  if (::statvfs(target.c_str(), &about) == 0) {
    if ((about.f_flag & ST_RDONLY) != 0) flags |= MS_RDONLY;
    if ((about.f_flag & ST_NOEXEC) != 0) flags |= MS_NOEXEC;
    if ((about.f_flag & ST_NOATIME) != 0) flags |= MS_NOATIME;
    if ((about.f_flag & ST_RELATIME) != 0) flags |= MS_RELATIME;
  }
  if (::mount(nullptr, target.c_str(), nullptr, flags, nullptr) != 0) {
    return system_error("cannot mount " + target + " without devices and set-uid programs", errno);
  }
  return {};
}

Status mount_shared(const MountJob& given) {
  MountJob job = given;
  const std::string target = helper::resolved(job.target);
  if (!device_at(target).empty()) return check_mount(target, kReadLimitMs);
  if (job.credential.empty() && !job.volume.credentials_file.empty()) {
    auto credential = read_credentials_file(job.volume.credentials_file);
    if (!credential) return credential.error();
    job.credential = std::move(credential).value();
  }
  job.volume.relative_mount_path.clear();
  const std::string shown = nlohmann::json(job.volume).dump() + job.settings.file_mode + job.settings.directory_mode;
  const std::string hash = hash_of(shown);
  if (const Status made = make_parents(job.places.run); !made) return made;
  const Lock lock(job.places.run + "/" + hash + ".lock", job.limit_ms / 2);
  if (!lock.held()) return Error{Code::deadline_exceeded, "another job's mount of the same volume takes too long"};
  const auto name = claim(job, hash, shown + "\n" + job.credential);
  if (!name) return name.error();
  const Base base(job.places, *name);
  // A server that came back has nothing to do with the client that gave up on it.
  if (!device_at(base.point).empty() && !check_mount(base.point, kReadLimitMs) && !base.used()) [[maybe_unused]]
    const Status gone = take_away(base);
  std::string source;
  Status mounted = start(job, base, source);
  if (mounted) mounted = read_source(base, source, job.settings, std::min(kReadLimitMs, job.limit_ms / 3));
  if (mounted) mounted = make_parents(target);
  if (mounted) mounted = within(kReadLimitMs, [&] { return bind_directory(source, target); });
  if (!mounted && !base.used()) [[maybe_unused]]
    const Status gone = take_away(base);
  return mounted;
}

Status mount_by_command(const MountJob& job) {
  const std::string target = helper::resolved(job.target);
  if (!device_at(target).empty()) return check_mount(target, kReadLimitMs);
  const Base base(job.places, command_name(target));
  for (const std::string& directory : {target, base.spool}) {
    if (const Status made = make_parents(directory); !made) return made;
  }
  end_processes(base.cgroup, {});
  std::error_code ignored;
  std::filesystem::remove_all(base.shim(), ignored);
  for (const char* part : {"/job", "/shim"}) {
    if (const Status created = Cgroup(base.cgroup + part).create(); !created) return created;
  }
  ShimSpec spec;
  spec.argv = {"/bin/bash", "-c", job.volume.source + " " + shell_quoted(target)};
  spec.environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"HOME", "/root"}, {"LANG", "C.UTF-8"}};
  spec.working_directory = "/";
  spec.cgroup = base.cgroup + "/job";
  spec.log_limit_bytes = 1024 * 1024;
  if (const Status written = write_shim_spec(base.shim(), spec); !written) return written;
  if (const auto started = start_shim(job.places.shim_program, base.shim()); !started) return started.error();
  const TimeMs deadline = monotonic_ms() + job.limit_ms * 2 / 3;
  auto seen = observe_shim(base.shim());
  while (seen.state == ShimState::running && device_at(target).empty() && monotonic_ms() < deadline) {
    ::usleep(kPollUs);
    seen = observe_shim(base.shim());
  }
  Status mounted;
  if (seen.state == ShimState::running && device_at(target).empty()) {
    mounted = Error{Code::failed_precondition, "the mount command did not end within " +
                                                   std::to_string(job.limit_ms * 2 / 3'000) + " s: " + base.log()};
  } else if (seen.state != ShimState::running && seen.exit.exit_code != 0) {
    mounted = exited_with(seen, base);
  } else if (device_at(target).empty()) {
    mounted = Error{Code::failed_precondition,
                    "the mount command exited with code 0, but nothing is mounted at " + target + ": " + base.log()};
  }
  if (mounted) mounted = check_mount(target, kReadLimitMs);
  // Some (sshfs) mount first, and then see that there is no server: their words say more than what a read does.
  const TimeMs patience = monotonic_ms() + kEndByItselfMs;
  while (!mounted && seen.state == ShimState::running && monotonic_ms() < patience) {
    ::usleep(kPollUs);
    seen = observe_shim(base.shim());
    if (seen.state != ShimState::running && seen.exit.exit_code != 0) mounted = exited_with(seen, base);
  }
  if (mounted) {
    ::mount(nullptr, target.c_str(), nullptr, MS_PRIVATE, nullptr);
    const Status safer = within(kReadLimitMs, [&]() -> Status {
      struct statvfs about {};
      const bool read_only = ::statvfs(target.c_str(), &about) == 0 && (about.f_flag & ST_RDONLY) != 0;
      const unsigned long flags =
          MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
      if (::mount(nullptr, target.c_str(), nullptr, flags, nullptr) != 0)
        return system_error("cannot remount " + target, errno);
      return {};
    });
    mounted = safer;
  }
  if (!mounted) [[maybe_unused]]
    const Status gone = unmount_volume(job.places, target);
  return mounted;
}

Status unmount_volume(const MountPlaces& places, const std::string& word) {
  const std::string target = helper::resolved(word);
  const std::string device = device_at(target);
  helper::Arguments arguments;
  arguments.words = {target};
  const Status done = helper::unmount(arguments);
  const Base command(places, command_name(target));
  end_processes(command.cgroup, device);
  std::error_code ignored;
  std::filesystem::remove_all(command.spool, ignored);
  const Status swept = sweep_shared(places);
  return done ? swept : done;
}

Status sweep_shared(const MountPlaces& places) {
  Status all;
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(places.work, error)) {
    const std::string name = entry.path().filename();
    if (name.rfind('-') == 16) names.push_back(name);
  }
  for (const std::string& name : names) {
    const Base base(places, name);
    if (base.used()) continue;
    // Somebody who holds it is about to use it, or takes it away.
    const Lock lock(places.run + "/" + name.substr(0, name.rfind('-')) + ".lock", 0);
    if (!lock.held() || base.used()) continue;
    if (const Status gone = take_away(base); !gone) all = gone;
  }
  return all;
}

Status check_mount(const std::string& target, DurationMs limit_ms) {
  const std::string device = device_at(target);
  if (device.empty()) return Error{Code::unavailable, "nothing is mounted at " + target + " any more"};
  const Status read = within(limit_ms, [&] { return list_once(target); });
  if (!read && read.error().code == Code::deadline_exceeded) abort_connection(device);
  return read;
}

}  // namespace trainyard::agent
