#include "controller/loop/heartbeat.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

namespace trainyard::controller {

namespace {
constexpr DurationMs kAlone = 10'000;

bool renewed(Heartbeat& heartbeat, TimeMs now_ms, std::uint64_t orders_revision) {
  return heartbeat.beat(now_ms, orders_revision) != Heartbeat::Beat::for_the_loop;
}
}  // namespace

TEST_CASE("a lease is renewed beside the loop only where both sides agree") {
  Heartbeat heartbeat(kAlone);
  CHECK_FALSE(renewed(heartbeat, 1000, 7));
  heartbeat.open(1000, 7);
  CHECK(renewed(heartbeat, 2000, 7));
  CHECK_FALSE(renewed(heartbeat, 2000, 6));  // it acts on other orders
  CHECK_FALSE(renewed(heartbeat, 2000, 8));
  heartbeat.close();
  CHECK_FALSE(renewed(heartbeat, 3000, 7));
  heartbeat.open(4000, 8);
  CHECK_FALSE(renewed(heartbeat, 5000, 7));
  CHECK(renewed(heartbeat, 5000, 8));
}

TEST_CASE("the loop hears of every beat that was answered, closed or not") {
  Heartbeat heartbeat(kAlone);
  CHECK_FALSE(heartbeat.take(500));
  heartbeat.open(1000, 7);
  CHECK(heartbeat.take(1000) == 1000);
  CHECK_FALSE(heartbeat.take(1500));
  REQUIRE(renewed(heartbeat, 2000, 7));
  heartbeat.close();
  CHECK(heartbeat.take(2500) == 2000);
  CHECK_FALSE(heartbeat.take(2500));
}

TEST_CASE("whoever was silent for long must come to the loop") {
  Heartbeat heartbeat(kAlone);
  heartbeat.open(1000, 7);
  CHECK_FALSE(renewed(heartbeat, 1001 + kAlone, 7));
  CHECK(renewed(heartbeat, 1000 + kAlone, 7));
  CHECK(heartbeat.take(2001 + 2 * kAlone) == 1000 + kAlone);  // closes it
  CHECK_FALSE(renewed(heartbeat, 1000 + kAlone, 7));          // even if it is late by its clock
  // What is concluded from silence is concluded later than that.
  for (const DurationMs unreachable_after_ms : {1'000, 2'000, 30'000, 600'000}) {
    CHECK(look_every_ms(unreachable_after_ms) + alone_ms(unreachable_after_ms) < unreachable_after_ms);
  }
}

TEST_CASE("an agent hears of its renewed lease now and then") {
  Heartbeat heartbeat(kAlone);
  heartbeat.open(1000, 7);
  CHECK(heartbeat.beat(100'000 - kAlone, 7) == Heartbeat::Beat::for_the_loop);
  heartbeat.open(100'000, 7);
  CHECK(heartbeat.beat(100'000, 7) == Heartbeat::Beat::answer);
  CHECK(heartbeat.beat(105'000, 7) == Heartbeat::Beat::renewed);
  CHECK(heartbeat.beat(110'000, 7) == Heartbeat::Beat::renewed);
  CHECK(heartbeat.beat(115'000, 7) == Heartbeat::Beat::answer);
}

TEST_CASE("no answered beat is lost between two threads") {
  Heartbeat heartbeat(1'000'000);
  std::atomic<TimeMs> answered = 0;
  std::atomic<bool> over = false;
  std::thread agent([&] {
    for (TimeMs now = 1; now <= 200'000; ++now) {
      if (renewed(heartbeat, now, 7)) answered = now;
    }
    over = true;
  });
  TimeMs taken = 0;
  while (!over) {
    heartbeat.open(0, 7);
    if (const auto at = heartbeat.take(1)) {
      CHECK(*at > taken);
      taken = *at;
    }
    heartbeat.close();
    const TimeMs before = answered;  // of beats that the next look must know
    if (const auto at = heartbeat.take(1)) taken = *at;
    if (taken < before) FAIL("a beat at " << before << " was answered, the loop knows of " << taken);
  }
  agent.join();
  heartbeat.take(1);
}

}  // namespace trainyard::controller
