#include "cli/transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;
using google::protobuf::util::TimeUtil;

std::int64_t stamp_of(const v1::FileEntry& entry) {
  return TimeUtil::TimestampToMilliseconds(entry.modified());
}

Error local_error(const std::string& path, const char* what) {
  return {Code::invalid_argument, fmt::format("{}: {}: {}", path, what, std::strerror(errno))};
}

bool is_copy(const std::string& local, const v1::FileEntry& entry) {
  struct stat status {};
  if (::stat(local.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  const std::int64_t stamp = status.st_mtim.tv_sec * 1'000 + status.st_mtim.tv_nsec / 1'000'000;
  return static_cast<std::uint64_t>(status.st_size) == entry.size() && stamp == stamp_of(entry);
}

std::string part_prefix(const fs::path& local) {
  return "." + local.filename().string() + ".";
}

// Parts of versions that are no more.
void remove_other_parts(const fs::path& local, const std::string& part) {
  const fs::path folder = local.has_parent_path() ? local.parent_path() : fs::path(".");
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == part || !name.starts_with(part_prefix(local)) || !name.ends_with(".part")) continue;
    const std::string middle = name.substr(part_prefix(local).size(), name.size() - part_prefix(local).size() - 5);
    if (middle.find_first_not_of("0123456789-") == std::string::npos) fs::remove(entry.path(), ignored);
  }
}

class Download {
 public:
  Download(Client& client, const FileSource& source, ProgressLine& progress)
      : x_client(client), x_source(source), x_progress(progress) {}

  Status directory(const std::string& path, const fs::path& to) {
    std::error_code failed;
    fs::create_directories(to, failed);
    if (failed) return Error{Code::invalid_argument, to.string() + ": cannot be made: " + failed.message()};
    const auto entries = x_source.list(path);
    if (!entries) return entries.error();
    for (const v1::FileEntry& entry : *entries) {
      const std::string& name = entry.name();
      if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
        return Error{Code::data_loss,
                     fmt::format("{}: the controller lists \"{}\", which is no file name", path, name)};
      }
      const std::string below = join_path(path, name);
      const Status done = entry.is_directory() ? directory(below, to / name) : file(below, entry, to / name);
      if (!done) return done;
    }
    return {};
  }

  Status file(const std::string& path, const v1::FileEntry& entry, const fs::path& local) {
    if (!is_copy(local.string(), entry)) {
      const std::string part_name = fmt::format("{}{}-{}.part", part_prefix(local), entry.size(), stamp_of(entry));
      remove_other_parts(local, part_name);
      const std::string part = (local.parent_path() / part_name).string();
      const int fd = ::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
      if (fd < 0) return local_error(local.string(), "cannot be written");
      Status done = fill(fd, path, entry, local.string());
      const std::int64_t stamp = stamp_of(entry);
      const timespec times[] = {{stamp / 1'000, stamp % 1'000 * 1'000'000}, {stamp / 1'000, stamp % 1'000 * 1'000'000}};
      if (done && (::futimens(fd, times) != 0 || ::rename(part.c_str(), local.c_str()) != 0)) {
        done = local_error(local.string(), "cannot be written");
      }
      ::close(fd);
      if (!done) return done;
    }
    copies.push_back({entry.name(), local.string(), entry.size()});
    return {};
  }

  std::vector<Copy> copies;

 private:
  // The rest of the file, from where an earlier try stopped; tries again while that may help.
  Status fill(int fd, const std::string& path, const v1::FileEntry& entry, const std::string& local) {
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return Error{Code::failed_precondition, local + ": another download of it is under way"};
    }
    const off_t end = ::lseek(fd, 0, SEEK_END);
    std::uint64_t have = std::min(static_cast<std::uint64_t>(std::max<off_t>(end, 0)), entry.size());
    if (::ftruncate(fd, static_cast<off_t>(have)) != 0) return local_error(local, "cannot be written");
    Patience patience(x_client);
    while (have < entry.size()) {
      grpc::ClientContext context;
      const auto reader = x_source.read(context, path, have);
      v1::FileChunk chunk;
      Status written;
      while (written && have < entry.size() && reader->Read(&chunk)) {
        written = take(fd, chunk, entry.size(), have, local);
        patience.progress();
        x_progress.say(fmt::format("{}: {} of {}", path, spoken_size(have), spoken_size(entry.size())));
      }
      // Also of a file that grew meanwhile: this copy is of the version that was listed.
      if (!written || have == entry.size()) context.TryCancel();
      const grpc::Status status = reader->Finish();
      if (!written) return written;
      if (have == entry.size()) break;
      if (status.ok()) {
        return Error{Code::aborted,
                     fmt::format("{} has become shorter while it was copied ({} of {} bytes): start again", path, have,
                                 entry.size())};
      }
      if (!patience.again(status)) return x_client.error_of(status);
    }
    return {};
  }

  static Status take(int fd, const v1::FileChunk& chunk, std::uint64_t size, std::uint64_t& have,
                     const std::string& local) {
    if (chunk.offset() != have) {
      return Error{Code::data_loss, fmt::format("{}: the controller sent byte {} where byte {} comes next; start again",
                                                local, chunk.offset(), have)};
    }
    const std::size_t wanted = std::min<std::uint64_t>(chunk.data().size(), size - have);
    for (std::size_t done = 0; done < wanted;) {
      const ssize_t wrote = ::pwrite(fd, chunk.data().data() + done, wanted - done, static_cast<off_t>(have));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return local_error(local, "cannot be written");
      done += static_cast<std::size_t>(wrote);
      have += static_cast<std::uint64_t>(wrote);
    }
    return {};
  }

  Client& x_client;
  const FileSource& x_source;
  ProgressLine& x_progress;
};

}  // namespace

