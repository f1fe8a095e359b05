// Every rule of `trainyard-agent doctor`: what is wrong is said under its name, as bad as it is, with what to do.
#define CATCH_CONFIG_MAIN
#include "agent/doctor/doctor.h"

#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>

using namespace trainyard::agent;
using State = Finding::State;

namespace {

MachineFacts fit_machine() {
  MachineFacts facts;
  facts.root = facts.cgroup_kill = facts.fuse = facts.nfs_client = true;
  facts.node_name = "n1";
  facts.cgroup2_root = "/sys/fs/cgroup";
  facts.memory_controller = facts.pids_controller = facts.cpu_controller = facts.io_controller = "v2";
  facts.interface = "eth0";
  facts.mtu = 9000;
  facts.address = "10.0.0.11";
  facts.controller = "10.0.0.1:7470";
  facts.first_local_port = 32768;
  facts.last_local_port = 60999;
  facts.clock_synchronised = true;
  facts.clock_error_seconds = 0.01;
  facts.descriptors = 1 << 20;
  facts.memory_bytes = 64ULL << 30;
  facts.shm_bytes = 32ULL << 30;
  facts.disks = {{"/var/lib/trainyard/spool", 100ULL << 30, 200ULL << 30, false, false},
                 {"/var/lib/trainyard/work", 100ULL << 30, 200ULL << 30, false, false},
                 {"/run/trainyard", 1ULL << 30, 2ULL << 30, true, false}};
  facts.mpi = "mpirun (Open MPI) 4.1.4";
  facts.python = "Python 3.11.2";
  facts.bash = "GNU bash, version 5.2";
  facts.check_cpu = facts.check_gpu = true;
  facts.nvidia_driver = facts.nvml = facts.container_toolkit = true;
  facts.infiniband = {"mlx5_0"};
  return facts;
}

Finding finding_of(const MachineFacts& facts, const std::string& check) {
  for (const Finding& one : judge(facts)) {
    if (one.check == check) return one;
  }
  FAIL("no check is called " << check);
  return {};
}

struct Rule {
  const char* check;
  State state;
  const char* advice;
  std::function<void(MachineFacts&)> spoil;
};

const Rule kRules[] = {
    {"user", State::broken, "as root", [](auto& f) { f.root = false; }},
    {"cgroup v2", State::broken, "mount -t cgroup2", [](auto& f) { f.cgroup2_root.clear(); }},
    {"cgroup.kill", State::note, "5.14", [](auto& f) { f.cgroup_kill = false; }},
    {"isolation", State::broken, "CAP_SYS_ADMIN", [](auto& f) { f.namespaces_error = "Operation not permitted"; }},
    {"isolation", State::trouble, "full", [](auto& f) { f.isolation = "user"; }},
    {"limits", State::trouble, "controllers", [](auto& f) { f.memory_controller.clear(); }},
    {"limits", State::trouble, "controllers", [](auto& f) { f.pids_controller.clear(); }},
    {"health checks", State::note, "node check", [](auto& f) { f.check_cpu = false; }},
    {"health checks", State::note, "node check", [](auto& f) { f.check_gpu = false; }},
    {"shares", State::note, "controllers", [](auto& f) { f.cpu_controller.clear(); }},
    {"shares", State::note, "controllers", [](auto& f) { f.io_controller.clear(); }},
    {"programs", State::broken, "install", [](auto& f) { f.missing_programs = {"trainyard-shim"}; }},
    {"controller", State::broken, "firewall", [](auto& f) { f.controller_error = "Connection refused"; }},
    {"TLS key", State::broken, "chmod", [](auto& f) { f.tls_key_private = false; }},
    {"address", State::broken, "`address`", [](auto& f) { f.interface.clear(); }},
    {"MTU", State::trouble, "same MTU", [](auto& f) { f.mtu = 1400; }},
    {"other nodes", State::note, "other nodes reach", [](auto& f) { f.address = "127.0.0.1"; }},
    {"local ports", State::trouble, "ip_local_port_range", [](auto& f) { f.first_local_port = 1024; }},
    {"node name", State::note, "Open MPI", [](auto& f) { f.node_name = "n_1"; }},
    {"clock", State::trouble, "chrony", [](auto& f) { f.clock_synchronised = false; }},
    {"clock", State::trouble, "chrony", [](auto& f) { f.clock_error_seconds = 5; }},
    {"MPI", State::trouble, "openmpi-bin", [](auto& f) { f.mpi.clear(); }},
    {"MPI", State::note, "Open MPI 4", [](auto& f) { f.mpi = "HYDRA build details:"; }},
    {"python", State::note, "python3", [](auto& f) { f.python.clear(); }},
    {"bash", State::broken, "install bash", [](auto& f) { f.bash.clear(); }},
    {"open files", State::note, "LimitNOFILE", [](auto& f) { f.descriptors = 1024; }},
    {"locked memory", State::trouble, "LimitMEMLOCK", [](auto& f) { f.memlock_bytes = 8 << 20; }},
    {"/dev/shm", State::trouble, "remount", [](auto& f) { f.shm_bytes = 64 << 20; }},
    {"FUSE", State::note, "modprobe fuse", [](auto& f) { f.fuse = false; }},
    {"NFS client", State::note, "nfs-common", [](auto& f) { f.nfs_client = false; }},
    {"spool disk", State::trouble, "free some space", [](auto& f) { f.disks[0].free_bytes = 1 << 20; }},
    {"spool disk", State::broken, "local disk", [](auto& f) { f.disks[0].remote = true; }},
    {"work disk", State::broken, "local disk", [](auto& f) { f.disks[1].remote = true; }},
    {"run directory", State::trouble, "tmpfs", [](auto& f) { f.disks[2].in_memory = false; }},
    {"NVIDIA driver", State::trouble, "user libraries", [](auto& f) { f.nvml = false; }},
    {"NVIDIA driver", State::trouble, "blacklist nouveau", [](auto& f) { f.nvidia_driver = false, f.nouveau = true; }},
    {"container toolkit", State::note, "nvidia-ctk", [](auto& f) { f.container_toolkit = false; }},
};

}  // namespace

