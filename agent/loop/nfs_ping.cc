#include "agent/loop/nfs_ping.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr std::chrono::milliseconds kPause(50), kPatience(2'000);

// RFC 5531: a record of 40 bytes; call 7 of RPC 2, program 100003 (NFS) version 4, procedure 0, no credentials.
constexpr std::array<unsigned char, 44> kCall{0x80, 0, 0, 40,   0,    0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
                                              2,    0, 1, 0x86, 0xa3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0,
                                              0,    0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0};
// The record's mark, then: call 7, a reply, accepted, verifier of no kind and no length, success.
constexpr std::array<unsigned char, 28> kSuccess{0x80, 0, 0, 24, 0, 0, 0, 7, 0, 0, 0, 1};

}  // namespace

NfsPing::NfsPing(boost::asio::io_context& io, const std::string& address, std::uint32_t port, DurationMs deadline_ms,
                 std::function<void(bool)> done)
    : x_socket(io),
      x_pause(io),
      x_give_up(io),
      x_address(address),
      x_port(port),
      x_until_ms(boottime_ms() + deadline_ms),
      x_done(std::move(done)),
      x_answer(kSuccess.size()) {}

void NfsPing::start() {
  x_pause.expires_after(std::chrono::milliseconds(0));
  x_pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->attempt();
  });
}

void NfsPing::cancel() {
  x_done = nullptr;
  boost::system::error_code ignored;
  x_socket.close(ignored);
  x_pause.cancel();
  x_give_up.cancel();
}

void NfsPing::attempt() {
  if (!x_done) return;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(x_address, error);
  if (error) return finish(false);
  x_give_up.expires_after(kPatience);
  x_give_up.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
    boost::system::error_code ignored;
    if (!cancelled) self->x_socket.close(ignored);
  });
  x_socket.async_connect(
      {address, static_cast<std::uint16_t>(x_port)},
      [self = shared_from_this()](const boost::system::error_code& failed) { self->connected(failed); });
}

void NfsPing::connected(const boost::system::error_code& error) {
  if (error) return again();
  boost::asio::async_write(x_socket, boost::asio::buffer(kCall),
                           [self = shared_from_this()](const boost::system::error_code& failed, std::size_t) {
                             if (failed) return self->again();
                             boost::asio::async_read(
                                 self->x_socket, boost::asio::buffer(self->x_answer),
                                 [self](const boost::system::error_code& cut, std::size_t) { self->answered(cut); });
                           });
}

void NfsPing::answered(const boost::system::error_code& error) {
  if (error || !std::equal(kSuccess.begin(), kSuccess.end(), x_answer.begin())) return again();
  finish(true);
}

void NfsPing::again() {
  if (!x_done) return;
  x_give_up.cancel();
  boost::system::error_code ignored;
  x_socket.close(ignored);
  if (boottime_ms() >= x_until_ms) return finish(false);
  x_pause.expires_after(kPause);
  x_pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->attempt();
  });
}

void NfsPing::finish(bool answered) {
  x_give_up.cancel();
  boost::system::error_code ignored;
  x_socket.close(ignored);
  if (const auto done = std::exchange(x_done, nullptr)) done(answered);
}

}  // namespace trainyard::agent
