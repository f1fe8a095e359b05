#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <utility>

#include "agent/volumes/helper.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// A helper that runs beside the test; collects its output.
struct Talk {
  Talk(boost::asio::io_context& loop, std::vector<std::string> words) : io(loop) {
    words.insert(words.begin(), program("trainyard-helper"));
    HelperProcess::Handlers handlers;
    handlers.on_output = [this](const std::string& chunk) {
      output += chunk;
      if (!chunk.empty()) process->read_more();
    };
    handlers.on_end = [this](int code, std::string text) {
      exit_code = code;
      error = std::move(text);
    };
    auto started = HelperProcess::start(io, words, std::move(handlers));
    REQUIRE(started.ok());
    process = std::move(started).value();
    process->read_more();
  }
  bool over() const { return exit_code >= 0; }
  void finish() {
    process->write("finish\n", nullptr);
    REQUIRE(run_until(io, [&] { return over(); }));
  }

  boost::asio::io_context& io;
  std::shared_ptr<HelperProcess> process;
  std::string output, error;
  int exit_code = -2;
};

std::string numbered(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("following waits for the file, shows growth at once and stops at the end when told") {
  TempDir share;
  boost::asio::io_context io;
  Talk talk(io, {"read", "--follow", share.path(), "log"});
  run_until(
      io, [] { return false; }, 50);
  write_text(share / "log", "one\n");
  REQUIRE(run_until(io, [&] { return talk.output == "one\n"; }));
  append_text(share / "log", "two\n");
  REQUIRE(run_until(io, [&] { return talk.output == "one\ntwo\n"; }));
  append_text(share / "log", "last\n");
  talk.finish();
  CHECK(talk.output == "one\ntwo\nlast\n");
  CHECK(talk.exit_code == 0);

  Talk later(io, {"read", "--follow", "--offset", "4", share.path(), "log"});
  later.finish();
  CHECK(later.output == "two\nlast\n");

  Talk missing(io, {"read", "--follow", share.path(), "none"});
  missing.finish();
  CHECK(missing.exit_code == 2);
}

TEST_CASE("a file whose directories are made later is seen at once, not at the next look") {
  // Looking again takes 150 ms here each time; one time in ten without a hiccup of the machine is enough.
  auto quickest = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 10 && quickest > std::chrono::milliseconds(75); ++i) {
    TempDir share;
    boost::asio::io_context io;
    Talk talk(io, {"read", "--follow", share.path(), "logs/job/stdouterr/log"});
    run_until(
        io, [] { return false; }, 50);
    const auto start = std::chrono::steady_clock::now();
    std::filesystem::create_directories(share / "logs/job/stdouterr");
    write_text(share / "logs/job/stdouterr/log", "one\n");
    REQUIRE(run_until(io, [&] { return talk.output == "one\n"; }));
    quickest = std::min(quickest, std::chrono::steady_clock::now() - start);
    talk.finish();
  }
  CHECK(quickest <= std::chrono::milliseconds(75));
}

TEST_CASE("following goes on with the next attempt's file") {
  TempDir share;
  boost::asio::io_context io;
  write_text(share / "log", "old\n");
  Talk talk(io, {"read", "--follow", share.path(), "log"});
  REQUIRE(run_until(io, [&] { return talk.output == "old\n"; }));
  std::filesystem::rename(share / "log", share / "log.1");
  append_text(share / "log.1", "end of old\n");
  write_text(share / "log", "new\n");
  REQUIRE(run_until(io, [&] { return talk.output == "old\nend of old\nnew\n"; }));
  talk.finish();
  CHECK(talk.exit_code == 0);
}

TEST_CASE("output reaches its share within milliseconds, from several files, also ones that come later") {
  TempDir share, spool;
  boost::asio::io_context io;
  write_text(spool / "stdout", "");
  Talk talk(io, {"ship-log", share.path(), spool / "stdout", "j/stdout.txt", spool / "stderr", "j/stderr.txt"});
  REQUIRE(run_until(io, [&] { return std::filesystem::exists(share / "j/stdout.txt"); }));
  REQUIRE(run_until(io, [&] { return std::filesystem::exists(share / "j/stderr.txt"); }));  // also what stays empty
  const auto start = std::chrono::steady_clock::now();
  append_text(spool / "stdout", "hello\n");
  REQUIRE(eventually([&] { return read_text(share / "j/stdout.txt") == "hello\n"; }));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(150));
  write_text(spool / "stderr", "late\n");
  REQUIRE(eventually([&] { return read_text(share / "j/stderr.txt") == "late\n"; }));
  append_text(spool / "stdout", numbered(0, 100'000));
  talk.finish();
  CHECK(talk.exit_code == 0);
  CHECK((read_text(share / "j/stdout.txt") == "hello\n" + numbered(0, 100'000)));
}

TEST_CASE("a shipper killed at any time is followed by one that loses and doubles nothing") {
  TempDir share, spool;
  boost::asio::io_context io;
  std::string expected;
  for (int round = 0; round < 15; ++round) {
    Talk talk(io, {"ship-log", share.path(), spool / "stdout", "stdout.txt"});
    const std::string more = numbered(round * 20'000, (round + 1) * 20'000);
    append_text(spool / "stdout", more);
    expected += more;
    run_until(
        io, [] { return false; }, round * 3);
    ::kill(talk.process->pid(), SIGKILL);
    REQUIRE(run_until(io, [&] { return talk.over(); }));
  }
  // Two at once: the one of the agent's former life may still be there.
  Talk one(io, {"ship-log", share.path(), spool / "stdout", "stdout.txt"});
  Talk two(io, {"ship-log", share.path(), spool / "stdout", "stdout.txt"});
  append_text(spool / "stdout", "end\n");
  one.finish();
  ::kill(two.process->pid(), SIGTERM);
  REQUIRE(run_until(io, [&] { return two.over(); }));
  CHECK(two.exit_code == 0);
  CHECK((read_text(share / "stdout.txt") == expected + "end\n"));
}

TEST_CASE("a shipper whose agent died ends by itself") {
  TempDir share, spool;
  boost::asio::io_context io;
  write_text(spool / "stdout", "all\n");
  Talk talk(io, {"ship-log", share.path(), spool / "stdout", "stdout.txt"});
  talk.process->close_input();
  REQUIRE(run_until(io, [&] { return talk.over(); }));
  CHECK(talk.exit_code == 0);
  CHECK(read_text(share / "stdout.txt") == "all\n");
}

TEST_CASE("writing into a helper that is gone fails that write only") {
  boost::asio::io_context io;
  TempDir share;
  Talk talk(io, {"list", share.path(), "."});
  REQUIRE(run_until(io, [&] { return talk.over(); }));
  int written = -1;
  talk.process->write(std::string(1'000'000, 'x'), [&](bool ok) { written = ok ? 1 : 0; });
  REQUIRE(run_until(io, [&] { return written >= 0; }));
  CHECK(written == 0);
}
