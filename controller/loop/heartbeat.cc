#include "controller/loop/heartbeat.h"

namespace trainyard::controller {

Heartbeat::Beat Heartbeat::beat(TimeMs now_ms, std::uint64_t orders_revision) {
  std::uint64_t word = x_word.load(std::memory_order_acquire);
  if ((word & kOpen) == 0 || x_revision.load(std::memory_order_relaxed) != orders_revision) {
    return Beat::for_the_loop;
  }
  if (now_ms - time_of(word) > x_alone_ms) return Beat::for_the_loop;
  const std::uint64_t renewed = word_of(std::max(now_ms, time_of(word))) | kOpen;
  // Fails when the loop closes it meanwhile.
  if (!x_word.compare_exchange_strong(word, renewed, std::memory_order_acq_rel)) return Beat::for_the_loop;
  if (now_ms - x_answered_ms < answer_every_ms(x_alone_ms)) return Beat::renewed;
  x_answered_ms = now_ms;
  return Beat::answer;
}

void Heartbeat::open(TimeMs now_ms, std::uint64_t orders_revision) {
  close();  // a beat of before must not be taken for one on these orders
  x_revision.store(orders_revision, std::memory_order_relaxed);
  std::uint64_t word = x_word.load(std::memory_order_acquire);
  while (!x_word.compare_exchange_weak(word, word_of(std::max(now_ms, time_of(word))) | kOpen,
                                       std::memory_order_acq_rel)) {
  }
}

std::optional<TimeMs> Heartbeat::take(TimeMs now_ms) {
  std::uint64_t word = x_word.load(std::memory_order_acquire);
  while ((word & kOpen) != 0 && now_ms - time_of(word) > x_alone_ms &&
         !x_word.compare_exchange_weak(word, word & ~kOpen, std::memory_order_acq_rel)) {
  }
  const TimeMs heard_ms = time_of(word);
  if (heard_ms <= x_taken_ms) return std::nullopt;
  x_taken_ms = heard_ms;
  return heard_ms;
}

}  // namespace trainyard::controller
