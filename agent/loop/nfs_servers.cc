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
  if (x_ending.contains(order.id)) {
    x_after_end[order.id] = [this, order] { serve(order); };
  } else {
    server(order.id)->serve(order);
  }
}

void NfsServers::remove(const FileServerOrder& order) {
  const std::uint64_t id = order.id;
  if (x_ending.contains(id)) {
    x_after_end[id] = [this, order] { remove(order); };
    return;
  }
  const auto removed = server(id);
  if (const auto checked = removed->check_removable(order); !checked) {
    boost::asio::post(x_context.io, [this, id, error = checked.error().message] { x_events.removed({id, error}); });
    return;
  }
  spdlog::info("file server {}: it ends, and its files are removed", order.name);
  end(id, true, [this, id] { x_events.removed({id}); });
}

void NfsServers::end_others(const std::set<std::uint64_t>& ordered) {
  std::set<std::uint64_t> others;
  for (const std::uint64_t id : file_servers_running(x_context)) others.insert(id);
  for (const auto& [id, known] : x_servers) others.insert(id);
  for (const std::uint64_t id : others) {
    if (ordered.contains(id)) continue;
    x_after_end.erase(id);
    if (x_ending.contains(id)) continue;
    spdlog::info("file server {}: it ends, it is not ordered any more; its files stay", id);
    end(id, false, [] {});
  }
}

void NfsServers::end(std::uint64_t id, bool remove, std::function<void()> done) {
  x_ending.insert(id);
  server(id)->end(remove, [this, id, done = std::move(done)] {
    x_ending.erase(id);
    x_servers.erase(id);
    done();
    if (auto next = x_after_end.extract(id)) next.mapped()();
  });
}

}  // namespace trainyard::agent
