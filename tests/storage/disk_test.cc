// A full disk, on a small tmpfs of the test's own.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "storage/sqlite_store.h"
#include "tests/storage/rows.h"

namespace trainyard::storage::test {

namespace {

class SmallDisk {
 public:
  explicit SmallDisk(const std::string& options) {
    x_mounted = ::mount("trainyard-test", x_directory.path().c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (x_mounted) ::umount2(x_directory.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return x_mounted; }
  std::string path() const { return x_directory.path(); }

  // Takes all but `leave` bytes.
  void fill(std::uint64_t leave) {
    const auto free = std::filesystem::space(path()).available;
    const int file = ::open((path() + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(::posix_fallocate(file, 0, static_cast<off_t>(free - leave)) == 0);
    ::close(file);
  }
  void empty() { std::filesystem::remove(path() + "/filler"); }

 private:
  TemporaryDirectory x_directory;
  bool x_mounted = false;
};

std::unique_ptr<SqliteStore> open_store(const std::string& path) {
  SqliteOptions options;
  options.space = {1 << 20, 1 << 20};
  options.checkpoint_pages = 100000;  // nothing is given back by a checkpoint
  auto opened = SqliteStore::open(path, options);
  REQUIRE((opened.ok() ? "" : opened.error().message) == std::string());
  return std::move(*opened);
}

}  // namespace

TEST_CASE("on a full disk running work goes on from the reserve and new work is refused") {
  SmallDisk disk("size=8m,mode=0700");
  if (!disk.mounted()) {
    WARN("skipped: cannot mount a tmpfs here (" << std::strerror(errno) << "); run as root");
    return;
  }
  const std::string state = disk.path() + "/state";
  auto store = open_store(state);
  CHECK(store->accepts_new_work());
  REQUIRE(store->commit(full_changes(1'000'000'000)).ok());
  REQUIRE(std::filesystem::exists(state + "/reserve"));

  disk.fill(20'000);
  CHECK(!store->accepts_new_work());
  std::uint64_t n = 100;
  while (std::filesystem::exists(state + "/reserve")) {
    REQUIRE(store->commit(submitted(n)).ok());  // the one that meets the full disk is repeated and succeeds
    REQUIRE(++n < 10'000);
  }
  CHECK(store->take_warnings().size() == 1);
  CHECK(!store->accepts_new_work());
  for (int more = 0; more < 20; ++more) REQUIRE(store->commit(submitted(n++)).ok());

  SECTION("when the reserve is used up too, commit fails, and a restart has everything acknowledged") {
    Status status;
    while (status = store->commit(submitted(n)), status.ok()) REQUIRE(++n < 100'000);
    CHECK(status.error().code == Code::resource_exhausted);
    CHECK(status.error().message.find("full") != std::string::npos);
    store.reset();
    disk.empty();
    auto tables = open_store(state)->load();
    REQUIRE(tables.ok());
    CHECK(tables->jobs.size() == n - 100 + 1);
  }
  SECTION("with space again the reserve comes back and new work is taken") {
    disk.empty();
    CHECK(store->accepts_new_work());
    REQUIRE(store->commit(submitted(n)).ok());
    CHECK(std::filesystem::exists(state + "/reserve"));
    CHECK(store->accepts_new_work());
  }
}

}  // namespace trainyard::storage::test
