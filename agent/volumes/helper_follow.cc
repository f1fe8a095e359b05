// Verbs that follow a growing file: reading it (job file stream) and copying a job's output from the spool to its
// share.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"

namespace trainyard::agent::helper {
namespace {

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr int kLookAgainMs = 200;  // where inotify is silent: network file systems, no instance left
char piece[kPieceBytes];

// Waits for changes of files and for the word to finish, on stdin or by SIGTERM.
class Waiter {
 public:
  Waiter() : x_notify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    x_signals = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  bool watch(const std::string& path, std::uint32_t events) {
    return x_notify.valid() && ::inotify_add_watch(x_notify.get(), path.c_str(), events) >= 0;
  }

  // Until something may have changed.
  void wait() {
    pollfd waiting[3] = {
        {x_input_ended ? -1 : 0, POLLIN, 0}, {x_notify.get(), POLLIN, 0}, {x_signals.get(), POLLIN, 0}};
    if (::poll(waiting, 3, kLookAgainMs) <= 0) return;
    char buffer[4096];
    if (waiting[0].revents != 0) take_input();
    if (waiting[1].revents != 0) {
      while (::read(x_notify.get(), buffer, sizeof buffer) > 0) {
      }
    }
    if (waiting[2].revents != 0 && ::read(x_signals.get(), buffer, sizeof buffer) > 0) x_finish = true;
  }

  bool finish() const { return x_finish; }                       // stop at the end
  bool abandoned() const { return x_input_ended && !x_finish; }  // who asked is gone

 private:
  void take_input() {
    char buffer[256];
    const ssize_t got = ::read(0, buffer, sizeof buffer);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      x_input_ended = true;
      return;
    }
    x_input.append(buffer, static_cast<std::size_t>(got));
    if (x_input.find("finish\n") != std::string::npos) x_finish = true;
    if (x_input.size() > 4096) x_input.erase(0, x_input.size() - 64);
  }

