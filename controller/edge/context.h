// What every part of the edge uses: the loop, the store, the configuration, the waiting calls, and the generic helpers
// that turn one RPC into one command or one read. Handlers stay: decode, convert, post. Any thread.
#pragma once

#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <string>
#include <utility>

#include "controller/config.h"
#include "controller/edge/identity.h"
#include "controller/edge/tickets.h"
#include "controller/loop/loop.h"
#include "secrets/vault.h"

namespace trainyard::controller {

grpc::Status to_grpc(const Error& error);
inline grpc::Status to_grpc(const Status& status) {
  return status ? grpc::Status::OK : to_grpc(status.error());
}
// 128 random bits in hex (uuid form: 8-4-4-4-12).
std::string random_hex(std::size_t bytes);
std::string random_uuid();
// Of who, which method (the request's type names it) and every byte of the request.
std::string fingerprint_of(const std::string& principal, const google::protobuf::Message& request);

inline Error inbox_full() {
  return {Code::resource_exhausted, "the controller has more requests than it can take now: try again in a second"};
}

class CounterKeeper;

struct Context {
  Loop& loop;
  storage::Store& store;
  const Config& config;
  const secrets::Vault vault;
  CounterKeeper& counters;
  Tickets tickets;
  boost::asio::thread_pool workers{2};

  Context(Loop& loop_in, storage::Store& store_in, const Config& config_in, secrets::Vault vault_in,
          CounterKeeper& counters_in)
      : loop(loop_in), store(store_in), config(config_in), vault(std::move(vault_in)), counters(counters_in) {}

  // Fills the response from the resource that a command made or found.
  using Fill = std::function<grpc::Status(const core::State& state, core::Subject subject, TimeMs now_ms)>;
  enum class Work { adds, ends };  // `adds` is refused while the disk is nearly full; what ends or frees goes on
  // What became of a command: on the loop's thread, after its commit.
  using Answer = std::function<void(const Result<core::Subject>& result, const core::State& state, TimeMs now_ms)>;

  // Posts a command (its ticket is drawn here). An error: it was not taken, and `answer` is not called.
  Status send(core::Command command, Work work, Answer answer);

  // Posts `body` as a command and finishes the call with its reply.
  template <class Request>
  grpc::ServerUnaryReactor* command(grpc::CallbackServerContext* context, const Request* request, Work work,
                                    Result<core::CommandBody> body, Fill fill) {
    return post(context, *request, request->request_id(), work, std::move(body), std::move(fill));
  }

  // Runs `read` on committed state on the loop's thread; it fills the response.
  grpc::ServerUnaryReactor* read(grpc::CallbackServerContext* context,
                                 std::function<grpc::Status(const core::State&, TimeMs)> read);
  // For long lists: `collect` copies what is needed on the loop's thread and returns what converts it on a worker.
  grpc::ServerUnaryReactor* read_list(grpc::CallbackServerContext* context,
                                      std::function<Result<std::function<void()>>(const core::State&, TimeMs)> collect);

 private:
  grpc::ServerUnaryReactor* post(grpc::CallbackServerContext* context, const google::protobuf::Message& request,
                                 const std::string& request_id, Work work, Result<core::CommandBody> body, Fill fill);
};

}  // namespace trainyard::controller
