// trainyard-gpus over stand-ins of the driver's library, asked as the agent asks it.
#include "agent/loop/gpu_watch.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>

using namespace trainyard;
using namespace trainyard::agent;
namespace fs = std::filesystem;

namespace {

class Driver {
 public:
  explicit Driver(const char* libraries, const std::string& gpus) {
    char pattern[] = "/tmp/trainyard-nvml-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    x_directory = pattern;
    set(gpus);
    ::setenv("LD_LIBRARY_PATH", libraries, 1);
    ::setenv("TRAINYARD_NVML_FILE", file().c_str(), 1);
  }
  ~Driver() {
    ::unsetenv("LD_LIBRARY_PATH");
    ::unsetenv("TRAINYARD_NVML_FILE");
    fs::remove_all(x_directory);
  }
  std::string file() const { return x_directory + "/gpus"; }
  void set(const std::string& gpus) {
    std::ofstream(file() + ".new") << gpus;
    fs::rename(file() + ".new", file());
  }
  void hang(bool on) { on ? void(std::ofstream(file() + ".hang")) : void(fs::remove(file() + ".hang")); }

 private:
  std::string x_directory;
};

struct Asker {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  std::shared_ptr<GpuWatch> watch;
  explicit Asker(GpuWatch::Patience patience = {20'000, 60'000, 0})
      : watch(std::make_shared<GpuWatch>(io, GPUS_PROGRAM, patience)) {}

  std::vector<GpuCounters> ask() {
    std::optional<std::vector<GpuCounters>> answer;
    watch->ask([&](std::vector<GpuCounters> gpus) { answer = std::move(gpus); });
    while (!answer) io.run_one();
    return *answer;
  }
  template <class Condition>
  bool until(Condition condition) {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
         std::chrono::steady_clock::now() < end;) {
      if (condition()) return true;
      io.run_one_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  // Asks until something else than nothing comes back.
  std::vector<GpuCounters> ask_until_there() {
    std::vector<GpuCounters> gpus;
    until([&] {
      gpus = ask();
      return !gpus.empty();
    });
    return gpus;
  }
};

// The newest child of this process (those of earlier tests may wait to be reaped); 0: there is none.
int child() {
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  int newest = 0;
  for (int pid = 0; children >> pid;) newest = pid;
  return newest;
}

constexpr const char* kTwo =
    "GPU-a Tesla-T4 15360 1024 37 45500 61\n"
    "GPU-b Tesla-T4 15360 0 0 9100 -\n";

}  // namespace

TEST_CASE("GPUs: what each is doing, as it changes; what one does not support is unset") {
  Driver driver(NVML_NEW, kTwo);
  Asker asker;
  auto gpus = asker.ask();
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0] == GpuCounters{"GPU-a", 37.0, 1024ULL << 20, 45.5, 61.0});
  CHECK(gpus[1] == GpuCounters{"GPU-b", 0.0, 0, 9.1, std::nullopt});
  driver.set("GPU-a Tesla-T4 15360 15000 100 70000 84\n");  // and the other one fell off
  gpus = asker.ask();
  REQUIRE(gpus.size() == 1);
  CHECK(gpus[0] == GpuCounters{"GPU-a", 100.0, 15000ULL << 20, 70.0, 84.0});
}

TEST_CASE("GPUs: what an old driver lacks is unset") {
  Driver driver(NVML_OLD, kTwo);
  Asker asker;
  const auto gpus = asker.ask();
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0] == GpuCounters{"GPU-a", std::nullopt, 1024ULL << 20, std::nullopt, 61.0});
}

TEST_CASE("GPUs: without a driver there is nothing, and nothing is started again") {
  Driver driver(NVML_NEW, kTwo);
  fs::remove(driver.file());
  Asker asker;
  CHECK(asker.ask().empty());
  driver.set(kTwo);
  CHECK(asker.ask().empty());
}

TEST_CASE("GPUs: a driver that hangs costs an answer, later its process, and then all is well again") {
  Driver driver(NVML_NEW, kTwo);
  Asker asker({100, 300, 0});
  REQUIRE(asker.ask_until_there().size() == 2);
  driver.hang(true);
  const auto began = std::chrono::steady_clock::now();
  CHECK(asker.ask().empty());
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(10));
  CHECK(asker.ask().empty());  // at once: the first question is still open
  SECTION("it comes back in time") {
    driver.hang(false);
  }
  SECTION("it does not: the process is killed, another one is started") {
    const int first = child();
    CHECK(asker.until([&] { return asker.ask().empty() && child() != first && child() != 0; }));
    driver.hang(false);
  }
  CHECK(asker.ask_until_there().size() == 2);
}

TEST_CASE("GPUs: a process that died is started again") {
  Driver driver(NVML_NEW, kTwo);
  Asker asker;
  REQUIRE(asker.ask().size() == 2);
  driver.set("");
  CHECK(asker.ask().empty());
  REQUIRE(child() > 0);
  REQUIRE(::kill(child(), SIGKILL) == 0);
  driver.set(kTwo);
  CHECK(asker.ask_until_there().size() == 2);
}
