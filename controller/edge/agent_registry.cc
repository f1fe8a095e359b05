#include "controller/edge/agent_registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>

namespace trainyard::controller {

void AgentRegistry::add(const std::shared_ptr<AgentStream>& stream) {
  auto& place = x_streams[{stream->node(), stream->epoch()}];
  spdlog::info("node {} connected{}", stream->node(), place ? " again" : "");
  if (place) place->close({grpc::StatusCode::ABORTED, "a newer stream of this agent took over"});
  place = stream;
}

std::shared_ptr<AgentStream> AgentRegistry::find(const std::string& node, const std::string& epoch) const {
  const auto found = x_streams.find({node, epoch});
  return found == x_streams.end() ? nullptr : found->second;
}

std::shared_ptr<AgentStream> AgentRegistry::find(const core::State& state, const std::string& node) const {
  const auto id = state.node_by_name.find(node);
  if (id == state.node_by_name.end()) return nullptr;
  return find(node, state.nodes.at(id->second).epoch);
}

std::vector<std::shared_ptr<AgentStream>> AgentRegistry::reachable(const core::State& state,
                                                                   const std::string& preferred) {
  std::vector<std::shared_ptr<AgentStream>> streams;
  for (const auto& [key, stream] : x_streams) {
    const auto id = state.node_by_name.find(key.first);
    if (id == state.node_by_name.end()) continue;
    const core::Node& node = state.nodes.at(id->second);
    if (node.epoch == key.second && node.live.reachable) streams.push_back(stream);
  }
  if (!streams.empty()) {
    std::rotate(streams.begin(), streams.begin() + static_cast<std::ptrdiff_t>(x_turn++ % streams.size()),
                streams.end());
  }
  std::stable_partition(streams.begin(), streams.end(),
                        [&](const auto& stream) { return stream->node() == preferred; });
  return streams;
}

void AgentRegistry::remove_later(std::shared_ptr<AgentStream> stream) {
  const bool taken = x_context.loop.query([this, stream](const core::State&, TimeMs) {
    const auto found = x_streams.find({stream->node(), stream->epoch()});
    if (found == x_streams.end() || found->second != stream) return;
    spdlog::info("node {} disconnected", stream->node());
    x_streams.erase(found);
  });
  if (taken) return;
  // The inbox is full: a dead stream in the map does no harm meanwhile.
  auto timer = std::make_shared<boost::asio::steady_timer>(x_context.workers, std::chrono::milliseconds(200));
  timer->async_wait([this, timer, stream = std::move(stream)](boost::system::error_code error) {
    if (!error) remove_later(stream);
  });
}

void AgentRegistry::close_all(const grpc::Status& status) {
  for (const auto& [key, stream] : x_streams) stream->close(status);
  x_streams.clear();
}

}  // namespace trainyard::controller
