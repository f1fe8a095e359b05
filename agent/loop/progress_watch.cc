#include "agent/loop/progress_watch.h"

#include <chrono>
#include <utility>

namespace trainyard::agent {
namespace {

constexpr std::chrono::seconds kEvery{10};

}  // namespace

void ProgressWatch::start(std::function<void(const Progress&)> told) {
  x_told = std::move(told);
  look();
}

void ProgressWatch::stop() {
  x_told = nullptr;
  x_timer.cancel();
}

void ProgressWatch::look() {
  if (!x_told) return;
  const auto now = read_progress(x_file);
  if (now && now != x_last) {
    x_last = now;
    x_told(*now);
  }
  x_timer.expires_after(kEvery);
  x_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->look();
  });
}

}  // namespace trainyard::agent
