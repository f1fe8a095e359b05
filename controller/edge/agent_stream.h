// One agent's Connect stream. Its reads run on gRPC's threads, one at a time; everything that is sent goes through the
// stream's strand, one write at a time, and only the newest unsent orders and acknowledgement are kept.
#pragma once

#include <deque>
#include <optional>

#include "controller/edge/context.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::controller {

class AgentRegistry;
class LaunchRelay;

class AgentStream : public grpc::ServerBidiReactor<v1::FromAgent, v1::ToAgent>,
                    public std::enable_shared_from_this<AgentStream> {
 public:
  AgentStream(Context& context, AgentRegistry& registry, LaunchRelay& relay, Identity identity);
  // Lives from here until gRPC is done with it.
  void start();

  // Set by the first report, before the stream is registered; never changed after.
  const std::string& node() const { return x_node; }
  const std::string& epoch() const { return x_epoch; }
  const Identity& identity() const { return x_identity; }

  // From any thread.
  void send_orders(const Orders& orders);
  void send_acknowledge(std::uint64_t sequence);
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
  void first_report(Report report);
  template <class Task>
  void on_strand(Task task);
  void pump();                       // strand
  void finish(grpc::Status status);  // strand

  Context& x_context;
  AgentRegistry& x_registry;
  LaunchRelay& x_relay;
  const Identity x_identity;
  std::string x_node, x_epoch;
  std::string x_sealing_key;  // on the strand: of the newest report
  v1::FromAgent x_in;         // of the read under way

  boost::asio::strand<boost::asio::thread_pool::executor_type> x_strand;
  std::optional<v1::ToAgent> x_orders, x_acknowledge;
  std::deque<v1::ToAgent> x_others;
  v1::ToAgent x_out;  // of the write under way
  bool x_writing = false, x_finished = false;
  std::optional<grpc::Status> x_finish_after;  // once all is written
  std::shared_ptr<AgentStream> x_self;
};

}  // namespace trainyard::controller
