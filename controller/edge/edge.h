// The controller's outside: all services, and the loop's outbox. Services run on gRPC's threads and keep no state; the
// outbox is called on the loop's thread, after the commit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "controller/config.h"
#include "controller/loop/loop.h"
#include "secrets/vault.h"

namespace grpc {
class Service;
}

namespace trainyard::controller {

class CounterKeeper;

// Everything given must outlive it.
class Edge final : public Outbox {
 public:
  Edge(Loop& loop, storage::Store& store, const Config& config, secrets::Vault vault, CounterKeeper& counters);
  // After the server has shut down: nothing of a call is left then.
  ~Edge() override;

  std::vector<grpc::Service*> services();

  void reply(core::Ticket ticket, const Result<core::Subject>& result, const core::State& state,
             TimeMs now_ms) override;
  void send_orders(const std::string& node_name, const Orders& orders) override;
  void acknowledge(const core::Acknowledge& ack) override;
  void refuse(const core::Refuse& refusal) override;
  void run_fence(const core::RunFence& fence) override;
  void publish(const core::TimelineLine& line) override;
  std::vector<core::NodeHeard> take_heard(TimeMs now_ms) override;

 private:
  struct Parts;
  std::unique_ptr<Parts> x_parts;
};

}  // namespace trainyard::controller
