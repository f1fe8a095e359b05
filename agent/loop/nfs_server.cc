#include "agent/loop/nfs_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/loop/ganesha.h"
#include "agent/loop/node_files.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr const char* kPrefix = "file-server-";
constexpr DurationMs kStartPatienceMs = 60'000, kGraceMs = 2'000, kRemoveDeadlineMs = 600'000;
constexpr std::uint32_t kPortsTried = 1'000;

std::uint64_t number_of(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string gigabytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} GB", static_cast<double>(bytes) / (1ULL << 30U));
}

// Room for `wanted` bytes: free now, and not promised to the others on the same file system. Computed once; a quota
// that holds everybody to it there is none.
Status check_room(const std::string& directory, std::uint64_t wanted) {
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0) return system_error("cannot look at " + directory, errno);
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  const std::uint64_t size = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
  std::uint64_t promised = 0;
  for (const std::string& name : entries(directory)) {
    if (const auto record = read_server_record(directory + "/" + name)) promised += record->capacity_bytes;
  }
  if (wanted <= free && promised + wanted <= size) return {};
  return Error{
      Code::resource_exhausted,
      fmt::format("there is no room for {}: the disk of {} has {}, {} of them free, and {} are promised to the "
                  "other file servers there; ask for less (diskSizeInGB x diskCount)",
                  gigabytes(wanted), directory, gigabytes(size), gigabytes(free), gigabytes(promised))};
}

bool is_free(const std::string& address, std::uint32_t port) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_in);
  auto* four = reinterpret_cast<sockaddr_in*>(&storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<std::uint16_t>(port));
  } else if (::inet_pton(AF_INET6, address.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<std::uint16_t>(port));
    size = sizeof(sockaddr_in6);
  } else {
    return false;
  }
  const UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;  // what connections of an earlier server left behind (TIME_WAIT) is no reason
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) == 0;
}

// The first port that no other file server here has, and nobody uses.
Result<std::uint32_t> choose_port(const ExecutorContext& context) {
  std::set<std::uint32_t> taken;
  for (const std::string& name : entries(context.file_server_directory)) {
    if (const auto record = read_server_record(context.file_server_directory + "/" + name)) taken.insert(record->port);
  }
  const std::uint32_t first = context.file_server_port, last = std::min(first + kPortsTried, 65'535U);
  for (std::uint32_t port = first; port <= last; ++port) {
    if (!taken.contains(port) && is_free(context.address, port)) return port;
  }
  return Error{Code::resource_exhausted, fmt::format("no port from {} to {} of {} is free: set another "
                                                     "file_server_port in the agent's configuration",
                                                     first, last, context.address)};
}

Place place_of_server(const ExecutorContext& context, std::uint64_t id, const std::string& files) {
  const std::string name = kPrefix + std::to_string(id), spool = context.spool_dir + "/file-servers/" + name;
  return {
      .name = name, .spool = spool, .job = files, .run = spool + "/run", .cgroup = context.cgroup_base + "/" + name};
}

}  // namespace

Result<ServerRecord> read_server_record(const std::string& directory) {
  auto text = read_whole_file(directory + "/server.json");
  if (!text) return text.error();
  const json value = json::parse(*text, nullptr, false);
  if (!value.is_object()) return Error{Code::data_loss, directory + "/server.json cannot be read"};
  return ServerRecord{value.value("name", std::string()), value.value("capacityBytes", std::uint64_t{0}),
                      value.value("port", std::uint32_t{0})};
}

std::vector<std::uint64_t> file_servers_running(const ExecutorContext& context) {
  std::set<std::uint64_t> ids;
  const std::string spools = context.spool_dir + "/file-servers";
  for (const std::string& parent : {context.cgroup_base, spools}) {
    for (const std::string& name : entries(parent)) {
      if (!name.starts_with(kPrefix) || (parent == spools && !path_exists(parent + "/" + name + "/run"))) continue;
      if (const std::uint64_t id = number_of(name.substr(std::string_view(kPrefix).size())); id != 0) ids.insert(id);
    }
  }
  return {ids.begin(), ids.end()};
}

NfsServer::NfsServer(ExecutorContext& context, std::uint64_t id, Events events)
    : x_context(context),
      x_id(id),
      x_events(std::move(events)),
      x_directory(context.file_server_directory + "/" + std::to_string(id)),
      x_data(x_directory + "/data"),
      x_spool(place_of_server(context, id, "").spool),
      x_run(x_spool + "/run") {}

// ---- Its directory ----

