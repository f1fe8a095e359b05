#include "controller/loop/inbox.h"

#include <array>
#include <catch2/catch.hpp>
#include <memory>
#include <thread>
#include <vector>

namespace trainyard::controller {

TEST_CASE("the inbox keeps each thread's order and loses nothing") {
  constexpr int kThreads = 4, kEach = 50'000;
  Inbox<std::pair<int, int>> inbox;
  std::atomic<int> wakes = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int n = 0; n < kEach; ++n) {
        if (inbox.push({thread, n})) ++wakes;
      }
    });
  }
  std::array<int, kThreads> next{};
  std::deque<std::pair<int, int>> taken;
  int total = 0, emptied = 0;
  bool ordered = true;
  while (total < kThreads * kEach) {
    inbox.take_all(taken);
    if (!taken.empty()) ++emptied;
    for (; !taken.empty(); taken.pop_front(), ++total) {
      const auto [thread, n] = taken.front();
      ordered = ordered && n == next[static_cast<std::size_t>(thread)]++;
    }
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(ordered);
  CHECK(wakes == emptied);  // exactly one wake-up for each time something was there
}

TEST_CASE("an inbox frees what nobody took") {
  auto item = std::make_shared<int>(7);
  {
    Inbox<std::shared_ptr<int>> inbox;
    CHECK(inbox.push(item));
    CHECK(!inbox.push(item));
    CHECK(item.use_count() == 3);
  }
  CHECK(item.use_count() == 1);
}

}  // namespace trainyard::controller
