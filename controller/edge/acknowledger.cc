#include "controller/edge/acknowledger.h"

#include <boost/asio/steady_timer.hpp>
#include <deque>

namespace trainyard::controller {

void Acknowledger::push(std::shared_ptr<AgentStream> stream, std::uint64_t sequence) {
  if (!x_due.push({std::move(stream), sequence})) return;  // a timer runs
  auto timer = std::make_shared<boost::asio::steady_timer>(x_context.workers, kWithin);
  timer->async_wait([this, timer](boost::system::error_code error) {
    std::deque<Due> due;
    x_due.take_all(due);
    if (error) return;
    for (const Due& one : due) one.stream->send_acknowledge(one.sequence);
  });
}

}  // namespace trainyard::controller
