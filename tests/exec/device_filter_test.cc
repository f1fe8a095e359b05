#include "agent/exec/device_filter.h"

#include <catch2/catch.hpp>
#include <optional>

#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// What the kernel would answer: the few instructions that such a program has, by the same document, and as strictly.
class Machine {
 public:
  explicit Machine(std::vector<bpf_insn> program) : x_program(std::move(program)) {}

  std::uint64_t ask(std::uint32_t access, std::uint32_t type, std::uint32_t major, std::uint32_t minor) const {
    const bpf_cgroup_dev_ctx context{(access << 16) | type, major, minor};
    std::optional<std::uint64_t> registers[11];
    for (std::size_t at = 0; at < x_program.size(); ++at) {
      const bpf_insn& in = x_program[at];
      const auto value = static_cast<std::uint64_t>(static_cast<std::int64_t>(in.imm));
      auto& destination = registers[in.dst_reg];
      switch (in.code) {
        case BPF_LDX | BPF_MEM | BPF_W:
          REQUIRE(in.src_reg == BPF_REG_1);
          REQUIRE((in.off == 0 || in.off == 4 || in.off == 8));
          destination = in.off == 0 ? context.access_type : in.off == 4 ? context.major : context.minor;
          break;
        case BPF_ALU64 | BPF_AND | BPF_K:
          destination = destination.value() & value;
          break;
        case BPF_ALU64 | BPF_MOV | BPF_K:
          destination = value;
          break;
        case BPF_JMP | BPF_JNE | BPF_K:
        case BPF_JMP | BPF_JEQ | BPF_K: {
          if (in.off < 0) FAIL("a jump back");
          const bool equal = destination.value() == value;
          if (equal == (in.code == (BPF_JMP | BPF_JEQ | BPF_K))) at += static_cast<std::size_t>(in.off);
          break;
        }
        case BPF_JMP | BPF_EXIT:
          return registers[BPF_REG_0].value();
        default:
          FAIL("an instruction that is not known: " << int(in.code));
      }
    }
    FAIL("the program has no end");
    return 0;
  }

 private:
  std::vector<bpf_insn> x_program;
};

constexpr std::uint32_t kEveryAccess[] = {BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE, BPF_DEVCG_ACC_MKNOD,
                                          BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE};

}  // namespace

TEST_CASE("a device program refuses the devices that it names, in every way, and no other") {
  const Machine machine(device_program({{195, 1}, {195, 3}, {1, 5}}));
  for (const std::uint32_t access : kEveryAccess) {
    for (const auto& [major, minor] : {std::pair{195U, 1U}, {195U, 3U}, {1U, 5U}}) {
      CHECK(machine.ask(access, BPF_DEVCG_DEV_CHAR, major, minor) == 0);
      CHECK(machine.ask(access, BPF_DEVCG_DEV_BLOCK, major, minor) == 1);  // the same numbers, another thing
    }
    for (const auto& [major, minor] :
         {std::pair{195U, 0U}, {195U, 2U}, {195U, 255U}, {195U, 5U}, {1U, 1U}, {1U, 3U}, {5U, 1U}, {0U, 0U}}) {
      CHECK(machine.ask(access, BPF_DEVCG_DEV_CHAR, major, minor) == 1);
    }
  }
}

TEST_CASE("a device program that names nothing allows all, and one of very many refuses each") {
  const Machine nothing(device_program({}));
  CHECK(nothing.ask(BPF_DEVCG_ACC_READ, BPF_DEVCG_DEV_CHAR, 195, 0) == 1);
  CHECK(nothing.ask(BPF_DEVCG_ACC_READ, BPF_DEVCG_DEV_BLOCK, 8, 0) == 1);
  std::vector<CharDevice> many;
  for (std::uint32_t minor = 0; minor < 200; ++minor) many.push_back({195, minor});
  const Machine machine(device_program(many));
  for (std::uint32_t minor = 0; minor < 200; ++minor) {
    CHECK(machine.ask(BPF_DEVCG_ACC_WRITE, BPF_DEVCG_DEV_CHAR, 195, minor) == 0);
  }
  CHECK(machine.ask(BPF_DEVCG_ACC_WRITE, BPF_DEVCG_DEV_CHAR, 195, 200) == 1);
}

TEST_CASE("a cgroup's processes cannot open what its device program refuses") {
  const auto root = find_cgroup2_root();
  if (!root || !takes_device_programs()) {
    WARN("skipped: no cgroup v2 here that is ours to use, or a kernel that takes no device programs");
    return;
  }
  const Cgroup cgroup(*root + "/trainyard-devices-test-" + std::to_string(::getpid()));
  REQUIRE(Cgroup(cgroup.path() + "/below").create().ok());
  REQUIRE(refuse_devices(cgroup.path(), {{1, 5}}).ok());
  REQUIRE(refuse_devices(cgroup.path(), {{1, 5}}).ok());  // again, by a restarted agent
  const auto in = [&](const std::string& place, const std::string& script) {
    const std::string words = "echo $$ >" + cgroup.path() + place + "/cgroup.procs && " + script;
    return std::system(("/bin/sh -c '" + words + "' >/dev/null 2>&1").c_str()) == 0;
  };
  const TempDir folder;
  for (const char* place : {"", "/below"}) {
    CHECK(in(place, "echo >/dev/null && head -c 1 /dev/urandom"));
    CHECK(!in(place, "head -c 1 /dev/zero"));
    CHECK(!in(place, "mknod " + (folder / "node") + " c 1 5"));
  }
  CHECK(std::system("head -c 1 /dev/zero >/dev/null") == 0);
  CHECK(cgroup.remove().ok());
}
