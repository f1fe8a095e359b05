// The agent's core and the file servers that it runs.
#include "tests/agent/core_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;

namespace {

FileServerOrder server(std::uint64_t id, bool remove = false) {
  return {id, "g/w/nfs" + std::to_string(id), 1 << 30, remove};
}
Orders with_servers(std::uint64_t revision, std::vector<FileServerOrder> servers) {
  Orders ordered = orders(revision);
  ordered.file_servers = std::move(servers);
  return ordered;
}
FileServerUp up(std::uint64_t id) {
  return {id, "10.0.0.5", "/srv/" + std::to_string(id), 2049};
}
std::size_t count_of_serve(const Node& node) {
  std::size_t count = 0;
  for (const Action& action : node.actions) count += std::holds_alternative<ServeFiles>(action) ? 1 : 0;
  return count;
}
const FileServerReport& reported(const Node& node, std::uint64_t id) {
  return node.core->file_servers().at(id).report;
}

}  // namespace

TEST_CASE("an ordered file server is started once, and its report says how it is") {
  Node node;
  node.step(OrdersArrived{with_servers(1, {server(7)})});
  REQUIRE(node.did<ServeFiles>() != nullptr);
  CHECK(node.did<ServeFiles>()->order == server(7));
  CHECK(node.did<SendReport>()->report.file_servers ==
        std::vector<FileServerReport>{{.id = 7, .state = FileServerState::starting}});
  node.step(OrdersArrived{with_servers(1, {server(7)})});
  node.step(OrdersArrived{with_servers(2, {server(7)})});
  CHECK(node.did<ServeFiles>() == nullptr);
  node.step(up(7));
  CHECK(node.did<SendReport>()->report.file_servers ==
        std::vector<FileServerReport>{{7, FileServerState::serving, "10.0.0.5", "/srv/7", "", 2049}});
  node.step(up(8));  // of nobody
  CHECK(node.core->file_servers().size() == 1);
}

TEST_CASE("a server that ended is started again, after a pause that grows until it stays up") {
  Node node;
  node.step(OrdersArrived{with_servers(1, {server(7)})});
  node.step(up(7));
  TimeMs pause = 1'000;
  for (int time = 0; time < 8; ++time) {
    node.step(FileServerDown{7, "ended by signal 9"});
    CHECK(node.did<SendReport>()->report.file_servers.front().state == FileServerState::failed);
    CHECK(node.did<SendReport>()->report.file_servers.front().error_message == "ended by signal 9");
    node.now += pause - 1;
    node.step(Tick{});
    CHECK(node.did<ServeFiles>() == nullptr);
    CHECK(node.core->next_deadline() <= node.now + 1);
    node.now += 1;
    node.step(Tick{});
    CHECK(node.did<ServeFiles>() != nullptr);
    CHECK(reported(node, 7).state == FileServerState::failed);  // until it serves again
    node.step(Tick{});
    CHECK(node.did<ServeFiles>() == nullptr);
    node.step(up(7));
    pause = std::min<TimeMs>(pause * 2, 60'000);
  }
  CHECK(pause == 60'000);
  node.now += 60'000;
  node.step(FileServerDown{7, "once more"});
  node.now += 1'000;
  node.step(Tick{});
  CHECK(node.did<ServeFiles>() != nullptr);
}

TEST_CASE("files are removed only when that is ordered, and reported until they are") {
  Node node;
  node.step(OrdersArrived{with_servers(1, {server(7), server(8)})});
  node.step(up(7));
  node.step(up(8));
  node.step(OrdersArrived{with_servers(2, {server(7, true), server(8)})});
  REQUIRE(node.did<RemoveFileServer>() != nullptr);
  CHECK(node.did<RemoveFileServer>()->order.id == 7);
  CHECK(node.did<SendReport>()->report.file_servers.front().state == FileServerState::stopping);
  node.step(up(7));  // a late outcome
  CHECK(reported(node, 7).state == FileServerState::stopping);
  node.step(FileServerRemoved{7, "its disk is not mounted"});
  CHECK(node.did<SendReport>()->report.file_servers.front().error_message == "its disk is not mounted");
  node.now += 1'000;
  node.step(Tick{});
  REQUIRE(node.did<RemoveFileServer>() != nullptr);
  node.step(FileServerRemoved{7});
  REQUIRE(node.did<SendReport>()->report.file_servers.size() == 1);
  CHECK(node.did<SendReport>()->report.file_servers.front().id == 8);
  node.step(OrdersArrived{with_servers(2, {server(7, true), server(8)})});
  CHECK(node.did<RemoveFileServer>() == nullptr);

  node.step(OrdersArrived{with_servers(3, {})});
  CHECK(node.did<RemoveFileServer>() == nullptr);
  REQUIRE(node.did<EndOtherFileServers>() != nullptr);
  CHECK(node.did<EndOtherFileServers>()->ordered.empty());
  CHECK(node.did<SendReport>()->report.file_servers.empty());
}

TEST_CASE("a restarted agent touches nothing before it has orders, then takes up what is ordered and ends the rest") {
  Node node;
  node.step(OrdersArrived{with_servers(1, {server(7)})});
  node.step(up(7));
  node.restart();
  CHECK(node.actions.empty());
  node.connect();
  CHECK(node.did<EndOtherFileServers>() == nullptr);
  node.step(OrdersArrived{with_servers(1, {server(7)})});
  CHECK(count_of_serve(node) == 1);
  REQUIRE(node.did<EndOtherFileServers>() != nullptr);
  CHECK(node.did<EndOtherFileServers>()->ordered == std::set<std::uint64_t>{7});
  CHECK(position<PersistOrders>(node.actions) == node.actions.size());  // nothing new to keep
  node.restart();
  node.connect();
  node.step(OrdersArrived{with_servers(2, {server(7, true)})});  // it was removed in an earlier life, perhaps
  CHECK(node.did<RemoveFileServer>() != nullptr);
}

TEST_CASE("orders of an older revision or another life of the node change no file server") {
  Node node;
  node.step(OrdersArrived{with_servers(5, {server(7)})});
  node.step(OrdersArrived{with_servers(4, {server(7, true)})});
  CHECK(node.did<RemoveFileServer>() == nullptr);
  Orders foreign = with_servers(6, {server(7, true)});
  foreign.node_epoch = "e0";
  node.step(OrdersArrived{foreign});
  CHECK(node.did<RemoveFileServer>() == nullptr);
  CHECK(node.core->file_servers().size() == 1);
}
