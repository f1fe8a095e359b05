#include "controller/edge/agent_registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>

namespace trainyard::controller {

std::size_t AgentRegistry::close_heartbeats(const std::string& node) {
  std::size_t streams = 0;
  for (auto it = x_streams.lower_bound({node, ""}); it != x_streams.end() && it->first.first == node; ++it) {
    it->second->heartbeat().close();
    ++streams;
  }
  return streams;
}

void AgentRegistry::settle(AgentStream& stream, std::uint64_t orders_revision) {
  if (close_heartbeats(stream.node()) == 1) stream.heartbeat().open(x_context.loop.now_ms(), orders_revision);
}

void AgentRegistry::add(const std::shared_ptr<AgentStream>& stream) {
  close_heartbeats(stream->node());
  auto& place = x_streams[{stream->node(), stream->epoch()}];
  spdlog::info("node {} connected{}", stream->node(), place ? " again" : "");
  if (place) {
    take_heard(*place, x_context.loop.now_ms());
    place->close({grpc::StatusCode::ABORTED, "a newer stream of this agent took over"});
  }
  place = stream;
}

void AgentRegistry::take_heard(AgentStream& stream, TimeMs now_ms) {
  if (const auto at_ms = stream.heartbeat().take(now_ms)) x_heard.push_back({stream.node(), stream.epoch(), *at_ms});
}

std::vector<core::NodeHeard> AgentRegistry::take_heard(TimeMs now_ms) {
  for (const auto& [key, stream] : x_streams) take_heard(*stream, now_ms);
  return std::exchange(x_heard, {});
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
    stream->heartbeat().close();
    take_heard(*stream, x_context.loop.now_ms());
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
