#include "agent/exec/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace trainyard::agent {

void UniqueFd::reset(int fd) {
  if (x_fd >= 0) ::close(x_fd);
  x_fd = fd;
}

Error system_error(const std::string& what, int error_number) {
  Code code = Code::internal;
  switch (error_number) {
    case ENOENT:
      code = Code::not_found;
      break;
    case EEXIST:
      code = Code::already_exists;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = Code::permission_denied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::resource_exhausted;
      break;
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
    case EBUSY:
      code = Code::failed_precondition;
      break;
    case ENAMETOOLONG:
    case EINVAL:
      code = Code::invalid_argument;
      break;
    default:
      break;
  }
  return Error{code, what + ": " + std::strerror(error_number)};
}

int open_guarded(const std::string& path, int flags) {
  const auto mark = path.find("//");
  if (mark == std::string::npos) return ::open(path.c_str(), flags | O_CLOEXEC);
  UniqueFd directory(::open(path.substr(0, mark).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::size_t start = mark + 2;
  for (std::size_t end; (end = path.find('/', start)) != std::string::npos; start = end + 1) {
    const std::string part = path.substr(start, end - start);
    if (!directory.valid()) return -1;
    directory.reset(::openat(directory.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!directory.valid()) return -1;
  return ::openat(directory.get(), path.c_str() + start, flags | O_NOFOLLOW | O_CLOEXEC);
}

Result<std::string> read_whole_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return system_error("cannot open " + path, errno);
  std::string text;
  char buffer[8192];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read " + path, errno);
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

bool write_fully(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t put = ::write(fd, data, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    data += put;
    size -= static_cast<std::size_t>(put);
  }
  return true;
}

namespace {

// How the new file takes the old one's name: in its place, or the two change names.
enum class Swap { rename, exchange };

bool give_name(const std::string& temporary, const std::string& path, Swap swap) {
  if (swap == Swap::exchange &&
      ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    return true;
  }
  // No old one yet, or a file system that cannot exchange.
  return ::rename(temporary.c_str(), path.c_str()) == 0;
}

Status replace_file(const std::string& path, const std::string& text, mode_t mode, bool durably,
                    Swap swap = Swap::rename) {
  const std::string temporary = path + ".new";
  {
    UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd.valid()) return system_error("cannot create " + temporary, errno);
    if (!write_fully(fd.get(), text.data(), text.size())) return system_error("cannot write " + temporary, errno);
    if (durably && ::fsync(fd.get()) != 0) return system_error("cannot sync " + temporary, errno);
  }
  if (!give_name(temporary, path, swap)) return system_error("cannot rename to " + path, errno);
  if (!durably) return {};
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  UniqueFd fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return system_error("cannot sync the directory of " + path, errno);
  return {};
}

}  // namespace

Status write_file_atomically(const std::string& path, const std::string& text, mode_t mode) {
  return replace_file(path, text, mode, false);
}

Status write_file_durably(const std::string& path, const std::string& text, mode_t mode) {
  return replace_file(path, text, mode, true);
}

Status rewrite_file_durably(const std::string& path, const std::string& text, mode_t mode) {
  return replace_file(path, text, mode, true, Swap::exchange);
}

namespace {

// Blanks and the like are written as \040.
std::string unescape_mount_path(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

Result<std::vector<MountEntry>> mount_table() {
  const auto text = read_whole_file("/proc/self/mountinfo");
  if (!text) return text.error();
  std::vector<MountEntry> table;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    MountEntry entry;
    std::string id, parent, point, mount_options, word;
    fields >> id >> parent >> entry.device >> entry.root >> point >> mount_options;
    entry.point = unescape_mount_path(point);
    while (fields >> word && word != "-") entry.propagation += (entry.propagation.empty() ? "" : " ") + word;
    fields >> entry.type;
    while (fields >> word) entry.options = word;  // the last one, after a source that may be empty
    table.push_back(std::move(entry));
  }
  return table;
}

bool is_readable(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, 0) > 0;
}

std::uint64_t process_start_time(int pid) {
  const auto stat = read_whole_file("/proc/" + std::to_string(pid) + "/stat");
  if (!stat) return 0;
  // The name in parentheses may hold anything, also blanks and parentheses: count from the last one.
  const std::size_t close = stat->rfind(')');
  if (close == std::string::npos) return 0;
  const char* field = stat->c_str() + close + 1;
  for (int number = 3; number < 22; ++number) {
    field = std::strchr(field + 1, ' ');
    if (field == nullptr) return 0;
  }
  return std::strtoull(field + 1, nullptr, 10);
}

bool catches(int pid, int signal) {
  const auto status = read_whole_file("/proc/" + std::to_string(pid) + "/status");
  const std::string line = "\nSigCgt:\t";
  const std::size_t at = status ? status->find(line) : std::string::npos;
  if (at == std::string::npos) return false;
  return (std::strtoull(status->c_str() + at + line.size(), nullptr, 16) >> (signal - 1) & 1) != 0;
}

std::string process_name(int pid) {
  const auto name = read_whole_file("/proc/" + std::to_string(pid) + "/comm");
  return name ? name->substr(0, name->find('\n')) : std::string();
}

std::int64_t boottime_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace trainyard::agent