std::string relative_path(const std::string& path) {
  std::string out;
  std::size_t from = 0;
  while (from <= path.size()) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    const std::string part = path.substr(from, slash - from);
    if (part != ".") out = join_path(out, part);
    from = slash + 1;
  }
  return out;
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string join_path(const std::string& directory, const std::string& name) {
  return directory.empty() || name.empty() ? directory + name : directory + "/" + name;
}

Status download_file(Client& client, const FileSource& source, const std::string& path, const v1::FileEntry& entry,
                     const std::string& to, ProgressLine& progress) {
  return Download(client, source, progress).file(path, entry, to);
}

Result<Copies> download(Client& client, const FileSource& source, const std::string& path, const std::string& to,
                        ProgressLine& progress) {
  const std::string wanted = relative_path(path);
  const auto slash = wanted.rfind('/');
  Download under_way(client, source, progress);
  std::optional<v1::FileEntry> found;
  if (!wanted.empty()) {
    const auto entries = source.list(slash == std::string::npos ? "" : wanted.substr(0, slash));
    if (!entries) return entries.error();
    const auto at = std::find_if(entries->begin(), entries->end(),
                                 [&](const v1::FileEntry& entry) { return entry.name() == last_part(wanted); });
    if (at == entries->end())
      return Error{Code::not_found, path + " does not exist: list its directory to see what does"};
    found = *at;
  }
  Status done;
  const bool of_directory = !found || found->is_directory();
  if (!of_directory) {
    std::error_code ignored;
    const bool into = to.empty() || to.ends_with('/') || fs::is_directory(to, ignored);
    done = under_way.file(wanted, *found, into ? fs::path(to) / last_part(wanted) : fs::path(to));
  } else {
    done = under_way.directory(wanted, to.empty() ? fs::path(".") : fs::path(to));
  }
  if (!done) return done.error();
  return Copies{std::move(under_way.copies), of_directory};
}

Status write_out(const std::string& data) {
  for (std::size_t done = 0; done < data.size();) {
    const ssize_t wrote = ::write(STDOUT_FILENO, data.data() + done, data.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      return Error{Code::internal, std::string("cannot write to standard output: ") + std::strerror(errno)};
    }
    done += static_cast<std::size_t>(wrote);
  }
  return {};
}

Answer show_copies(const Copies& copies) {
  Answer answer{Json::array(), Table{{"Name", "Destination", "Size"}, {}}};
  for (const Copy& copy : copies.files) {
    answer.value.push_back({{"contentLength", copy.size}, {"destination", copy.destination}, {"name", copy.name}});
    answer.table.rows.push_back({copy.name, copy.destination, std::to_string(copy.size)});
  }
  if (!copies.of_directory) answer.value = Json(answer.value.at(0));
  return answer;
}

}  // namespace trainyard::cli
