#include "agent/volumes/fuse_abort.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <memory>

#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

char state_of(int pid) {
  const std::string text = read_text("/proc/" + std::to_string(pid) + "/stat");
  const auto end = text.rfind(')');
  return end == std::string::npos ? '-' : text[end + 2];
}

}  // namespace

TEST_CASE("who hangs on a silent FUSE server cannot be killed, until its connection is aborted") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const TempDir place;
  // The abort is armed: the server, and with it the connection, ends after 60 seconds.
  const std::string command = "/usr/bin/python3 " TRAINYARD_SOURCE_DIR "/tests/support/isolation/silent_fuse.py ";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> server(::popen((command + place.path() + " 60").c_str(), "r"),
                                                               ::pclose);
  char line[64] = "";
  REQUIRE(std::fgets(line, sizeof line, server.get()) == std::string("mounted\n"));
  const auto mounts = fuse_mounts_under(place.path());
  REQUIRE(mounts.size() == 1);
  CHECK(mounts[0].mount_point == place.path());
  CHECK(fuse_mounts_under(place / "other").empty());
  const int child = ::fork();
  if (child == 0) ::_exit(::access((place / "hang").c_str(), F_OK) == 0 ? 0 : 1);
  REQUIRE(std::fgets(line, sizeof line, server.get()) == std::string("asked\n"));
  ::kill(child, SIGKILL);
  CHECK(eventually([&] { return state_of(child) == 'D'; }));
  CHECK(::waitpid(child, nullptr, WNOHANG) == 0);
  CHECK(abort_fuse_under(place.path()) == std::vector<std::string>{place.path()});
  CHECK(eventually([&] { return ::waitpid(child, nullptr, WNOHANG) == child; }));
  CHECK(abort_fuse(mounts[0].connection).ok());  // also when it is over
  CHECK(::umount2(place.path().c_str(), MNT_DETACH) == 0);
  CHECK(abort_fuse(mounts[0].connection).ok());  // and gone
}
