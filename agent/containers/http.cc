#include "agent/containers/http.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <limits>
#include <optional>

namespace trainyard::agent {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::local::stream_protocol;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostBody = 64 * 1024 * 1024;

class Connection {
 public:
  explicit Connection(std::string socket) : x_socket(std::move(socket)), x_stream(x_io) {}

  Status send(const HttpRequest& request, DurationMs deadline_ms) {
    auto failed = wait(deadline_ms, [&](auto done) {
      x_stream.async_connect(stream_protocol::endpoint(x_socket),
                             [done](boost::system::error_code error) { done(error); });
    });
    if (failed) return Error{Code::unavailable, "nobody answers at " + x_socket + ": " + failed.message()};
    http::request<http::string_body> message{http::string_to_verb(request.method), request.target, 11};
    message.set(http::field::host, "localhost");
    message.set(http::field::connection, "close");
    if (!request.body.empty()) message.set(http::field::content_type, "application/json");
    if (!request.registry_auth.empty()) message.set("X-Registry-Auth", request.registry_auth);
    message.body() = request.body;
    message.prepare_payload();
    failed = wait(deadline_ms, [&](auto done) {
      http::async_write(x_stream, message, [done](boost::system::error_code error, std::size_t) { done(error); });
    });
    return failed ? broken(failed) : Status();
  }

  Result<HttpReply> receive(DurationMs deadline_ms) {
    http::response_parser<http::string_body> parser;
    parser.body_limit(kMostBody);
    const auto failed = wait(deadline_ms, [&](auto done) {
      http::async_read(x_stream, x_buffer, parser,
                       [done](boost::system::error_code error, std::size_t) { done(error); });
    });
    if (failed) return broken(failed).error();
    return HttpReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
  }

  Result<int> receive_pieces(DurationMs silence_ms, DurationMs limit_ms,
                             const std::function<void(std::string_view)>& piece) {
    const auto end = Clock::now() + std::chrono::milliseconds(limit_ms);
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    auto failed = wait(limit_ms, [&](auto done) {
      http::async_read_header(x_stream, x_buffer, parser,
                              [done](boost::system::error_code error, std::size_t) { done(error); });
    });
    char bytes[16 * 1024];
    while (!failed && !parser.is_done()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      if (left <= 0) return Error{Code::deadline_exceeded, "not done within " + std::to_string(limit_ms / 1000) + " s"};
      parser.get().body().data = bytes;
      parser.get().body().size = sizeof bytes;
      failed = wait(std::min<DurationMs>(silence_ms, left), [&](auto done) {
        http::async_read_some(x_stream, x_buffer, parser,
                              [done](boost::system::error_code error, std::size_t) { done(error); });
      });
      if (failed == http::error::need_buffer) failed = {};
      if (!failed) piece({bytes, sizeof bytes - parser.get().body().size});
    }
    if (failed) return broken(failed).error();
    return static_cast<int>(parser.get().result_int());
  }

 private:
  // Timeouts of Beast are for asynchronous calls only: one at a time, waited for.
  template <class Begin>
  boost::system::error_code wait(DurationMs deadline_ms, Begin begin) {
    boost::system::error_code result = boost::asio::error::would_block;
    x_stream.expires_after(std::chrono::milliseconds(deadline_ms));
    begin([&result](boost::system::error_code error) { result = error; });
    x_io.restart();
    x_io.run();
    return result;
  }

  Status broken(const boost::system::error_code& error) const {
    if (error == beast::error::timeout) return Error{Code::deadline_exceeded, x_socket + " does not answer in time"};
    return Error{Code::unavailable, "the connection to " + x_socket + " broke: " + error.message()};
  }

  std::string x_socket;
  boost::asio::io_context x_io;
  beast::basic_stream<stream_protocol> x_stream;
  beast::flat_buffer x_buffer;
};

}  // namespace

Result<HttpReply> http_call(const std::string& socket, const HttpRequest& request, DurationMs deadline_ms) {
  if (socket.size() >= sizeof(sockaddr_un::sun_path))
    return Error{Code::invalid_argument, "too long for a socket: " + socket};
  Connection connection(socket);
  if (const auto sent = connection.send(request, deadline_ms); !sent) return sent.error();
  return connection.receive(deadline_ms);
}

Result<int> http_stream(const std::string& socket, const HttpRequest& request, DurationMs silence_ms,
                        DurationMs limit_ms, const std::function<void(std::string_view)>& piece) {
  if (socket.size() >= sizeof(sockaddr_un::sun_path))
    return Error{Code::invalid_argument, "too long for a socket: " + socket};
  Connection connection(socket);
  if (const auto sent = connection.send(request, silence_ms); !sent) return sent.error();
  return connection.receive_pieces(silence_ms, limit_ms, piece);
}

}  // namespace trainyard::agent
