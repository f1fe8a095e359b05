// The CLI's way to the controller: one channel, calls with a time limit, and patient retries, so that a restart of the
// controller is not seen. Single-threaded, blocking.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "cli/progress.h"
#include "common/result.h"

namespace trainyard::cli {

struct Endpoint {
  std::string controller = "127.0.0.1:7470";  // host:port
  std::string ca, certificate, key;           // files; all empty: no TLS
  double retry_for_s = 20;
};

// A random UUID: names one mutating call, also when it is sent again.
std::string new_request_id();

// What gRPC calls the address. Numbers skip name resolution, which costs milliseconds.
std::string target_of(const std::string& controller);

class Client {
 public:
  static Result<std::unique_ptr<Client>> open(const Endpoint& endpoint);

  // Code::unavailable means: the controller could not be reached. All else is its answer.
  template <class Stub, class Request, class Response>
  Result<Response> call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                        const Request& request);

  std::shared_ptr<grpc::Channel> channel() const { return x_channel; }
  // Leaves the present connection, e.g. when it has gone silent.
  void reconnect();
  Error error_of(const grpc::Status& status) const;

 private:
  friend class Patience;
  explicit Client(Endpoint endpoint) : x_endpoint(std::move(endpoint)) {}
  bool reached() const { return x_channel->GetState(false) == GRPC_CHANNEL_READY; }

  Endpoint x_endpoint;
  std::shared_ptr<grpc::ChannelCredentials> x_credentials;
  std::shared_ptr<grpc::Channel> x_channel;
};

// Decides about one call whether to try again, and waits a little before.
class Patience {
 public:
  explicit Patience(Client& client) : x_client(client) {}
  using Clock = std::chrono::steady_clock;
  // After a failure of a call begun at `begun` (of streams). False: give up. Says once on stderr that it goes on
  // trying.
  bool again(const grpc::Status& status, Clock::time_point begun = Clock::now());
  // Something went well: the time allowed starts anew.
  void progress();

 private:
  Client& x_client;
  Clock::time_point x_started{};  // of this series of failures; epoch: none
  std::chrono::milliseconds x_pause{50};
  bool x_said = false;
};

inline constexpr std::chrono::seconds kCallLimit{60};

template <class Stub, class Request, class Response>
Result<Response> Client::call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request) {
  const ProgressLine progress("waiting for the controller at " + x_endpoint.controller);
  Patience patience(*this);
  for (;;) {
    Stub stub(x_channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (status.ok()) return response;
    if (!patience.again(status)) return error_of(status);
  }
}

}  // namespace trainyard::cli
