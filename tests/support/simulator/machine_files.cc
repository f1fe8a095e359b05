// Pretend file servers of a simulated machine: files that stay until they are removed, servers that die now and then.
#include <fmt/format.h>

#include "tests/support/simulator/machine.h"

namespace trainyard::simulator {

std::vector<std::uint64_t> Machine::serving() const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, work] : x_files) {
    if (work.serving) ids.push_back(id);
  }
  return ids;
}

void Machine::serve_files(const FileServerOrder& order) {
  const std::uint64_t id = order.id;
  const auto [at, fresh] = x_files.try_emplace(id, FilesWork{order.name});
  if (at->second.name != order.name)
    x_world.fail(fmt::format("F3: {} is to serve files of {}", order.name, at->second.name));
  if (fresh) x_oracle.files_made(x_index, x_name, id);
  const std::uint64_t serial = ++at->second.serial;
  // A restarted agent finds the server that runs, or starts it again.
  const DurationMs takes_ms = at->second.serving ? x_random.between(1, 50) : x_random.between(20, 2'000);
  agent_later(takes_ms, [this, id, serial] {
    const auto found = x_files.find(id);
    if (found == x_files.end() || found->second.serial != serial) return;
    if (!found->second.serving && x_random.chance(x_site.rates().file_server_fails)) {
      x_world.hit("fault file server does not start");
      return step(agent::FileServerDown{id, "as drawn"});
    }
    if (!found->second.serving) serving_begins(id);
    step(agent::FileServerUp{id, x_inventory.address, fmt::format("/srv/{}", id), 2049});
  });
}

void Machine::serving_begins(std::uint64_t id) {
  x_world.note("file server up", x_index, id);
  FilesWork& work = x_files.at(id);
  work.serving = true;
  if (!x_random.chance(x_site.rates().file_server_dies)) return;
  later(x_random.between(5'000, 300'000), [this, id, serial = work.serial] {
    const auto found = x_files.find(id);
    if (found == x_files.end() || found->second.serial != serial || !found->second.serving) return;
    x_world.hit("fault file server dies");
    found->second.serving = false;
    agent_later(x_random.between(0, 50), [this, id] { step(agent::FileServerDown{id, "ended by signal 9"}); });
  });
}

void Machine::remove_files(const FileServerOrder& order) {
  const std::uint64_t id = order.id;
  const auto at = x_files.try_emplace(id, FilesWork{order.name}).first;
  if (at->second.name != order.name)
    x_world.fail(fmt::format("F3: {} is to remove files of {}", order.name, at->second.name));
  const std::uint64_t serial = ++at->second.serial;
  const bool slow = x_random.chance(x_site.rates().slow_kill);
  agent_later(slow ? x_random.between(2'000, 60'000) : x_random.between(5, 800), [this, id, serial] {
    const auto found = x_files.find(id);
    if (found == x_files.end() || found->second.serial != serial) return;
    if (x_random.chance(x_site.rates().file_server_fails)) {
      x_world.hit("fault file server is not removed");
      return step(agent::FileServerRemoved{id, "as drawn"});
    }
    x_world.note("file server removed", x_index, id);
    x_files.erase(found);
    x_oracle.files_removed(x_index, id);
    step(agent::FileServerRemoved{id});
  });
}

void Machine::end_other_file_servers(const std::set<std::uint64_t>& ordered) {
  for (auto& [id, work] : x_files) {
    if (ordered.contains(id)) continue;
    const std::uint64_t serial = ++work.serial;
    agent_later(x_random.between(5, 800), [this, id = id, serial] {
      const auto found = x_files.find(id);
      if (found != x_files.end() && found->second.serial == serial) found->second.serving = false;
    });
  }
}

void Machine::servers_die() {
  for (auto& [id, work] : x_files) work.serving = false;
}

}  // namespace trainyard::simulator
