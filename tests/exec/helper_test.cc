#include "agent/volumes/helper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <utility>

#include "agent/exec/files.h"
#include "agent/volumes/helper_main.h"
#include "agent/volumes/mounter.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

HelperResult helper(std::vector<std::string> words, const std::string& input = {}, DurationMs deadline_ms = 10'000) {
  boost::asio::io_context io;
  std::optional<HelperResult> result;
  words.insert(words.begin(), program("trainyard-helper"));
  run_helper(io, words, input, deadline_ms, [&](HelperResult got) { result = std::move(got); });
  CHECK_FALSE(result.has_value());
  REQUIRE(run_until(
      io, [&] { return result.has_value(); }, static_cast<int>(deadline_ms) + 5000));
  return *result;
}

Code code_of(const HelperResult& result) {
  return code_of_helper_exit(result.exit_code);
}

bool is_root() {
  if (::geteuid() == 0) return true;
  std::printf("skipped: needs root\n");
  return false;
}

// A mount whose server never answers: whoever touches it hangs.
class SilentMount {
 public:
  explicit SilentMount(const std::string& target) : x_target(target) {
    x_fd = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!x_fd.valid()) return;
    const std::string options = "fd=" + std::to_string(x_fd.get()) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
    x_mounted = ::mount("silent", target.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
  }
  ~SilentMount() {
    ::umount2(x_target.c_str(), MNT_DETACH);
    x_fd.reset();  // frees who hangs
  }
  bool mounted() const { return x_mounted; }

 private:
  std::string x_target;
  UniqueFd x_fd;
  bool x_mounted = false;
};

}  // namespace

TEST_CASE("files of a share: made, written, listed, read, deleted") {
  TempDir share;
  CHECK(helper({"mkdir", share.path(), "a/b", "a"}).output == "created\nexists\n");
  const std::string text(300'000, 'x');
  CHECK(helper({"write", share.path(), "a/f"}, write_frame(text) + write_frame("yz") + kFinishFrame).output ==
        "300002\n");
  CHECK((helper({"read", "--offset", "299999", share.path(), "/a/f"}).output == "xyz"));
  CHECK(helper({"write", "--mode", "755", share.path(), "a/f"}, write_frame("new") + kFinishFrame).exit_code == 0);
  struct stat about {};
  REQUIRE(::stat((share / "a/f").c_str(), &about) == 0);
  CHECK((about.st_mode & 07777) == 0755);
  const std::string listing = helper({"list", share.path(), "a"}).output;
  CHECK(listing.find("\"name\":\"b\"") < listing.find("\"name\":\"f\""));
  CHECK(listing.find("\"size\":3") != std::string::npos);
  CHECK(helper({"delete", share.path(), "a/f"}).exit_code == 0);
  CHECK(helper({"delete", share.path(), "a/b"}).exit_code == 0);
  CHECK(helper({"list", share.path(), "a"}).output.empty());
}

TEST_CASE("an upload that breaks off changes nothing and leaves nothing") {
  TempDir share;
  write_text(share / "f", "old");
  CHECK(helper({"write", share.path(), "f"}, write_frame("half")).exit_code != 0);
  CHECK(helper({"write", share.path(), "f"}, "100\nshort").exit_code != 0);
  CHECK(helper({"write", share.path(), "f"}, "garbage").exit_code != 0);
  CHECK(read_text(share / "f") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(share.path()), {}) == 1);
}

TEST_CASE("each complaint has its code") {
  TempDir share;
  write_text(share / "f", "");
  std::filesystem::create_directories(share / "d/e");
  CHECK(code_of(helper({"read", share.path(), "none"})) == Code::not_found);
  CHECK(code_of(helper({"list", share.path(), "none"})) == Code::not_found);
  CHECK(code_of(helper({"list", share.path(), "f"})) == Code::failed_precondition);
  CHECK(code_of(helper({"read", share.path(), "d"})) == Code::failed_precondition);
  CHECK(code_of(helper({"delete", share.path(), "d"})) == Code::failed_precondition);
  CHECK(code_of(helper({"delete", share.path(), "."})) == Code::invalid_argument);
  CHECK(code_of(helper({"write", share.path(), "d"}, kFinishFrame)) == Code::failed_precondition);
  CHECK(code_of(helper({"write", share.path(), "none/f"}, kFinishFrame)) == Code::not_found);
  CHECK(code_of(helper({"read", "/nowhere", "f"})) == Code::not_found);
  CHECK(code_of(helper({"mount", "/nowhere", share / "m"})) == Code::not_found);
  CHECK(code_of(helper({"dance"})) == Code::invalid_argument);
  CHECK(helper({"read", share.path(), "none"}).error.find("none") != std::string::npos);
}