  UniqueFd x_notify, x_signals;
  std::string x_input;
  bool x_finish = false, x_input_ended = false;
};

std::string own_path_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

bool same_file(int a, int b) {
  struct stat first {
  }, second{};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// All that is there now from `offset` on, to stdout; the offset moves along.
Status print_to_end(int fd, std::uint64_t& offset, const std::string& path) {
  for (;;) {
    const ssize_t got = ::pread(fd, piece, sizeof piece, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read " + path, errno);
    if (got == 0) return {};
    if (!write_fully(1, piece, static_cast<std::size_t>(got))) return system_error("nobody takes the output", errno);
    offset += static_cast<std::uint64_t>(got);
  }
}

Result<UniqueFd> open_regular(const Beneath& root, const std::string& path) {
  // O_NONBLOCK: a pipe somebody put there must not hold us.
  auto fd = root.open_path(path, O_RDONLY | O_NONBLOCK);
  struct stat about {};
  if (!fd) return fd.error();
  if (::fstat(fd->get(), &about) != 0 || !S_ISREG(about.st_mode)) {
    return Error{Code::failed_precondition, path + " is not a file"};
  }
  return fd;
}

// Directories on the way to `path`, the root first, the one that holds it last: "." "a" "a/b" of a/b/file.
Result<std::vector<std::string>> way_to(const std::string& path) {
  auto parts = Beneath::parts_of(path);
  if (!parts) return parts.error();
  std::vector<std::string> way{"."};
  for (std::size_t i = 0; i + 1 < parts->size(); ++i) way.push_back(way.back() + "/" + (*parts)[i]);
  return way;
}

// Watches the deepest directory of the way that there is: what makes the next one is told. The directory that holds the
// file, when that is the one.
UniqueFd watch_way(const Beneath& root, const std::vector<std::string>& way, Waiter& waiter) {
  std::size_t watched = way.size();
  for (;;) {
    UniqueFd deepest;
    std::size_t depth = way.size();
    while (!deepest.valid() && depth > 0) {
      if (auto fd = root.open_path(way[--depth], O_RDONLY | O_DIRECTORY)) deepest = std::move(fd).value();
    }
    // A second look, as the next one may have come before the watch.
    if (!deepest.valid() || depth == watched) return depth + 1 == way.size() ? std::move(deepest) : UniqueFd();
    waiter.watch(own_path_of(deepest.get()), IN_CREATE | IN_MOVED_TO);
    watched = depth;
  }
}

Status follow(const Beneath& root, const std::string& path, std::uint64_t offset) {
  const auto way = way_to(path);
  if (!way) return way.error();
  Waiter waiter;
  UniqueFd file, directory;
  for (;;) {
    const bool last = waiter.finish();
    if (waiter.abandoned()) return {};
    if (!directory.valid()) directory = watch_way(root, *way, waiter);
    if (file.valid()) {
      if (auto printed = print_to_end(file.get(), offset, path); !printed) return printed;
    }
    auto present = open_regular(root, path);
    if (!present && present.error().code != Code::not_found) return present.error();
    if (present && (!file.valid() || !same_file(file.get(), present->get()))) {
      if (file.valid()) {
        // What the old one got between the reading and the change of names; then the new one, from its start.
        if (auto printed = print_to_end(file.get(), offset, path); !printed) return printed;
        offset = 0;
        directory.reset();
      }
      file = std::move(present).value();
      waiter.watch(own_path_of(file.get()), IN_MODIFY);
      if (auto printed = print_to_end(file.get(), offset, path); !printed) return printed;
    }
    if (last) return file.valid() ? Status() : Status(Error{Code::not_found, "there is no file " + path});
    waiter.wait();
  }
}

// ---- Shipping ----

struct Shipment {
  std::string from, to;
  UniqueFd source, destination;
  std::uint64_t offset = 0;
  bool made_when_needed = false;  // no file as long as there is nothing to bring
  std::uint64_t most = 0;         // bytes to bring at most; 0: all
};

bool has_bytes(const std::string& path) {
  const UniqueFd file(open_guarded(path, O_PATH | O_NOFOLLOW));
  struct stat about {};
  return file.valid() && ::fstat(file.get(), &about) == 0 && about.st_size > 0;
}

// Opens what can be opened by now.
Status open_ends(Shipment& shipment, const Beneath& root) {
  if (shipment.made_when_needed && !shipment.destination.valid() && !has_bytes(shipment.from)) return {};
  if (!shipment.destination.valid()) {
    const std::size_t slash = shipment.to.rfind('/');
    if (slash != std::string::npos) {
      if (auto made = root.make_directories(shipment.to.substr(0, slash), 0755); !made) return made.error();
    }
    auto fd = root.open_path(shipment.to, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
    if (!fd) return fd.error();
    struct stat about {};
    if (::fstat(fd->get(), &about) != 0) return system_error("cannot look at " + shipment.to, errno);
    shipment.offset = static_cast<std::uint64_t>(about.st_size);
    shipment.destination = std::move(fd).value();
  }
  if (!shipment.source.valid()) {
    shipment.source = UniqueFd(open_guarded(shipment.from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (!shipment.source.valid() && errno != ENOENT) return system_error("cannot open " + shipment.from, errno);
    struct stat about {};
    if (shipment.source.valid() && (::fstat(shipment.source.get(), &about) != 0 || !S_ISREG(about.st_mode))) {
      shipment.source.reset();  // not ours to read: a pipe, a device
    }
  }
  return {};
}

// Copies what is there. Always to the place it has in the source: a second copier, or one that starts again, writes the
// same bytes at the same place.
Status copy_to_end(Shipment& shipment) {
  if (!shipment.source.valid() || !shipment.destination.valid()) return {};
  for (;;) {
    std::size_t wanted = sizeof piece;
    if (shipment.most != 0)
      wanted = std::min<std::uint64_t>(wanted, shipment.most - std::min(shipment.most, shipment.offset));
    if (wanted == 0) return {};
    const ssize_t got = ::pread(shipment.source.get(), piece, wanted, static_cast<off_t>(shipment.offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read " + shipment.from, errno);
    if (got == 0) return {};
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = ::pwrite(shipment.destination.get(), piece + done, static_cast<std::size_t>(got - done),
                                   static_cast<off_t>(shipment.offset));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return system_error("cannot write " + shipment.to, put < 0 ? errno : ENOSPC);
      done += put;
      shipment.offset += static_cast<std::uint64_t>(put);
    }
  }
}

Status ship_all(std::vector<Shipment>& shipments, const Beneath& root) {
  Status outcome;
  for (auto& shipment : shipments) {
    Status one = open_ends(shipment, root);
    if (one) one = copy_to_end(shipment);
    if (!one) outcome = one;  // the others go on
  }
  return outcome;
}

}  // namespace

Status read(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const std::string& path = arguments.words[1];
  if (arguments.follow) return follow(*root, path, arguments.offset);
  const auto file = open_regular(*root, path);
  if (!file) return file.error();
  std::uint64_t offset = arguments.offset;
  return print_to_end(file->get(), offset, path);
}

Status ship_log(const Arguments& arguments) {
  if (arguments.words.size() % 2 == 0) return Error{Code::invalid_argument, "ship-log needs pairs: SPOOLFILE PATH"};
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  std::vector<Shipment> shipments;
  for (std::size_t i = 1; i < arguments.words.size(); i += 2) {
    Shipment shipment;
    shipment.from = arguments.words[i];
    if (shipment.from.starts_with('?')) {
      shipment.made_when_needed = true;
      const std::size_t path = shipment.from.find('/');
      shipment.most = std::strtoull(shipment.from.c_str() + 1, nullptr, 10);
      shipment.from.erase(0, path);
    }
    shipment.to = arguments.words[i + 1];
    shipments.push_back(std::move(shipment));
  }
  Waiter waiter;
  std::set<std::string> unwatched;
  for (const auto& shipment : shipments) unwatched.insert(shipment.from.substr(0, shipment.from.rfind('/') + 1));
  std::int64_t retry_at_ms = 0;
  for (;;) {
    const bool last = waiter.finish() || waiter.abandoned();
    for (auto directory = unwatched.begin(); directory != unwatched.end();) {
      const bool watched = waiter.watch(*directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
      directory = watched ? unwatched.erase(directory) : std::next(directory);
    }
    if (last || boottime_ms() >= retry_at_ms) {
      Status outcome = ship_all(shipments, *root);
      if (!outcome) retry_at_ms = boottime_ms() + 1000;
      for (auto& shipment : shipments) {
        if (last && shipment.destination.valid() && ::fsync(shipment.destination.get()) != 0 && outcome) {
          outcome = system_error("cannot sync " + shipment.to, errno);
        }
      }
      if (last) return outcome;
    }
    waiter.wait();
  }
}

}  // namespace trainyard::agent::helper
