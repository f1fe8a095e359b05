#include "agent/exec/progress.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "agent/exec/files.h"

namespace trainyard::agent {

std::string progress_file(const HoldingPaths& paths) {
  return paths.job_temp + "/progress.json";
}

std::optional<Progress> read_progress(const std::string& path) {
  // A fifo would wait for a writer, a link lead to a file of root's.
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat about {};
  if (!file.valid() || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) return std::nullopt;
  char line[1024];
  const ssize_t got = ::read(file.get(), line, sizeof line);
  if (got <= 0) return std::nullopt;
  const auto json = nlohmann::json::parse(line, line + got, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto number = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  if (!json.contains("step")) return std::nullopt;
  return Progress{number("step"), number("steps"), number("checkpoint")};
}

}  // namespace trainyard::agent