TEST_CASE("no path leads out of its share") {
  TempDir outside, share;
  write_text(outside / "secret", "s");
  std::filesystem::create_directory(share / "d");
  std::filesystem::create_symlink(outside.path(), share / "way");
  std::filesystem::create_symlink(outside / "secret", share / "file");
  std::filesystem::create_symlink("../" + outside.path().substr(5), share / "up");
  std::filesystem::create_symlink("d", share / "inside");
  for (const char* path : {"../x", "d/../../x", "way/secret", "file", "up/secret", "/../etc/passwd", "way/../x"}) {
    CAPTURE(path);
    CHECK(code_of(helper({"read", share.path(), path})) == Code::permission_denied);
    CHECK(code_of(helper({"read", "--follow", share.path(), path}, "finish\n")) == Code::permission_denied);
  }
  CHECK(code_of(helper({"write", share.path(), "way/new"}, std::string("1\nx") + kFinishFrame)) ==
        Code::permission_denied);
  CHECK(code_of(helper({"mkdir", share.path(), "way/new"})) == Code::permission_denied);
  CHECK(code_of(helper({"delete", share.path(), "way/secret"})) == Code::permission_denied);
  CHECK(code_of(helper({"list", share.path(), "way"})) == Code::permission_denied);
  write_text(share / "spool", "data");
  CHECK(code_of(helper({"ship-log", share.path(), share / "spool", "file"}, "finish\n")) == Code::permission_denied);
  CHECK(read_text(outside / "secret") == "s");
  CHECK(std::distance(std::filesystem::directory_iterator(outside.path()), {}) == 1);
  // A write replaces a link instead of following it; a link that stays inside is a way.
  CHECK(helper({"write", share.path(), "file"}, std::string("1\nx") + kFinishFrame).exit_code == 0);
  CHECK(read_text(outside / "secret") == "s");
  CHECK(helper({"mkdir", share.path(), "inside/e"}).output == "created\n");
  CHECK(std::filesystem::is_directory(share / "d/e"));
}

TEST_CASE("a tree is removed without following links, and never while something is mounted in it") {
  TempDir outside, place;
  write_text(outside / "keep", "k");
  std::filesystem::create_directories(place / "job/a/b/c");
  write_text(place / "job/a/f", "f");
  std::filesystem::create_symlink(outside.path(), place / "job/a/link");
  if (is_root()) {
    REQUIRE(helper({"mount", outside.path(), place / "job/a/b"}).exit_code == 0);
    CHECK(helper({"mount", outside.path(), place / "job/a/b"}).exit_code == 0);  // it is there
    CHECK(code_of(helper({"mount", "/usr", place / "job/a/b"})) == Code::failed_precondition);
    CHECK(mounts_under(place / "job") == std::vector<std::string>{place / "job/a/b"});
    CHECK(code_of(helper({"remove", place / "job"})) == Code::failed_precondition);
    CHECK(read_text(place / "job/a/b/keep") == "k");
    CHECK(helper({"unmount", place / "job/a/b"}).output == "unmounted 1\n");
    CHECK(helper({"unmount", place / "job/a/b"}).output == "unmounted 0\n");
    CHECK(mounts_under(place.path()).empty());
  }
  CHECK(helper({"remove", place / "job", place / "none"}).output == "removed 4\nfiles 2\n");
  CHECK_FALSE(std::filesystem::exists(place / "job"));
  CHECK(read_text(outside / "keep") == "k");
  CHECK(code_of(helper({"remove", "relative"})) == Code::invalid_argument);
}