Status NfsServer::prepare(const FileServerOrder& order) {
  const std::string& base = x_context.file_server_directory;
  if (base.empty()) {
    return Error{Code::failed_precondition,
                 "this machine is no storage node (any more): set file_server_directory in the agent's configuration"};
  }
  if (x_context.ganesha_program.empty()) {
    return Error{Code::failed_precondition,
                 "there is no NFS server: install nfs-ganesha and nfs-ganesha-vfs, then restart the agent"};
  }
  if (!path_exists(base)) {
    return Error{Code::failed_precondition, base + " (file_server_directory) is not there: is its disk mounted?"};
  }
  if (!path_exists(x_directory + "/server.json")) return make(order);
  auto record = read_server_record(x_directory);
  if (!record) return record.error();
  if (record->name != order.name) {
    return Error{Code::failed_precondition,
                 fmt::format("{} has the files of another file server, {}: they are left alone; "
                             "move the directory away when nobody needs them",
                             x_directory, record->name)};
  }
  x_record = *record;
  return {};
}

Status NfsServer::make(const FileServerOrder& order) {
  const std::string made = x_spool + "/made";
  if (path_exists(made)) {
    return Error{Code::failed_precondition,
                 x_directory + ", which has its files, is not there any more: is its disk mounted?"};
  }
  if (auto room = check_room(x_context.file_server_directory, order.capacity_bytes); !room) return room;
  auto port = choose_port(x_context);
  if (!port) return port.error();
  x_record = {order.name, order.capacity_bytes, *port};
  if (auto created = make_local_directories({x_directory, x_data}); !created) return created;
  ::chmod(x_directory.c_str(), 0700);  // who is on this machine reaches the files as everybody else does: by NFS
  ::chmod(x_data.c_str(), 0777);
  const json record{{"name", order.name}, {"capacityBytes", order.capacity_bytes}, {"port", *port}};
  if (auto written = write_file_durably(x_directory + "/server.json", record.dump() + "\n", 0600); !written) {
    return written;
  }
  touch(made);
  return {};
}

Status NfsServer::check_removable(const FileServerOrder& order) const {
  const std::string& base = x_context.file_server_directory;
  if (base.empty() || !path_exists(base)) {
    return Error{Code::failed_precondition, base.empty()
                                                ? "this machine is no storage node any more: to remove the files, set "
                                                  "file_server_directory in the agent's configuration again"
                                                : base + " (file_server_directory) is not there: is its disk mounted?"};
  }
  const std::string removing = x_spool + "/removing";
  if (!path_exists(x_directory) && path_exists(x_spool + "/made") && !path_exists(removing)) {
    return Error{Code::failed_precondition,
                 x_directory + ", which has its files, is not there any more: is its disk mounted?"};
  }
  const auto record = read_server_record(x_directory);
  if (record && record->name != order.name) {
    return Error{
        Code::failed_precondition,
        fmt::format("{} has the files of another file server, {}: they are left alone", x_directory, record->name)};
  }
  if (path_exists(x_spool)) touch(removing);
  return {};
}

// ---- Its process ----

void NfsServer::serve(const FileServerOrder& order) {
  if (x_up) return boost::asio::post(x_context.io, [self = shared_from_this()] { self->tell_up(); });
  if (x_busy || x_ending) return;
  x_busy = true;
  const std::string parent = x_spool.substr(0, x_spool.rfind('/'));
  if (auto created = make_local_directories({parent, x_spool}); !created) return down(created.error().message);
  if (auto prepared = prepare(order); !prepared) return down(prepared.error().message);
  touch(x_spool + "/made");  // also of one that this spool did not know
  if (observe_shim(x_run).state == ShimState::running) return watch();
  clean_then([self = shared_from_this()] { self->start(); }, false);
}

// Ends what is there of the server; then `next`.
void NfsServer::clean_then(std::function<void()> next, bool remove) {
  x_cleaning = true;
  const std::string files = remove ? x_directory : x_spool + "/none";
  std::make_shared<Cleaner>(
      x_context, place_of_server(x_context, x_id, files), std::vector<Volume>{}, nullptr, Cleaner::SharedTemp{},
      [id = x_id](const std::string& line) { spdlog::warn("file server {}: {}", id, line); },
      [self = shared_from_this(), next = std::move(next)](CleanupReceipt) {
        self->x_cleaning = false;
        next();
      })
      ->start(kGraceMs);
}

