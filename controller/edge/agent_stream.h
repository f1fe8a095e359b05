// One agent's Connect stream. Its reads run on gRPC's threads, one at a time; what is sent is written one message at a
// time, and only the newest unsent orders and acknowledgement are kept.
#pragma once

#include <deque>
#include <mutex>
#include <optional>

#include "controller/edge/context.h"
#include "controller/loop/heartbeat.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::controller {

class Acknowledger;
class AgentRegistry;
class LaunchRelay;

class AgentStream : public grpc::ServerBidiReactor<v1::FromAgent, v1::ToAgent>,
                    public std::enable_shared_from_this<AgentStream> {
 public:
  AgentStream(Context& context, AgentRegistry& registry, Acknowledger& acknowledger, LaunchRelay& relay,
              Identity identity);
  // Lives from here until gRPC is done with it.
  void start();

  // Set by the first report, before the stream is registered; never changed after.
  const std::string& node() const { return x_node; }
  const std::string& epoch() const { return x_epoch; }
  const Identity& identity() const { return x_identity; }
  Heartbeat& heartbeat() { return x_heartbeat; }

  // From any thread.
  void send_orders(const Orders& orders);
  void send_acknowledge(std::uint64_t sequence);  // writes here, where no write is under way
  void send(v1::ToAgent message);
  void refuse(const std::string& reason);  // says why, then ends the stream
  void close(grpc::Status status);

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  bool on_report(const v1::Report& message);
  void on_same(const v1::SameReport& message);
  void on_counters(const v1::CounterSample& message);
  void first_report(Report report);
  template <class Task>
  void on_strand(Task task);         // later, under the lock
  void pump();                       // under the lock
  void finish(grpc::Status status);  // under the lock

  Context& x_context;
  AgentRegistry& x_registry;
  Acknowledger& x_acknowledger;
  LaunchRelay& x_relay;
  const Identity x_identity;
  std::string x_node, x_epoch;
  Heartbeat x_heartbeat;
  std::string x_sealing_key;  // on the strand: of the newest report
  v1::FromAgent x_in;         // of the read under way
  TimeMs x_counted_ms = 0;    // when the last sample was taken

  // What takes long, and what comes from within a call that holds the lock.
  boost::asio::strand<boost::asio::thread_pool::executor_type> x_strand;
  std::mutex x_mutex;  // of what follows, but the last
  std::optional<v1::ToAgent> x_orders, x_acknowledge;
  std::deque<v1::ToAgent> x_others;
  v1::ToAgent x_out;  // of the write under way
  bool x_writing = false, x_finished = false;
  std::optional<grpc::Status> x_finish_after;  // once all is written
  std::shared_ptr<AgentStream> x_self;
};

}  // namespace trainyard::controller
