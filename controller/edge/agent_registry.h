// Which agents have a stream now. Owned by the loop's thread: everything here is called there (from the outbox or a
// query), except remove_later. Keyed by name and epoch, so that a second agent of a name never gets the first one's
// orders; of one life only the newest stream counts.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controller/edge/agent_stream.h"

namespace trainyard::controller {

class AgentRegistry {
 public:
  explicit AgentRegistry(Context& context) : x_context(context) {}

  void add(const std::shared_ptr<AgentStream>& stream);
  std::shared_ptr<AgentStream> find(const std::string& node, const std::string& epoch) const;
  // The stream of the life that the node's row knows; null: not connected.
  std::shared_ptr<AgentStream> find(const core::State& state, const std::string& node) const;
  // Connected agents of reachable nodes: `preferred` first, the others in turn from call to call.
  std::vector<std::shared_ptr<AgentStream>> reachable(const core::State& state, const std::string& preferred);
  // Any thread. Removes the stream unless a newer one took its place.
  void remove_later(std::shared_ptr<AgentStream> stream);
  void close_all(const grpc::Status& status);
  // From now on the edge may renew the lease of the stream's node by itself; not while two agents claim its name.
  void settle(AgentStream& stream, std::uint64_t orders_revision);
  // Of the streams there are and of those that were since the last call.
  std::vector<core::NodeHeard> take_heard(TimeMs now_ms);

 private:
  using Key = std::pair<std::string, std::string>;  // name, epoch
  Context& x_context;
  std::map<Key, std::shared_ptr<AgentStream>> x_streams;
  void take_heard(AgentStream& stream, TimeMs now_ms);    // into x_heard
  std::size_t close_heartbeats(const std::string& node);  // of all epochs; how many streams these are

  std::size_t x_turn = 0;
  std::vector<core::NodeHeard> x_heard;  // not yet taken
};

}  // namespace trainyard::controller
