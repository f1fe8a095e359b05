// File servers that a storage node makes: where, what is said of them, and that nothing of one is forgotten.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {

const FileServerSpec kSpec{"Standard_DS2", 10, 2, "Premium_LRS", "none", "demo", ""};

Result<Subject> create(World& w, const std::string& name, const FileServerSpec& spec = kSpec) {
  return w.command(CreateFileServer{{"g", "w", name}, spec, "", ""});
}
Result<Subject> remove(World& w, const std::string& name) {
  return w.command(DeleteFileServer{{"g", "w", name}});
}
const FileServer* find(const World& w, const std::string& name) {
  auto found = w.state().file_server_by_path.find("g/w/" + name);
  return found == w.state().file_server_by_path.end() ? nullptr : &w.state().file_servers.at(found->second);
}
FileServerView seen(const World& w, const std::string& name) {
  return view(w.state(), *find(w, name));
}
std::uint64_t id_of(const World& w, const std::string& name) {
  return find(w, name)->id.value;
}

}  // namespace

TEST_CASE("a file server is creating until its node serves it, then it says how to mount it") {
  World w;
  w.nodes(1);
  PretendAgent& storage = w.storage_node("s1");
  storage.serves = false;
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  CHECK(seen(w, "nfs").provisioning_state == "creating");
  CHECK(seen(w, "nfs").reason == "storage node s1 makes it");
  CHECK(find(w, "nfs")->address.empty());
  const std::uint64_t id = id_of(w, "nfs");
  CHECK(w.orders("s1").file_servers == std::vector<FileServerOrder>{{id, "g/w/nfs", 20ULL << 30, false}});
  CHECK(w.orders("n1").file_servers.empty());

  w.now += 5'000;
  storage.serves = true;
  w.settle();
  CHECK(seen(w, "nfs").provisioning_state == "succeeded");
  CHECK(seen(w, "nfs").reason.empty());
  const FileServer& row = *find(w, "nfs");
  CHECK(row.node == "s1");
  CHECK(row.address == storage.inventory.address);
  CHECK(row.export_path == "/srv/" + std::to_string(id));
  CHECK(row.port == 2049);
  CHECK(row.state_changed_ms == row.created_ms + 5'000);
}

TEST_CASE("the same creation again is the same file server; another one of the name is refused") {
  World w;
  w.storage_node("s1");
  const auto first = create(w, "nfs");
  REQUIRE(first.ok());
  CHECK(create(w, "NFS")->id == first->id);
  w.settle();
  CHECK(create(w, "nfs")->id == first->id);
  FileServerSpec larger = kSpec;
  larger.disk_count = 3;
  CHECK(create(w, "nfs", larger).error().code == Code::already_exists);
  CHECK(w.state().file_servers.size() == 1);
}

TEST_CASE("without an export and a storage node both ways out are named, and why no node will do") {
  World w;
  w.nodes(1);
  const auto refused = create(w, "nfs");
  REQUIRE(refused.error().code == Code::failed_precondition);
  CHECK_THAT(refused.error().message, Contains("\"file_servers\" in the controller's configuration") &&
                                          Contains("file_server_directory") &&
                                          Contains("no storage node can make one. Add {\"name\":\"nfs\""));
  w.add_agent("s1").inventory.file_server_software = "none: ganesha.nfsd is not installed";
  w.storage_node("s2");
  w.cut("s2");
  w.wait(60'000);
  CHECK_THAT(create(w, "nfs").error().message, Contains("(s1: ganesha.nfsd is not installed; s2: does not answer)"));
  CHECK(w.state().file_servers.empty());
  CHECK(view(w.state(), w.node("s1"), w.now).note == "cannot make file servers: ganesha.nfsd is not installed");
  CHECK_THAT(view(w.state(), w.node("s2"), w.now).note, Contains("storage node: nfs-ganesha 4.3"));
}

TEST_CASE("the node with the fewest file servers makes the next one, the first by name among equals") {
  World w;
  w.storage_node("s2");
  w.storage_node("s1");
  for (const char* name : {"a", "b", "c", "d"}) REQUIRE(create(w, name).ok());
  const auto nodes = [&] {
    std::string all;
    for (const char* name : {"a", "b", "c", "d"}) all += find(w, name) ? find(w, name)->node : "-";
    return all;
  };
  CHECK(nodes() == "s1s2s1s2");
  w.settle();
  for (const char* name : {"a", "c"}) REQUIRE(remove(w, name).ok());
  w.settle();
  REQUIRE(create(w, "a").ok());
  REQUIRE(create(w, "c").ok());
  CHECK(nodes() == "s1s2s1s2");
}

TEST_CASE("what a node says of a file server is shown: it failed, why, and that it serves again") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  storage.serving_error = "there is no room for 20.0 GB";
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  CHECK(seen(w, "nfs").provisioning_state == "failed");
  CHECK(seen(w, "nfs").reason == "storage node s1: there is no room for 20.0 GB");
  w.restart_controller();
  CHECK(seen(w, "nfs").provisioning_state == "failed");
  storage.serving_error.clear();
  w.settle();
  CHECK(seen(w, "nfs").provisioning_state == "succeeded");
  CHECK(find(w, "nfs")->error.empty());
  storage.serving_error = "nfs-ganesha was ended by signal 9";
  w.settle();
  CHECK(seen(w, "nfs").provisioning_state == "failed");
  CHECK(find(w, "nfs")->address == storage.inventory.address);  // where it will be again
}

TEST_CASE("a restarted agent that looks for its server, and a late report, change nothing") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  const FileServer before = *find(w, "nfs");
  const Report late = storage.report();  // serving
  storage.file_servers.at(id_of(w, "nfs")).state = FileServerState::starting;
  w.report("s1");
  CHECK(*find(w, "nfs") == before);
  storage.file_servers.at(id_of(w, "nfs")) = {
      .id = before.id.value, .state = FileServerState::failed, .error_message = "ended"};
  w.report("s1");
  CHECK(seen(w, "nfs").provisioning_state == "failed");
  w.step(NodeReported{late});
  w.step(NodeReported{late});
  CHECK(seen(w, "nfs").provisioning_state == "failed");
  Report stranger = storage.report();
  stranger.file_servers.push_back({.id = 4711, .state = FileServerState::serving, .address = "10.0.0.9"});
  w.step(NodeReported{stranger});
  CHECK(w.state().file_servers.size() == 1);
}

