#include "agent/loop/nfs_servers.h"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>

namespace trainyard::agent {

std::shared_ptr<NfsServer> NfsServers::server(std::uint64_t id) {
  auto& found = x_servers[id];
  if (!found) found = std::make_shared<NfsServer>(x_context, id, NfsServer::Events{x_events.up, x_events.down});
  return found;
}

void NfsServers::serve(const FileServerOrder& order) {
  if (!x_ending.contains(order.id)) return server(order.id)->serve(order);
  boost::asio::post(x_context.io, [this, id = order.id] { x_events.down({id, "its earlier server is still ending"}); });
}

void NfsServers::remove(const FileServerOrder& order) {
  const std::uint64_t id = order.id;
  const auto refused = [this, id](const std::string& error) {
    boost::asio::post(x_context.io, [this, id, error] { x_events.removed({id, error}); });
  };
  if (x_ending.contains(id)) return refused("its server is still ending");
  const auto ending = server(id);
  if (const auto checked = ending->check_removable(order); !checked) return refused(checked.error().message);
  x_ending.insert(id);
  spdlog::info("file server {}: it ends, and its files are removed", order.name);
  ending->end(true, [this, id] {
    x_ending.erase(id);
    x_servers.erase(id);
    x_events.removed({id});
  });
}

void NfsServers::end_others(const std::set<std::uint64_t>& ordered) {
  std::set<std::uint64_t> others;
  for (const std::uint64_t id : file_servers_running(x_context)) others.insert(id);
  for (const auto& [id, known] : x_servers) others.insert(id);
  for (const std::uint64_t id : others) {
    if (ordered.contains(id) || !x_ending.insert(id).second) continue;
    spdlog::info("file server {}: it ends, it is not ordered any more; its files stay", id);
    server(id)->end(false, [this, id] {
      x_ending.erase(id);
      x_servers.erase(id);
    });
  }
}

}  // namespace trainyard::agent
