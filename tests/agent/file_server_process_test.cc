// The real agent with a real nfs-ganesha: what it serves, what ends a server and what does not, and that files go only
// when that is ordered.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "agent/exec/cgroup.h"
#include "tests/agent/scripted_controller.h"
#include "tests/agent/test_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;

namespace {

bool has_ganesha() {
  if (::geteuid() == 0 && ::access("/usr/bin/ganesha.nfsd", X_OK) == 0) return true;
  WARN("skipped: needs root and nfs-ganesha");
  return false;
}

struct Bench {
  ScriptedController controller;
  TestNode node{controller};

  FileServerReport server_where(const std::string& what, std::uint64_t id,
                                const std::function<bool(const FileServerReport&)>& wanted) {
    FileServerReport found;
    controller.report_where(what, [&](const Report& report) {
      for (const FileServerReport& server : report.file_servers) {
        if (server.id != id || !wanted(server)) continue;
        found = server;
        return true;
      }
      return false;
    });
    return found;
  }
  FileServerReport in_state(std::uint64_t id, FileServerState state) {
    return server_where(name_of(state), id, [state](const FileServerReport& server) { return server.state == state; });
  }
  static const char* name_of(FileServerState state) {
    return state == FileServerState::serving ? "serving" : "not serving";
  }
  std::vector<int> processes(std::uint64_t id) const {
    return Cgroup(node.cgroup_path() + "/file-server-" + std::to_string(id) + "/job").pids();
  }
  void none_listed() {
    controller.report_where("none", [](const Report& report) { return report.file_servers.empty(); });
  }
};

const FileServerOrder kServer{7, "g/w/nfs", 1 << 20};

}  // namespace

TEST_CASE("a file server has one process for as long as it is ordered, whatever happens to the agent") {
  if (!has_ganesha()) return;
  Bench bench;
  bench.controller.order_file_servers({kServer});
  const FileServerReport up = bench.in_state(7, FileServerState::serving);
  INFO(bench.node.log());
  CHECK(up.address == "127.0.0.1");
  CHECK(up.port >= 24049);
  CHECK(up.export_path == bench.node.files() + "/7/data");
  std::ofstream(up.export_path + "/kept") << "data";
  const auto first = bench.processes(7);
  REQUIRE(first.size() == 1);

  bench.node.restart(SIGKILL);
  CHECK(bench.in_state(7, FileServerState::serving) == up);
  CHECK(bench.processes(7) == first);

  bench.controller.forget_reports();
  ::kill(first.front(), SIGKILL);
  CHECK(bench.in_state(7, FileServerState::failed).error_message.starts_with("nfs-ganesha was ended by signal 9"));
  CHECK(bench.in_state(7, FileServerState::serving) == up);
  CHECK(bench.processes(7) != first);
  CHECK(content(up.export_path + "/kept") == "data");

  bench.node.kill(SIGKILL);  // both at once
  ::kill(bench.processes(7).front(), SIGKILL);
  bench.controller.forget_reports();
  bench.node.start();
  CHECK(bench.in_state(7, FileServerState::serving) == up);

  bench.controller.order_file_servers({{7, "g/w/nfs", 1 << 20, true}});
  bench.none_listed();
  CHECK(fs::is_empty(bench.node.files()));
  CHECK(fs::is_empty(bench.node.directory() + "/spool/file-servers"));
  bench.node.require_nothing_left();
}

TEST_CASE("a file server that is not listed any more ends, and is the same again when it is") {
  if (!has_ganesha()) return;
  Bench bench;
  bench.controller.order_file_servers({kServer, {8, "g/w/other", 0}});
  const FileServerReport up = bench.in_state(7, FileServerState::serving);
  CHECK(bench.in_state(8, FileServerState::serving).port != up.port);
  std::ofstream(up.export_path + "/kept") << "data";
  SECTION("while the agent lives") {
    bench.controller.order_file_servers({});
  }
  SECTION("while it is away") {
    bench.node.kill(SIGKILL);
    bench.controller.forget_reports();
    bench.node.start();
    bench.controller.order_file_servers({});
  }
  bench.none_listed();
  INFO(bench.node.log());
  CHECK(eventually([&] { return !Cgroup(bench.node.cgroup_path() + "/file-server-7").exists(); }));
  CHECK(content(up.export_path + "/kept") == "data");
  bench.controller.order_file_servers({kServer});
  CHECK(bench.in_state(7, FileServerState::serving) == up);
  CHECK(content(up.export_path + "/kept") == "data");
}

TEST_CASE("files of another file server with its number are neither served nor removed") {
  if (!has_ganesha()) return;
  Bench bench;
  bench.controller.order_file_servers({kServer});
  const FileServerReport up = bench.in_state(7, FileServerState::serving);
  std::ofstream(up.export_path + "/kept") << "data";
  bench.controller.order_file_servers({});
  bench.none_listed();
  bench.controller.order_file_servers({{7, "g/w/stranger", 0}});
  CHECK_THAT(bench.in_state(7, FileServerState::failed).error_message,
             Catch::Contains("the files of another file server, g/w/nfs"));
  bench.controller.forget_reports();
  bench.controller.order_file_servers({{7, "g/w/stranger", 0, true}});
  bench.server_where("the removal is refused", 7, [](const FileServerReport& server) {
    return server.error_message.find("they are left alone") != std::string::npos;
  });
  CHECK(content(up.export_path + "/kept") == "data");
}

TEST_CASE("a disk that is not mounted is an error, never an empty file server") {
  if (!has_ganesha()) return;
  Bench bench;
  bench.controller.order_file_servers({kServer});
  const FileServerReport up = bench.in_state(7, FileServerState::serving);
  std::ofstream(up.export_path + "/kept") << "data";
  bench.node.kill(SIGTERM);
  ::kill(bench.processes(7).front(), SIGKILL);
  const std::string away = bench.node.directory() + "/unmounted";
  fs::rename(bench.node.files(), away);
  fs::create_directories(bench.node.files());  // the mount point
  bench.controller.forget_reports();
  bench.node.start();
  CHECK_THAT(bench.in_state(7, FileServerState::failed).error_message, Catch::Contains("is its disk mounted?"));
  CHECK(fs::is_empty(bench.node.files()));
  fs::remove(bench.node.files());
  fs::rename(away, bench.node.files());
  CHECK(bench.in_state(7, FileServerState::serving) == up);
  CHECK(content(up.export_path + "/kept") == "data");
}

TEST_CASE("what does not fit is refused before anything is made") {
  if (!has_ganesha()) return;
  Bench bench;
  bench.controller.order_file_servers({{7, "g/w/nfs", 1ULL << 60}});
  CHECK_THAT(bench.in_state(7, FileServerState::failed).error_message, Catch::Contains("there is no room for"));
  CHECK(fs::is_empty(bench.node.files()));
}
