#include "agent/loop/node_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "agent/exec/files.h"
#include "agent/exec/shim.h"
#include "common/wall_clock.h"

namespace trainyard::agent {

bool is_machines_fault(Code code) {
  return code == Code::deadline_exceeded || code == Code::unavailable || code == Code::resource_exhausted ||
         code == Code::internal || code == Code::data_loss;
}

bool is_safe_relative(const std::string& path) {
  if (path.empty() || path.front() == '/') return false;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t slash = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, slash - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = slash + 1;
  }
  return true;
}

std::string tail_of(const std::string& path, std::size_t most) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0) return {};
  const auto size = static_cast<std::size_t>(status.st_size);
  std::string text(std::min(size, most), '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), static_cast<off_t>(size - text.size()));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::pair<std::string, std::string> split_at_root(const std::string& path, const std::string& mount_root) {
  if (path.rfind(mount_root + "/", 0) == 0) return {mount_root, path.substr(mount_root.size() + 1)};
  const auto start = path.find_first_not_of('/');
  return {"/", start == std::string::npos ? std::string(".") : path.substr(start)};
}

std::pair<std::string, std::string> split_at_root(const std::string& path, const HoldingPaths& paths) {
  auto split = split_at_root(path, paths.job_mount_root);
  return split.first == "/" ? split_at_root(path, paths.mount_root) : split;
}

std::optional<NodeError> unseal_secrets(const ExecutorContext& context, const Place& place, const std::string& purpose,
                                        const std::vector<SealedValue>& sealed) {
  if (sealed.empty()) return std::nullopt;
  std::vector<NamedValue> open;
  for (const SealedValue& secret : sealed) {
    const NodeError error{.code = "SecretUnavailable",
                          .details = {{"node", context.node_name}, {"secret", secret.name}}};
    if (secret.sealed.empty()) {
      NodeError lost = error;
      lost.message = "the controller could not open secret " + secret.name + ": its log says why";
      return lost;
    }
    auto value = context.key->unseal(purpose, secret);
    if (!value) {
      NodeError wrong = error;
      wrong.message = value.error().message + " on node " + context.node_name;
      wrong.infrastructure = true;
      return wrong;
    }
    open.push_back({secret.name, std::move(value).value()});
  }
  Status written = make_local_directories({place.run});
  if (written) written = write_secrets(place.secrets(), open);
  if (written) return std::nullopt;
  return NodeError{.code = "NodeSetupFailed", .message = written.error().message, .infrastructure = true};
}

std::vector<SealedValue> variables_of(const std::vector<SealedValue>& sealed) {
  std::vector<SealedValue> variables;
  std::remove_copy_if(sealed.begin(), sealed.end(), std::back_inserter(variables), is_credential);
  return variables;
}

std::vector<SealedValue> credentials_of(const std::vector<SealedValue>& sealed) {
  std::vector<SealedValue> credentials;
  std::copy_if(sealed.begin(), sealed.end(), std::back_inserter(credentials), is_credential);
  return credentials;
}

Result<std::string> unseal_credential(const ExecutorContext& context, const std::string& purpose,
                                      const std::vector<SealedValue>& credentials, const std::string& name) {
  const auto found = std::find_if(credentials.begin(), credentials.end(),
                                  [&](const SealedValue& credential) { return credential.name == name; });
  if (found == credentials.end()) return std::string();
  if (found->sealed.empty()) {
    return Error{Code::failed_precondition, "the controller could not open the key: its log says why"};
  }
  return context.key->unseal(purpose, *found);
}

void give_back_beyond(const std::string& path, std::uint64_t most) {
  const UniqueFd file(open_guarded(path, O_WRONLY | O_NONBLOCK));
  struct stat about {};
  if (!file.valid() || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) return;
  if (static_cast<std::uint64_t>(about.st_size) <= most) return;
  const auto from = static_cast<off_t>(most);
  ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, about.st_size - from);
}

void say_in(const Place& place, const std::string& node_name, const std::string& line) {
  spdlog::info("{}: {}", place.name, line);
  const UniqueFd file(::open(place.log("execution.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const std::string text = fmt::format("{} {}: {}\n", iso8601(wall_clock_ms()), node_name, line);
  if (file.valid() && !write_fully(file.get(), text.data(), text.size())) {
    spdlog::warn("{}: cannot write the execution log", place.name);
  }
}

}  // namespace trainyard::agent
