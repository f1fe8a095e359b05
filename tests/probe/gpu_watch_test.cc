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
  // One of the files beside, by its ending.
  void note(const std::string& ending, const std::string& text) const {
    std::ofstream(file() + ".new") << text;
    fs::rename(file() + ".new", file() + ending);
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
  GpuStates states() {
    std::optional<std::optional<GpuStates>> answer;
    watch->ask_states([&](std::optional<GpuStates> states) { answer = std::move(states); });
    while (!answer) io.run_one();
    REQUIRE(answer->has_value());
    return **answer;
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

TEST_CASE("states of GPUs: what they are, MIG instances, who computes on them, and what goes wrong from then on") {
  Driver driver(NVML_NEW,
                "GPU-a V100 16384 450 0 40000 40\nMIG-1 V100-MIG 8192 10 - - -\nGPU-b V100 16384 3 0 40000 40\n");
  driver.note(".pids", "GPU-a 4711\nGPU-a 4712\n");
  driver.note(".xid", "GPU-b 79\n");  // before anybody listened
  Asker asker;
  const GpuStates first = asker.states();
  REQUIRE(first.gpus.size() == 3);
  CHECK(first.gpus[0].gpu.uuid == "GPU-a");
  CHECK(first.gpus[0].gpu.pci_bus_id == "00000000:3A:00.0");
  CHECK(first.gpus[0].memory_used_bytes == 450ULL << 20);
  CHECK(first.gpus[0].pids == std::vector<std::uint32_t>{4711, 4712});
  CHECK(first.gpus[1].gpu.uuid == "MIG-1");
  CHECK(first.gpus[1].gpu.parent_uuid == "GPU-a");
  CHECK(first.gpus[2].pids.empty());
  CHECK(first.faults.empty());
  driver.note(".xid", "GPU-b 79\nGPU-b 13\nGPU-a 31\nGPU-b 48\nGPU-none 79\n");
  driver.note(".ecc", "GPU-a 2\n");
  driver.set("GPU-a V100 16384 450 0 40000 40\nMIG-1 V100-MIG 8192 10 - - -\nGPU-b lost 0 0 0 0 0\n");
  const GpuStates later = asker.states();
  REQUIRE(later.gpus.size() == 2);  // a lost one does not answer
  CHECK(later.gpus[0].gpu.fault == "2 uncorrectable ECC error(s) since it was reset");
  CHECK(later.faults == std::map<std::string, std::string>{{"GPU-b", "XID 48: uncorrectable (double bit) ECC error"}});
  CHECK(asker.states().faults == later.faults);
  CHECK(asker.ask().size() == 1);
}

TEST_CASE("NVLink: bridged GPUs are an island, all at a switch are one, what has no active link is alone") {
  Driver driver(NVML_NEW,
                "GPU-a A100 16384 450 0 40000 40\nMIG-1 A100-MIG 8192 10 - - -\nGPU-b A100 16384 3 0 40000 40\n"
                "GPU-c A100 16384 3 0 40000 40\nGPU-d A100 16384 3 0 40000 40\n");
  Asker asker;
  const auto numbers = [&] {
    std::map<std::string, std::int32_t> found;
    for (const GpuState& state : asker.states().gpus) found[state.gpu.uuid] = state.gpu.nvlink_island;
    return found;
  };
  using Numbers = std::map<std::string, std::int32_t>;
  CHECK(numbers() == Numbers{{"GPU-a", -1}, {"MIG-1", -1}, {"GPU-b", -1}, {"GPU-c", -1}, {"GPU-d", -1}});
  driver.note(".links", "GPU-a GPU-c\nGPU-a GPU-c\nGPU-c GPU-a\nGPU-b npu\nGPU-b GPU-d\nGPU-d npu\nGPU-d GPU-b\n");
  CHECK(numbers() == Numbers{{"GPU-a", 0}, {"MIG-1", -1}, {"GPU-b", 1}, {"GPU-c", 0}, {"GPU-d", 1}});
  driver.note(".links", "GPU-a GPU-c\nGPU-c GPU-a\nGPU-b -GPU-d\nGPU-d -GPU-b\nGPU-b npu\nGPU-d npu\n");
  CHECK(numbers() == Numbers{{"GPU-a", 0}, {"MIG-1", -1}, {"GPU-b", -1}, {"GPU-c", 0}, {"GPU-d", -1}});
  driver.note(".links", "GPU-a switch\nGPU-b switch\nGPU-b switch\nGPU-c switch\nGPU-d -switch\n");
  CHECK(numbers() == Numbers{{"GPU-a", 0}, {"MIG-1", -1}, {"GPU-b", 0}, {"GPU-c", 0}, {"GPU-d", -1}});
  SECTION("a driver that knows no types tells a switch by who made it") {
    driver.note(".no-types", "");
    driver.note(".links", "GPU-a switch\nGPU-b switch\nGPU-c npu\nGPU-d npu\n");
    CHECK(numbers() == Numbers{{"GPU-a", 0}, {"MIG-1", -1}, {"GPU-b", 0}, {"GPU-c", -1}, {"GPU-d", -1}});
    driver.note(".links", "GPU-a GPU-c\nGPU-c GPU-a\nGPU-b GPU-d\nGPU-d GPU-b\n");
    CHECK(numbers() == Numbers{{"GPU-a", 0}, {"MIG-1", -1}, {"GPU-b", 1}, {"GPU-c", 0}, {"GPU-d", 1}});
  }
}

TEST_CASE("an old driver tells what its GPUs are and nothing of what goes wrong") {
  Driver driver(NVML_OLD, "GPU-a V100 16384 450 0 40000 40\n");
  Asker asker;
  const GpuStates states = asker.states();
  REQUIRE(states.gpus.size() == 1);
  CHECK(states.gpus[0].gpu.fault.empty());
  CHECK(states.gpus[0].memory_used_bytes == 450ULL << 20);
}

TEST_CASE("questions wait for each other, and each gets its own answer") {
  Driver driver(NVML_NEW, "GPU-a V100 16384 450 7 40000 40\n");
  Asker asker;
  std::vector<std::string> answers;
  for (int i = 0; i < 3; ++i) {
    asker.watch->ask([&](std::vector<GpuCounters> gpus) { answers.push_back(gpus.empty() ? "none" : gpus[0].uuid); });
    asker.watch->ask_states([&](std::optional<GpuStates> states) { answers.push_back(states ? "states" : "none"); });
  }
  CHECK(asker.until([&] { return answers.size() == 6; }));
  CHECK(answers == std::vector<std::string>{"GPU-a", "states", "GPU-a", "states", "GPU-a", "states"});
}
