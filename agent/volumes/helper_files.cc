// Verbs on files of a share: directories, listing, upload, deletion, keeping the logs of earlier attempts.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"

namespace trainyard::agent::helper {
namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

// Names in a directory, sorted, without "." and "..". Takes the descriptor.
Result<std::vector<std::string>> names_in(UniqueFd fd, const std::string& path) {
  Directory directory(::fdopendir(fd.get()));
  if (!directory) return system_error("cannot list " + path, errno);
  fd.release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return system_error("cannot list " + path, errno);
  std::sort(names.begin(), names.end());
  return names;
}

// Unfinished uploads are nobody's business.
constexpr char kUploadPrefix[] = ".trainyard-upload-";

// Reads the frames of stdin into `fd`. The size, or an error; without the finish frame too.
Result<std::uint64_t> copy_frames(int fd) {
  static char buffer[256 * 1024];
  std::uint64_t total = 0;
  for (;;) {
    unsigned long long frame = 0;
    if (std::scanf("%20llu", &frame) != 1 || std::getchar() != '\n') {
      return Error{Code::invalid_argument, "the upload was broken off; nothing was changed"};
    }
    if (frame == 0) return total;
    for (; frame > 0;) {
      const std::size_t want = std::min<unsigned long long>(frame, sizeof buffer);
      const std::size_t got = std::fread(buffer, 1, want, stdin);
      if (got == 0) return Error{Code::invalid_argument, "the upload was broken off; nothing was changed"};
      if (!write_fully(fd, buffer, got)) return system_error("cannot write the upload", errno);
      frame -= got;
      total += got;
    }
  }
}

}  // namespace

namespace {

Result<bool> make_as_user(const Beneath& root, const Arguments& arguments, const std::string& path, mode_t mode) {
  const gid_t gid = *arguments.gid;
  const uid_t uid = *arguments.uid;
  // Of this thread only, and with the capabilities of root taken off for file systems.
  if (::setgroups(1, &gid) != 0) return system_error("cannot become the job's user", errno);
  ::setfsgid(gid);
  ::setfsuid(uid);
  auto made = root.make_directories(path, mode);
  ::setfsuid(0);
  ::setfsgid(0);
  if (made || made.error().code != Code::permission_denied) return made;
  // The share itself need not be the user's. Elsewhere on the node, who may write is the operator's word.
  if (arguments.words[0] != "/") return root.make_directories(path, mode);
  return Error{Code::permission_denied, made.error().message + " (the job runs as user " + std::to_string(uid) +
                                            ": make a directory on the node where it may write, or use a share)"};
}

}  // namespace

Status make_directories(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const mode_t usual = arguments.words[0] == "/" ? 0755 : 0777;
  const mode_t mode = arguments.mode != 0 ? arguments.mode : usual;
  for (std::size_t i = 1; i < arguments.words.size(); ++i) {
    const std::string& path = arguments.words[i];
    const auto made = arguments.uid.value_or(0) != 0 ? make_as_user(*root, arguments, path, mode)
                                                     : root->make_directories(path, mode);
    if (!made) return made.error();
    std::puts(*made ? "created" : "exists");
  }
  return {};
}