void NfsServer::start() {
  if (x_ending) return end_now();  // it came while the last server was cleaned away
  if (auto started = start_process(); !started) return down(started.error().message);
  spdlog::info("file server {}: nfs-ganesha starts on {} port {}", x_record.name, x_context.address, x_record.port);
  watch();
}

Status NfsServer::start_process() {
  const Place place = place_of_server(x_context, x_id, x_directory);
  const std::string recovery = x_spool + "/recovery", config = x_run + "/ganesha.conf";
  if (auto created = make_local_directories({recovery, x_run}); !created) return created;
  if (auto created = Cgroup(place.cgroup + "/shim").create(); !created) return created;
  if (auto created = Cgroup(place.job_cgroup()).create(); !created) return created;
  const std::string text =
      ganesha_config({x_data, x_context.address, x_record.port, x_context.facts.network_cidr, recovery});
  if (auto written = write_file_atomically(config, text, 0600); !written) return written;
  ShimSpec spec;
  spec.argv = {x_context.ganesha_program, "-F", "-f", config, "-L", "STDOUT", "-p", x_run + "/pid", "-N", "NIV_WARN"};
  spec.environment = {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"LANG", "C.UTF-8"}};
  spec.working_directory = x_spool;
  spec.cgroup = place.job_cgroup();
  spec.stdout_path = spec.stderr_path = x_run + "/log";
  spec.log_limit_bytes = x_context.log_limit_bytes;
  if (auto written = write_shim_spec(x_run, spec); !written) return written;
  const auto started = start_shim(x_context.shim_program, x_run);
  return started ? Status() : Status(started.error());
}

void NfsServer::watch() {
  x_watch = std::make_unique<ShimWatch>(x_context.io, x_run,
                                        [self = shared_from_this()](ShimObservation seen) { self->ended(seen); });
  x_ping = std::make_shared<NfsPing>(
      x_context.io, x_context.address, x_record.port, kStartPatienceMs, [self = shared_from_this()](bool answered) {
        if (answered) {
          self->x_up = true;
          return self->tell_up();
        }
        Cgroup(place_of_server(self->x_context, self->x_id, "").job_cgroup()).kill();
        self->down(fmt::format("nfs-ganesha does not answer on {} port {} after {} s; its last lines: {}",
                               self->x_context.address, self->x_record.port, kStartPatienceMs / 1000,
                               tail_of(self->x_run + "/log")));
      });
  x_ping->start();
}

void NfsServer::tell_up() {
  if (x_up && !x_ending) x_events.up({x_id, x_context.address, x_data, x_record.port});
}

void NfsServer::ended(const ShimObservation& seen) {
  if (x_ending) return;
  std::string what = "its supervisor died";
  if (seen.state == ShimState::exited) {
    what = seen.exit.signal != 0 ? fmt::format("nfs-ganesha was ended by signal {}", seen.exit.signal)
                                 : fmt::format("nfs-ganesha exited with code {}", seen.exit.exit_code);
    if (!seen.exit.error.empty()) what = seen.exit.error;
  }
  const std::string tail = tail_of(x_run + "/log");
  down(what + (tail.empty() ? "" : "; its last lines: " + tail));
}

void NfsServer::down(const std::string& error) {
  spdlog::warn("file server {}: {}", x_id, error);
  x_busy = x_up = false;
  x_watch = nullptr;
  if (const auto ping = std::exchange(x_ping, nullptr)) ping->cancel();
  boost::asio::post(x_context.io, [self = shared_from_this(), error] {
    if (!self->x_ending) self->x_events.down({self->x_id, error});
  });
}

// ---- Its end ----

void NfsServer::end(bool remove, std::function<void()> done) {
  x_remove = x_remove || remove;
  const bool under_way = x_ending != nullptr;
  x_ending = std::move(done);
  if (under_way) return;
  x_watch = nullptr;
  if (const auto ping = std::exchange(x_ping, nullptr)) ping->cancel();
  if (!x_cleaning) end_now();
}

void NfsServer::end_now() {
  const bool remove = x_remove;
  clean_then(
      [self = shared_from_this(), remove] {
        // That it was made is remembered for as long as its files are there.
        const std::string left = remove ? self->x_spool : self->x_spool + "/recovery";
        run_helper(self->x_context.io, helper_command(self->x_context, {"remove", left}), {}, kRemoveDeadlineMs,
                   [self](HelperResult result) {
                     if (result.exit_code != 0) spdlog::warn("file server {}: {}", self->x_id, result.error);
                     self->x_ending();
                   });
      },
      remove);
}

}  // namespace trainyard::agent
