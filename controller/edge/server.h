// The gRPC server: credentials, limits, and a listener of our own in front of it that keeps the number of connections
// below the descriptor limit (gRPC 1.51 stops accepting for ever once descriptors run out).
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "controller/config.h"

namespace trainyard::controller {

class Server {
 public:
  // Listens and serves from here on. Errors name the address or the file.
  static Result<std::unique_ptr<Server>> start(const Config& config, const std::vector<grpc::Service*>& services);
  ~Server();

  const std::string& address() const { return x_address; }  // with the port that was chosen
  // Ends every call within `grace`; the loop must still run meanwhile.
  void shutdown(std::chrono::milliseconds grace);

 private:
  Server() = default;
  void accept_until_stopped(int highest_fd);

  std::string x_address;
  int x_listener = -1, x_stop = -1;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> x_acceptor;
  std::unique_ptr<grpc::Server> x_server;
  std::thread x_thread;
};

// Raises the soft descriptor limit to the hard one.
void raise_descriptor_limit();

// True when a server at `address` answers a new connection with anything within `limit`.
bool probe(const std::string& address, std::chrono::milliseconds limit);

}  // namespace trainyard::controller
