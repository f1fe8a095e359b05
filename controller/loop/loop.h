// The controller's one thread of state: take up to 512 events and step each; plan if wanted; commit; only then
// dispatch. post() and query() may be called from any thread; everything else runs on the loop's thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "controller/core/core.h"
#include "controller/plan/backfill.h"
#include "storage/store.h"

namespace trainyard::controller {

inline constexpr std::size_t kInboxLimit = 4096;
inline constexpr std::size_t kBatchLimit = 512;

// What the loop speaks to, after the commit. Implemented by the edge (and by tests). Called on the loop's thread;
// must not block.
class Outbox {
 public:
  virtual ~Outbox() = default;
  virtual void reply(core::Ticket ticket, const Result<core::Subject>& result, const core::State& state,
                     TimeMs now_ms) = 0;
  virtual void send_orders(const std::string& node_name, const Orders& orders) = 0;
  virtual void acknowledge(const core::Acknowledge& ack) = 0;
  virtual void refuse(const core::Refuse& refusal) = 0;
  virtual void run_fence(const core::RunFence& fence) = 0;
  virtual void publish(const core::TimelineLine& line) = 0;
  // Whose leases the edge renewed by itself since the last call (see heartbeat.h), and when last.
  virtual std::vector<core::NodeHeard> take_heard(TimeMs now_ms) = 0;
};

using EventBody = decltype(core::Event::body);
using Query = std::function<void(const core::State& state, TimeMs now_ms)>;

class Loop {
 public:
  // The store must outlive the loop. `wall_now_ms` seeds controller time (see common/time.h).
  Loop(core::Settings settings, storage::Store& store, core::Tables tables, TimeMs wall_now_ms,
       const plan::Settings& scheduling = {});
  ~Loop();

  // False: the inbox is full (4,096 events): answer RESOURCE_EXHAUSTED with a retry hint. Agents' reports are dropped
  // then; the agent sends the next one anyway.
  bool post(EventBody body);
  // Runs `query` on the loop's thread over committed state. False when the inbox is full.
  bool query(Query query);
  // Controller time, for what is no event. Any thread.
  TimeMs now_ms() const;

  // Runs until stop(); returns the process's exit code: 0 after stop(), 1 when a commit failed (the reason is logged).
  int run(Outbox& outbox);
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> x_impl;
};

}  // namespace trainyard::controller