TEST_CASE("a deleted file server is there until its node has removed it") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  const std::uint64_t id = id_of(w, "nfs");
  storage.removes = false;
  REQUIRE(remove(w, "nfs").ok());
  CHECK(seen(w, "nfs").provisioning_state == "deleting");
  CHECK(w.orders("s1").file_servers == std::vector<FileServerOrder>{{id, "g/w/nfs", 20ULL << 30, true}});
  REQUIRE(remove(w, "nfs").ok());  // again
  CHECK(create(w, "nfs").error().code == Code::already_exists);
  w.settle();
  w.restart_controller();
  w.settle();
  CHECK(seen(w, "nfs").reason == "storage node s1 removes its files");
  CHECK(storage.files.contains(id));
  storage.removes = true;
  w.settle();
  CHECK(find(w, "nfs") == nullptr);
  CHECK(w.orders("s1").file_servers.empty());
  CHECK(storage.files.empty());
  CHECK(remove(w, "nfs").error().code == Code::not_found);
  REQUIRE(create(w, "nfs").ok());
  CHECK(id_of(w, "nfs") != id);
}

TEST_CASE("absence counts only from a node that knows its newest orders") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  const Report before = storage.report();  // knows of no file server
  storage.connected = false;               // hears nothing of what follows
  REQUIRE(create(w, "nfs").ok());
  REQUIRE(remove(w, "nfs").ok());
  Report late = before;
  late.sequence = storage.sequence + 1;
  w.step(NodeReported{late});
  REQUIRE(find(w, "nfs") != nullptr);
  CHECK(seen(w, "nfs").provisioning_state == "deleting");
  storage.connected = true;
  w.settle();
  CHECK(find(w, "nfs") == nullptr);
}