TEST_CASE("a directory on a share is removed with the one above it when that is empty, and no link is followed") {
  TempDir place;
  std::filesystem::create_directories(place / "share/seg/shared/1/deep");
  std::filesystem::create_directories(place / "share/seg/shared/2");
  std::filesystem::create_directories(place / "share/precious");
  write_text(place / "share/precious/data", "x");
  std::filesystem::create_directory_symlink(place / "share/precious", place / "share/seg/shared/1/link");
  write_text(place / "share/seg/shared/1/deep/file", "x");
  CHECK(helper({"remove-beneath", place / "share", "seg/shared/1"}).exit_code == 0);
  CHECK_FALSE(std::filesystem::exists(place / "share/seg/shared/1"));
  CHECK(std::filesystem::exists(place / "share/seg/shared/2"));
  CHECK(read_text(place / "share/precious/data") == "x");
  CHECK(helper({"remove-beneath", place / "share", "seg/shared/1"}).exit_code == 0);  // gone already
  CHECK(helper({"remove-beneath", place / "share", "seg/shared/2"}).exit_code == 0);
  CHECK_FALSE(std::filesystem::exists(place / "share/seg/shared"));
  CHECK(std::filesystem::exists(place / "share/seg"));
  std::filesystem::create_directories(place / "share/seg/shared");
  std::filesystem::create_directory_symlink(place / "share/precious", place / "share/seg/shared/3");
  CHECK(helper({"remove-beneath", place / "share", "seg/shared/3"}).exit_code != 0);
  CHECK(helper({"remove-beneath", place / "share", "../share/precious"}).exit_code != 0);
  CHECK(read_text(place / "share/precious/data") == "x");
}

