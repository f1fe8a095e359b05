// Asks an NFS server whether it is there: calls procedure 0 of NFS 4 over TCP until it answers. Loop thread only.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/time.h"

namespace trainyard::agent {

class NfsPing : public std::enable_shared_from_this<NfsPing> {
 public:
  // `done` runs once, never from inside a call: true when it answered, false when it did not by the deadline.
  NfsPing(boost::asio::io_context& io, const std::string& address, std::uint32_t port, DurationMs deadline_ms,
          std::function<void(bool)> done);
  void start();
  void cancel();  // `done` does not run any more

 private:
  void attempt();
  void connected(const boost::system::error_code& error);
  void answered(const boost::system::error_code& error);
  void again();
  void finish(bool answered);

  boost::asio::ip::tcp::socket x_socket;
  boost::asio::steady_timer x_pause, x_give_up;
  const std::string x_address;
  const std::uint32_t x_port;
  const TimeMs x_until_ms;
  std::function<void(bool)> x_done;
  std::vector<unsigned char> x_answer;
};

}  // namespace trainyard::agent