TEST_CASE("a fit machine has nothing to complain of") {
  for (const Finding& one : judge(fit_machine())) {
    INFO(one.check << ": " << one.found);
    CHECK(one.state == State::ok);
    CHECK(one.advice.empty());
    CHECK(!one.found.empty());
  }
  CHECK(doctor_exit_code(judge(fit_machine())) == 0);
}

TEST_CASE("each fault is said under its name, and nothing else is") {
  for (const Rule& rule : kRules) {
    MachineFacts facts = fit_machine();
    rule.spoil(facts);
    INFO(rule.check << " -> " << rule.advice);
    const Finding found = finding_of(facts, rule.check);
    CHECK(found.state == rule.state);
    CHECK_THAT(found.advice, Catch::Contains(rule.advice));
    CHECK(doctor_exit_code(judge(facts)) == (rule.state == State::broken ? 1 : 0));
    int complaints = 0;
    for (const Finding& one : judge(facts)) complaints += one.state != State::ok;
    CHECK(complaints == 1);
  }
}

TEST_CASE("limits of locked memory matter only where there is InfiniBand, GPUs only where there is a driver") {
  MachineFacts facts = fit_machine();
  facts.infiniband.clear();
  facts.memlock_bytes = 8 << 20;
  CHECK(finding_of(facts, "locked memory").state == State::ok);
  facts.nvidia_driver = facts.nvml = facts.container_toolkit = false;
  CHECK(finding_of(facts, "NVIDIA driver").state == State::ok);
}

TEST_CASE("the answer for programs has every check") {
  MachineFacts facts = fit_machine();
  facts.root = false;
  const auto list = nlohmann::json::parse(findings_json(judge(facts)));
  REQUIRE(list.size() == judge(facts).size());
  CHECK(list[0]["check"] == "user");
  CHECK(list[0]["state"] == "broken");
  CHECK_THAT(findings_table(judge(facts)), Catch::Contains("BROKEN   user") && Catch::Contains("1 broken"));
}
