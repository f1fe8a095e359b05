// What a job says of its progress, and what it may not make the agent do.
#include "agent/exec/progress.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "agent/exec/files.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

TEST_CASE("one line of whole numbers is taken, everything else is nothing") {
  const TempDir folder;
  const std::string file = folder / "progress.json";
  CHECK_FALSE(read_progress(file));
  const auto of = [&](const std::string& text) {
    REQUIRE(write_file_atomically(file, text, 0600));
    return read_progress(file);
  };
  CHECK(of("{\"step\": 1200, \"steps\": 5000, \"checkpoint\": 1000}\n") == Progress{1200, 5000, 1000});
  CHECK(of("{\"step\": 7}") == Progress{7, 0, 0});
  CHECK(of("{\"step\": -7, \"steps\": \"many\"}") == Progress{0, 0, 0});
  for (const std::string bad : {"", "{", "7", "[1]", "{\"steps\": 7}"}) CHECK_FALSE(of(bad));
  CHECK_FALSE(of("{\"step\": 1, \"x\": \"" + std::string(2'000, 'x') + "\"}"));
}

TEST_CASE("a link is not followed, and a pipe is not waited for") {
  const TempDir folder;
  const std::string file = folder / "progress.json", other = folder / "other";
  REQUIRE(write_file_atomically(other, "{\"step\": 7}", 0600));
  REQUIRE(::symlink(other.c_str(), file.c_str()) == 0);
  CHECK_FALSE(read_progress(file));
  REQUIRE(::unlink(file.c_str()) == 0);
  REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
  CHECK_FALSE(read_progress(file));
}
