#include "controller/edge/tickets.h"

namespace trainyard::controller {

core::Ticket Tickets::take(std::unique_ptr<Waiting>& waiting) {
  for (std::size_t tries = 0; tries < kPlaces; ++tries) {
    // The place is the ticket modulo the table: a ticket is never used twice, its place is.
    const core::Ticket ticket = x_next.fetch_add(1, std::memory_order_relaxed);
    waiting->ticket = ticket;
    Waiting* empty = nullptr;
    if (x_places[ticket % kPlaces].compare_exchange_strong(empty, waiting.get(), std::memory_order_acq_rel)) {
      waiting.release();
      return ticket;
    }
  }
  return 0;
}

std::unique_ptr<Waiting> Tickets::give_back(core::Ticket ticket) {
  auto& place = x_places[ticket % kPlaces];
  Waiting* waiting = place.load(std::memory_order_acquire);
  // The poster and the replier of one ticket never race: the loop replies only to what was posted.
  if (waiting == nullptr || waiting->ticket != ticket) return nullptr;
  place.store(nullptr, std::memory_order_release);
  return std::unique_ptr<Waiting>(waiting);
}

}  // namespace trainyard::controller
