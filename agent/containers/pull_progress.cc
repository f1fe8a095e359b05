#include "agent/containers/pull_progress.h"

#include <nlohmann/json.hpp>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr std::int64_t kEveryMs = 5'000;
constexpr std::uint64_t kMb = 1'000'000;

}  // namespace

PullProgress::PullProgress(const Say& say, std::string image)
    : x_say(say), x_image(std::move(image)), x_next_ms(boottime_ms() + kEveryMs) {
  x_say("pulling image " + x_image);
}

void PullProgress::feed(std::string_view piece) {
  x_pending += piece;
  for (std::size_t end; (end = x_pending.find('\n')) != std::string::npos; x_pending.erase(0, end + 1)) {
    take(x_pending.substr(0, end));
  }
}

std::string PullProgress::error() {
  if (!x_pending.empty()) take(std::exchange(x_pending, std::string()));
  return x_error;
}

void PullProgress::take(const std::string& line) {
  const json value = json::parse(line, nullptr, false);
  if (!value.is_object()) return;
  for (const char* key : {"error", "message"}) {
    if (const auto found = value.find(key); found != value.end() && found->is_string()) x_error = *found;
  }
  const auto detail = value.find("progressDetail");
  if (detail != value.end() && detail->is_object() && detail->contains("total") &&
      value.value("status", "") == "Downloading") {
    x_layers[value.value("id", std::string())] = {detail->value("current", std::uint64_t{0}),
                                                  detail->value("total", std::uint64_t{0})};
  }
  tell();
}

void PullProgress::tell() {
  const std::int64_t now = boottime_ms();
  if (now < x_next_ms) return;
  x_next_ms = now + kEveryMs;
  std::uint64_t current = 0, total = 0;
  for (const auto& [id, layer] : x_layers) {
    current += layer.current;
    total += layer.total;
  }
  x_say("pulling image " + x_image +
        (total == 0 ? std::string(": under way")
                    : ": " + std::to_string(current / kMb) + " of " + std::to_string(total / kMb) + " MB"));
}

}  // namespace trainyard::agent