TEST_CASE("a share is removed with all that is in it, and nothing else") {
  TempDir place;
  const std::string share = place / "account/share";
  std::filesystem::create_directories(share + "/a/b");
  std::filesystem::create_directories(place / "account/other");
  write_text(place / "account/other/precious", "x");
  write_text(share + "/a/b/file", "x");
  write_text(share + "/.hidden", "x");
  std::filesystem::create_directory_symlink(place / "account/other", share + "/a/out");
  std::filesystem::create_symlink(place / "account/other/precious", share + "/link");
  std::string deep = share;  // deeper than there are descriptors, and than a path may be long
  for (int i = 0; i < 12; ++i) {
    const std::string part = "/" + std::string(100, static_cast<char>('a' + i));
    for (int j = 0; j < 3; ++j) deep += part;
  }
  std::filesystem::create_directories(deep);
  std::filesystem::path bottom = std::filesystem::path(deep);
  UniqueFd at(::open(bottom.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 1500; ++i) {
    REQUIRE(::mkdirat(at.get(), "d", 0755) == 0);
    at = UniqueFd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  at.reset();
  CHECK(helper({"remove-share", "--share", share}).output == "removed 1542\n");
  CHECK_FALSE(std::filesystem::exists(share));
  CHECK(read_text(place / "account/other/precious") == "x");
  CHECK(helper({"remove-share", "--share", share}).output == "removed 0\n");  // gone already
  CHECK_FALSE(std::filesystem::exists(share));
  CHECK(code_of(helper({"remove-share", "--share", "/none-such/account/share"})) == Code::failed_precondition);
  CHECK(code_of(helper({"remove-share", "relative"})) == Code::invalid_argument);
}

TEST_CASE("removing a share stops when its time is over, and goes on when it is asked again") {
  TempDir place;
  const std::string share = place / "account/share";
  std::filesystem::create_directories(share);
  constexpr int kFiles = 30'000;
  for (int i = 0; i < kFiles; ++i) write_text(share + "/" + std::to_string(i), "");
  int rounds = 0, removed = 0;
  for (bool more = true; more; ++rounds) {
    const HelperResult result = helper({"remove-share", "--limit", "5", share});
    REQUIRE(result.exit_code == 0);
    removed += std::stoi(result.output.substr(std::string("removed ").size()));
    more = result.output.ends_with("\nmore\n");
    REQUIRE(rounds < kFiles);
  }
  CHECK(rounds > 1);
  CHECK(removed == kFiles);
  CHECK_FALSE(std::filesystem::exists(share));
}

TEST_CASE("of a share that is a mount or a link the operator's part stays, empty; a mount in it is not touched") {
  TempDir place, real;
  std::filesystem::create_directories(place / "account");
  write_text(real / "file", "x");
  std::filesystem::create_directory_symlink(real.path(), place / "account/linked");
  CHECK(helper({"remove-share", place / "account/linked"}).output == "removed 1\n");
  CHECK(std::filesystem::is_empty(real.path()));
  CHECK(std::filesystem::is_symlink(place / "account/linked"));
  if (!is_root()) return;
  std::filesystem::create_directories(place / "account/share/sub/mnt");
  write_text(real / "file", "x");
  REQUIRE(helper({"mount", real.path(), place / "account/share/sub/mnt"}).exit_code == 0);
  const HelperResult refused = helper({"remove-share", place / "account/share"});
  CHECK(code_of(refused) == Code::failed_precondition);
  CHECK_THAT(refused.error, Catch::Contains("something is mounted at " + (place / "account/share/sub/mnt")));
  CHECK(read_text(real / "file") == "x");
  CHECK(helper({"unmount", place / "account/share/sub/mnt"}).exit_code == 0);
  REQUIRE(helper({"mount", real.path(), place / "account/share"}).exit_code == 0);
  CHECK(helper({"remove-share", place / "account/share"}).output == "removed 1\n");
  CHECK(std::filesystem::is_empty(real.path()));
  CHECK(helper({"unmount", place / "account/share"}).exit_code == 0);
}

TEST_CASE("looking at a share makes nothing; only what puts something in does") {
  TempDir place;
  const std::string share = place / "account/share";
  CHECK(helper({"list", "--share", share, "."}).output.empty());
  CHECK(helper({"list", "--share", share, "."}).exit_code == 0);
  CHECK(code_of(helper({"list", "--share", share, "x"})) == Code::not_found);
  CHECK(code_of(helper({"delete", "--share", share, "x"})) == Code::not_found);
  CHECK_FALSE(std::filesystem::exists(place / "account"));
  CHECK(code_of(helper({"list", "--share", place / "none/account/share", "."})) == Code::failed_precondition);
  CHECK(helper({"mkdir", "--share", share, "x"}).exit_code == 0);
  CHECK(std::filesystem::exists(share + "/x"));
}

TEST_CASE("older attempts keep their logs, once") {
  TempDir share;
  CHECK(helper({"rotate-stdouterr", share.path(), "j/stdouterr", "1"}).exit_code == 0);
  std::filesystem::create_directories(share / "j/stdouterr");
  write_text(share / "j/stdouterr/stdout.txt", "first");
  CHECK(helper({"rotate-stdouterr", share.path(), "j/stdouterr", "1"}).exit_code == 0);
  CHECK(helper({"rotate-stdouterr", share.path(), "j/stdouterr", "1"}).exit_code == 0);
  CHECK(read_text(share / "j/stdouterr/attempts/1/stdout.txt") == "first");
  write_text(share / "j/stdouterr/stdout.txt", "second");
  CHECK(helper({"rotate-stdouterr", share.path(), "j/stdouterr", "2"}).exit_code == 0);
  CHECK(read_text(share / "j/stdouterr/attempts/1/stdout.txt") == "first");
  CHECK(read_text(share / "j/stdouterr/attempts/2/stdout.txt") == "second");
  CHECK(std::distance(std::filesystem::directory_iterator(share / "j/stdouterr"), {}) == 1);
}

TEST_CASE("a volume is mounted and unmounted by its kind's mounter") {
  if (!is_root()) return;
  TempDir share, place;
  write_text(share / "f", "here");
  boost::asio::io_context io;
  const auto mounter = make_mounter(io, {program("trainyard-helper")}, {});
  Volume volume;
  volume.source = share.path();
  std::optional<Status> outcome;
  const auto note = [&](Status status) { outcome = std::move(status); };
  mounter->mount(volume, place / "m/myshare", {}, {}, 5000, note);
  REQUIRE(run_until(io, [&] { return outcome.has_value(); }));
  INFO((outcome->ok() ? std::string() : outcome->error().message));
  CHECK(outcome->ok());
  CHECK(read_text(place / "m/myshare/f") == "here");
  outcome.reset();
  mounter->unmount(volume, place / "m/myshare", 5000, note);
  REQUIRE(run_until(io, [&] { return outcome.has_value(); }));
  INFO((outcome->ok() ? std::string() : outcome->error().message));
  CHECK(outcome->ok());
  CHECK(mounts_under(place.path()).empty());
  volume.source = "/nowhere";
  outcome.reset();
  mounter->mount(volume, place / "m/other", {}, {}, 5000, note);
  REQUIRE(run_until(io, [&] { return outcome.has_value(); }));
  CHECK(outcome->error().code == Code::not_found);
  CHECK(outcome->error().message.find("/nowhere") != std::string::npos);
}

TEST_CASE("a share's directory is made below a place that exists, and never the place itself") {
  TempDir place;
  CHECK(helper({"mkdir", "--share", place / "account/share", "."}).exit_code == 0);
  CHECK(std::filesystem::is_directory(place / "account/share"));
  const auto absent = helper({"mkdir", "--share", place / "unmounted/account/share", "."});
  CHECK(code_of(absent) == Code::not_found);
  CHECK(absent.error.find("is it mounted?") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(place / "unmounted"));
  CHECK(code_of(helper({"list", place / "account/other", "."})) == Code::not_found);
}

TEST_CASE("a file system that never answers costs the deadline and nothing else") {
  if (!is_root()) return;
  TempDir place;
  const SilentMount silent(place.path());
  if (!silent.mounted()) {
    std::printf("skipped: /dev/fuse cannot be used here\n");
    return;
  }
  boost::asio::io_context io;
  int done = 0;
  const auto start = std::chrono::steady_clock::now();
  run_helper(io, {program("trainyard-helper"), "list", place.path(), "sub"}, "", 300, [&](const HelperResult& result) {
    CHECK(result.exit_code == -1);
    CHECK(code_of_helper_exit(result.exit_code) == Code::deadline_exceeded);
    ++done;
  });
  // Meanwhile the loop serves others.
  run_helper(io, {"/bin/echo", "hi"}, "", 5000, [&](const HelperResult& result) {
    CHECK(result.output == "hi\n");
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(290));
    ++done;
  });
  REQUIRE(run_until(
      io, [&] { return done == 2; }, 5000));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(2000));
  // Detaching needs no answer of the server.
  CHECK(helper({"unmount", place.path()}).output == "unmounted 1\n");
}

