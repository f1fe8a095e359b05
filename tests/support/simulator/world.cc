#include "tests/support/simulator/world.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace trainyard::simulator {
namespace {

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  return (hash ^ value) * 0x100000001b3ULL + (hash >> 29);
}

}  // namespace

void Trace::line(TimeMs now_ms, const char* what, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  x_newest[x_count++ % x_newest.size()] = {now_ms, what, a, b, c};
  for (const char* letter = what; *letter != 0; ++letter) x_hash = mixed(x_hash, static_cast<unsigned char>(*letter));
  x_hash = mixed(mixed(mixed(mixed(x_hash, static_cast<std::uint64_t>(now_ms)), a), b), c);
  if (x_print) {
    std::printf("%10" PRId64 "  %-34s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", now_ms, what, a, b, c);
  }
}

void Trace::print_newest() const {
  const std::uint64_t size = x_newest.size();
  for (std::uint64_t at = x_count > size ? x_count - size : 0; at < x_count; ++at) {
    const Line& line = x_newest[at % size];
    std::fprintf(stderr, "%10" PRId64 "  %-34s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", line.now_ms, line.what, line.a,
                 line.b, line.c);
  }
}

void World::after(DurationMs delay_ms, std::function<void()> what) {
  x_queue.push({x_now_ms + (delay_ms > 0 ? delay_ms : 0), x_order++, std::move(what)});
}

bool World::run_one() {
  if (x_queue.empty()) return false;
  Entry entry = std::move(const_cast<Entry&>(x_queue.top()));  // popped at once: its order no longer matters
  x_queue.pop();
  x_now_ms = entry.at_ms;
  ++events_run;
  entry.what();
  return true;
}

void World::fail(const std::string& promise) const {
  std::fflush(stdout);
  std::fprintf(stderr, "BROKEN at %" PRId64 ": %s\n", x_now_ms, promise.c_str());
  std::abort();  // the caller's SIGABRT handler prints the newest trace lines and the seed
}

}  // namespace trainyard::simulator