Status list(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  // Nothing was ever put into the share.
  if (!root && arguments.share && arguments.words[1] == "." && root.error().code == Code::not_found) return {};
  if (!root) return root.error();
  auto directory = root->open_path(arguments.words[1], O_RDONLY | O_DIRECTORY);
  if (!directory) return directory.error();
  const UniqueFd base(::fcntl(directory->get(), F_DUPFD_CLOEXEC, 0));
  const auto names = names_in(std::move(directory).value(), arguments.words[1]);
  if (!names) return names.error();
  for (const auto& name : *names) {
    if (name.rfind(kUploadPrefix, 0) == 0) continue;
    struct stat about {};
    // A link is shown as what it is, not as what it leads to: that may lie outside.
    if (::fstatat(base.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    const nlohmann::json line{{"name", name},
                              {"is_directory", S_ISDIR(about.st_mode)},
                              {"size", S_ISDIR(about.st_mode) ? 0 : about.st_size},
                              {"modified_ms", about.st_mtim.tv_sec * 1000LL + about.st_mtim.tv_nsec / 1'000'000}};
    std::puts(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
  return {};
}

Status write(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const auto place = root->parent_of(arguments.words[1]);
  if (!place) return place.error();
  const int directory = place->directory.get();
  struct stat about {};
  if (::fstatat(directory, place->name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(about.st_mode)) {
    return Error{Code::failed_precondition, arguments.words[1] + " is a directory"};
  }
  const std::string temporary =
      kUploadPrefix + std::to_string(::getpid()) + "-" + std::to_string(process_start_time(::getpid()));
  UniqueFd fd(::openat(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error("cannot create a file beside " + arguments.words[1], errno);
  const auto finish = [&]() -> Result<std::uint64_t> {
    auto size = copy_frames(fd.get());
    if (!size) return size.error();
    if (::fchmod(fd.get(), arguments.mode != 0 ? arguments.mode : 0777) != 0 || ::fsync(fd.get()) != 0 ||
        ::renameat(directory, temporary.c_str(), directory, place->name.c_str()) != 0) {
      return system_error("cannot write " + arguments.words[1], errno);
    }
    ::fsync(directory);
    return size;
  };
  const auto size = finish();
  if (!size) {
    ::unlinkat(directory, temporary.c_str(), 0);
    return size.error();
  }
  std::printf("%llu\n", static_cast<unsigned long long>(*size));
  return {};
}

Status delete_entry(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const auto place = root->parent_of(arguments.words[1]);
  if (!place) return place.error();
  if (::unlinkat(place->directory.get(), place->name.c_str(), 0) == 0) return {};
  if (errno == EISDIR || errno == EPERM) {
    if (::unlinkat(place->directory.get(), place->name.c_str(), AT_REMOVEDIR) == 0) return {};
  }
  return system_error("cannot delete " + arguments.words[1], errno);
}

Status rotate_stdouterr(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const std::string& path = arguments.words[1];
  auto directory = root->open_path(path, O_RDONLY | O_DIRECTORY);
  if (!directory) return directory.error().code == Code::not_found ? Status() : Status(directory.error());
  const UniqueFd from(::fcntl(directory->get(), F_DUPFD_CLOEXEC, 0));
  const auto names = names_in(std::move(directory).value(), path);
  if (!names) return names.error();
  const std::string kept = path + "/attempts/" + arguments.words[2];
  if (names->empty() || (names->size() == 1 && names->front() == "attempts")) return {};
  if (auto made = root->make_directories(kept, 0755); !made) return made.error();
  const auto to = root->open_path(kept, O_RDONLY | O_DIRECTORY);
  if (!to) return to.error();
  for (const auto& name : *names) {
    if (name == "attempts") continue;
    if (::renameat(from.get(), name.c_str(), to->get(), name.c_str()) != 0) {
      return system_error("cannot move " + path + "/" + name + " to " + kept, errno);
    }
  }
  ::fsync(from.get());
  return {};
}

Status keep_earlier(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  const std::string& path = arguments.words[1];
  const auto from = root->open_path(path, O_RDONLY | O_DIRECTORY);
  if (!from) return from.error();
  const std::string kept = path + "/earlier/" + arguments.words[2];
  for (std::size_t i = 3; i < arguments.words.size(); ++i) {
    const std::string& name = arguments.words[i];
    struct stat about {};
    if (::fstatat(from->get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (auto made = root->make_directories(kept, 0755); !made) return made.error();
    const auto to = root->open_path(kept, O_RDONLY | O_DIRECTORY);
    if (!to) return to.error();
    if (::renameat(from->get(), name.c_str(), to->get(), name.c_str()) != 0) {
      return system_error("cannot move " + path + "/" + name + " to " + kept, errno);
    }
  }
  ::fsync(from->get());
  return {};
}

}  // namespace trainyard::agent::helper