TEST_CASE("a node that does not answer keeps its deleted file servers until it is back") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  w.cut("s1");
  w.wait(60'000);
  CHECK_THAT(seen(w, "nfs").reason, Contains("storage node s1 does not answer since 12:00:00: its files may be out"));
  REQUIRE(remove(w, "nfs").ok());
  w.wait(3'600'000);
  REQUIRE(find(w, "nfs") != nullptr);
  CHECK_THAT(seen(w, "nfs").reason, Contains("does not answer since 12:00:00") &&
                                        Contains("removed when the node is back") &&
                                        Contains("trainyard node fence -n s1 --confirmed-off"));
  SECTION("back, with all it had") {
    w.heal("s1");
    w.settle();
    CHECK(find(w, "nfs") == nullptr);
    CHECK(storage.files.empty());
  }
  SECTION("back from a reboot: its files are still there, and removed") {
    w.reboot("s1", "boot-2");
    w.settle();
    CHECK(find(w, "nfs") == nullptr);
    CHECK(storage.files.empty());
  }
  SECTION("an operator knows that it is off: forgotten, but the files are not removed later without an order") {
    REQUIRE(create(w, "other").error().code == Code::failed_precondition);
    REQUIRE(w.fence("s1").ok());
    CHECK(find(w, "nfs") == nullptr);
    w.reboot("s1", "boot-2");
    w.settle();
    CHECK(storage.file_servers.empty());
    CHECK(storage.files.size() == 1);
  }
}

TEST_CASE("a fence forgets only what was to go") {
  World w;
  w.storage_node("s1");
  REQUIRE(create(w, "kept").ok());
  REQUIRE(create(w, "gone").ok());
  w.settle();
  w.cut("s1");
  w.wait(60'000);
  REQUIRE(remove(w, "gone").ok());
  REQUIRE(w.fence("s1").ok());
  CHECK(find(w, "gone") == nullptr);
  CHECK(seen(w, "kept").provisioning_state == "succeeded");
}

TEST_CASE("a reboot of the node or a restart of the controller brings file servers back with the same files") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  const FileServer before = *find(w, "nfs");
  w.restart_controller();
  w.settle();
  CHECK(*find(w, "nfs") == before);
  w.reboot("s1", "boot-2");
  w.settle();
  CHECK(*find(w, "nfs") == before);
  CHECK(storage.file_servers.at(before.id.value).state == FileServerState::serving);
  w.restart_controller("generation-2");  // a restored database knows the same file servers
  w.settle();
  CHECK(*find(w, "nfs") == before);
}

TEST_CASE("workspace and group go when their file servers are gone, whatever these wait for") {
  World w;
  PretendAgent& storage = w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  REQUIRE(w.command(CreateFileServer{{"g", "w", "registered"}, kSpec, "10.0.0.5", "/srv/nfs"}).ok());
  w.settle();
  w.cut("s1");
  w.wait(60'000);
  SECTION("workspace") {
    REQUIRE(w.command(DeleteWorkspace{{"g", "w"}}).ok());
  }
  SECTION("group") {
    REQUIRE(w.command(DeleteGroup{"g"}).ok());
  }
  CHECK(find(w, "registered") == nullptr);
  REQUIRE(find(w, "nfs") != nullptr);
  CHECK(w.state().workspaces.size() == 1);
  CHECK(create(w, "late").error().code == Code::failed_precondition);
  w.restart_controller();
  w.heal("s1");
  w.settle();
  CHECK(w.state().workspaces.empty());
  CHECK(w.state().file_servers.empty());
  CHECK(w.state().node_file_servers.empty());
  CHECK(storage.files.empty());
}

TEST_CASE("file servers come and go beside jobs and clusters") {
  World w;
  w.running_job(2);
  w.storage_node("s1");
  REQUIRE(create(w, "nfs").ok());
  w.settle();
  w.head_exits("j", 0);
  REQUIRE(remove(w, "nfs").ok());
  w.settle();
  CHECK(w.job("j").state == JobState::succeeded);
  CHECK(find(w, "nfs") == nullptr);
}
