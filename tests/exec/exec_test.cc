// trainyard-exec, as the agent starts it: what comes out, and that nothing is left whatever ends it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "agent/exec/cgroup.h"
#include "agent/exec/exec_frames.h"
#include "agent/exec/files.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;

namespace {

// The supervisor with the test at the agent's end of it.
class Supervised {
 public:
  explicit Supervised(const std::string& command, bool terminal = false, const std::string& cgroup = {}) {
    int in[2], out[2];
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    x_pid = ::fork();
    if (x_pid == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      const std::string program = std::string(TEST_PROGRAMS) + "/trainyard-exec";
      ::execl(program.c_str(), "trainyard-exec", nullptr);
      ::_exit(126);
    }
    ::close(in[0]);
    ::close(out[1]);
    x_to.reset(in[1]);
    x_from.reset(out[0]);
    ExecSpec spec;
    spec.process.argv = {"/bin/bash", "-c", command};
    spec.process.environment = {{"PATH", "/usr/bin:/bin"}, {"BYTES", "\xff\xfe"}};
    spec.process.working_directory = "/";
    spec.process.cgroup = cgroup;
    spec.terminal = terminal;
    spec.rows = 7;
    spec.columns = 70;
    send(Frame::kOrder, to_text(spec));
  }
  ~Supervised() {
    x_to.reset();
    x_from.reset();
    if (x_pid > 0) ::waitpid(x_pid, nullptr, 0);
  }

  void send(Frame::Kind kind, const std::string& data = {}) {
    const std::string bytes = frame(kind, data);
    REQUIRE(write_fully(x_to.get(), bytes.data(), bytes.size()));
  }
  // Takes frames until `enough` says so, or its end.
  template <class Enough>
  void read(Enough enough) {
    char piece[65536];
    while (!enough()) {
      if (const auto found = x_frames.next()) {
        if (found->kind == Frame::kOut) out += found->data;
        if (found->kind == Frame::kErr) err += found->data;
        if (found->kind == Frame::kFailed) failed = found->data;
        if (found->kind == Frame::kEnded) exit_code = std::stoi(found->data);
        began = began || found->kind == Frame::kBegan;
        continue;
      }
      const ssize_t got = ::read(x_from.get(), piece, sizeof piece);
      if (got <= 0) return;
      x_frames.feed({piece, static_cast<std::size_t>(got)});
    }
  }
  void read_all() {
    read([] { return false; });
  }
  int pid() const { return x_pid; }
  void hang_up() {
    x_to.reset();
    int status = 0;
    REQUIRE(::waitpid(std::exchange(x_pid, 0), &status, 0) > 0);
  }

  std::string out, err, failed;
  int exit_code = -1;
  bool began = false;

 private:
  int x_pid = 0;
  UniqueFd x_to, x_from;
  FrameReader x_frames;
};

bool have_cgroups() {
  if (::geteuid() == 0 && find_cgroup2_root()) return true;
  WARN("skipped: needs root and a cgroup2 mount");
  return false;
}

std::string new_cgroup() {
  const std::string path = *find_cgroup2_root() + "/trainyard-test/exec-" + std::to_string(::getpid());
  REQUIRE(Cgroup(path).create().ok());
  return path;
}

}  // namespace

TEST_CASE("frames come out whole, however their bytes come in") {
  const std::string big(300'000, 'x');
  const std::string bytes = frame(Frame::kOut, "abc") + frame(Frame::kFinish) + frame(Frame::kErr, big);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{65'536}, bytes.size()}) {
    FrameReader reader;
    std::vector<Frame> found;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      reader.feed(std::string_view(bytes).substr(at, piece));
      while (auto one = reader.next()) found.push_back(*one);
    }
    REQUIRE(found.size() == 3);
    CHECK((found[0].kind == Frame::kOut && found[0].data == "abc"));
    CHECK((found[1].kind == Frame::kFinish && found[1].data.empty()));
    CHECK((found[2].kind == Frame::kErr && found[2].data == big));
  }
  FrameReader reader;
  reader.feed("HTTP/1.1 400 Bad Request");
  CHECK_FALSE(reader.next());
  CHECK(reader.broken());
  CHECK_FALSE(exec_spec_from("no order").ok());
}

TEST_CASE("a command's input, outputs, environment and exit code") {
  Supervised command("cat; echo \"$BYTES\" >&2; exit 7");
  command.send(Frame::kInput, "from here, ");
  command.send(Frame::kInput, "in pieces");
  command.send(Frame::kFinish);
  command.read_all();
  CHECK(command.began);
  CHECK(command.out == "from here, in pieces");
  CHECK(command.err == "\xff\xfe\n");
  CHECK(command.exit_code == 7);
  Supervised killed("kill -9 $$");
  killed.read_all();
  CHECK(killed.exit_code == 137);
}

TEST_CASE("input that nobody reads holds up nothing but itself") {
  Supervised command("exec 0<&-; sleep 0.05; echo over");
  for (int i = 0; i < 40; ++i) command.send(Frame::kInput, std::string(64 * 1024, 'x'));
  command.read_all();
  CHECK(command.out == "over\n");
  CHECK(command.exit_code == 0);
}

TEST_CASE("all output comes before the end") {
  Supervised command("head -c 3000000 /dev/zero; exit 3");
  command.read_all();
  CHECK(command.out.size() == 3'000'000);
  CHECK(command.exit_code == 3);
}

TEST_CASE("a terminal has its size, and Ctrl-C ends what runs in it") {
  Supervised command("stty size; trap 'stty size; exit 5' INT; echo ready; while true; do sleep 0.1; done", true);
  command.read([&] { return command.out.find("ready") != std::string::npos; });
  CHECK(command.out.find("7 70\r\n") == 0);
  command.send(Frame::kSize, "8 80");
  command.send(Frame::kInput, "\x03");
  command.read_all();
  CHECK(command.out.find("8 80\r\n") != std::string::npos);
  CHECK(command.exit_code == 5);
}

TEST_CASE("what a command leaves running is killed at its end, and its cgroup is gone") {
  if (!have_cgroups()) return;
  const std::string cgroup = new_cgroup();
  Supervised command("setsid sleep 1000 & setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo started", false, cgroup);
  command.read_all();
  CHECK(command.out == "started\n");
  CHECK(command.exit_code == 0);
  CHECK_FALSE(Cgroup(cgroup).exists());
}

TEST_CASE("an agent that is gone takes its commands along, also those that listen to no signal") {
  if (!have_cgroups()) return;
  const std::string cgroup = new_cgroup();
  Supervised command("trap '' HUP TERM INT; setsid sleep 1000 & echo ready; sleep 1000", false, cgroup);
  command.read([&] { return command.out == "ready\n"; });
  CHECK(Cgroup(cgroup).pids().size() >= 2);
  command.hang_up();
  CHECK_FALSE(Cgroup(cgroup).exists());
}

TEST_CASE("why a command cannot be started is said") {
  Supervised command("true", false, "/sys/fs/cgroup/none");
  command.read_all();
  CHECK_FALSE(command.began);
  CHECK(command.failed.find("cannot join cgroup /sys/fs/cgroup/none") != std::string::npos);
}