TEST_CASE("a helper's group dies at its deadline, its output is capped, a missing program is told") {
  const HelperResult late = helper({"read", "--follow", "/tmp", "trainyard-no-such-file"}, "", 10'000);
  CHECK(late.exit_code == 0);  // its stdin ended: nobody waits for it
  boost::asio::io_context io;
  std::optional<HelperResult> result;
  const auto note = [&](HelperResult got) { result = std::move(got); };
  run_helper(io, {"/bin/sh", "-c", "echo before; sleep 60 & sleep 60"}, "", 200, note);
  REQUIRE(run_until(io, [&] { return result.has_value(); }));
  CHECK(result->exit_code == -1);
  CHECK(result->output == "before\n");
  result.reset();
  run_helper(io, {"/bin/sh", "-c", "head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2; exit 9"}, "", 10'000,
             note);
  REQUIRE(run_until(io, [&] { return result.has_value(); }));
  CHECK(result->exit_code == 9);
  CHECK(result->output.size() == 1024 * 1024);
  CHECK(result->error.size() == 64 * 1024);
  result.reset();
  run_helper(io, {"/nowhere/helper"}, "", 1000, note);
  REQUIRE(run_until(io, [&] { return result.has_value(); }));
  CHECK(result->exit_code == 127);
  CHECK(result->error.find("/nowhere/helper") != std::string::npos);
}
