#include "agent/exec/device_filter.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

// Instructions are those of the kernel's Documentation/bpf/standardization/instruction-set.rst: r1 is what the program
// is asked (struct bpf_cgroup_dev_ctx of linux/bpf.h), what r0 has at its end is the answer: 1 allows, 0 is EPERM. A
// jump counts from the instruction after it.
bpf_insn instruction(std::uint8_t code, std::uint8_t destination, std::uint8_t source, std::size_t offset,
                     std::uint32_t value) {
  bpf_insn made{};
  made.code = code;
  made.dst_reg = destination & 15U;
  made.src_reg = source & 15U;
  made.off = static_cast<std::int16_t>(offset);
  made.imm = static_cast<std::int32_t>(value);
  return made;
}

bpf_insn load_word(std::uint8_t destination, std::size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, destination, BPF_REG_1, offset, 0);
}

bpf_insn jump(std::uint8_t condition, std::uint8_t reg, std::uint32_t value, std::size_t over) {
  return instruction(static_cast<std::uint8_t>(BPF_JMP | BPF_K | condition), reg, 0, over, value);
}

void answer(std::vector<bpf_insn>& program, std::uint32_t value) {
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

long bpf(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

UniqueFd load(const std::vector<bpf_insn>& program) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");  // it calls no function of the kernel's
  return UniqueFd(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
}

}  // namespace

std::vector<bpf_insn> device_program(const std::vector<CharDevice>& refused) {
  constexpr std::size_t kPerDevice = 2, kAnswer = 2, kMost = 10'000;  // an offset has 16 bits
  const std::size_t count = std::min(refused.size(), kMost);
  std::vector<bpf_insn> program = {
      load_word(BPF_REG_2, offsetof(bpf_cgroup_dev_ctx, access_type)),
      instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xFFFF),  // its lower half: which type of device
      load_word(BPF_REG_3, offsetof(bpf_cgroup_dev_ctx, major)),
      load_word(BPF_REG_4, offsetof(bpf_cgroup_dev_ctx, minor)),
      jump(BPF_JNE, BPF_REG_2, BPF_DEVCG_DEV_CHAR, kPerDevice * count),
  };
  for (std::size_t i = 0; i < count; ++i) {
    program.push_back(jump(BPF_JNE, BPF_REG_3, refused[i].major, 1));
    program.push_back(jump(BPF_JEQ, BPF_REG_4, refused[i].minor, kPerDevice * (count - i - 1) + kAnswer));
  }
  answer(program, 1);
  answer(program, 0);
  return program;
}

bool takes_device_programs() {
  return load(device_program({{0, 0}})).valid();
}

Status refuse_devices(const std::string& cgroup, const std::vector<CharDevice>& refused) {
  const UniqueFd directory(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return system_error("cannot open " + cgroup, errno);
  bpf_attr asked{};
  asked.query.target_fd = static_cast<std::uint32_t>(directory.get());
  asked.query.attach_type = BPF_CGROUP_DEVICE;
  if (bpf(BPF_PROG_QUERY, asked) != 0) return system_error("cannot ask for the device programs of " + cgroup, errno);
  // Of an earlier life of the agent: a holding's GPUs do not change.
  if (asked.query.prog_cnt != 0) return {};
  const UniqueFd program = load(device_program(refused));
  if (!program.valid()) return system_error("the kernel takes no device program", errno);
  bpf_attr attributes{};
  attributes.target_fd = static_cast<std::uint32_t>(directory.get());
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(program.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;  // an engine has one of its own for each container; both must allow
  if (bpf(BPF_PROG_ATTACH, attributes) == 0) return {};
  return system_error("cannot attach a device program to " + cgroup, errno);
}

}  // namespace trainyard::agent
